"""A running cluster as tests and tools see it, whether these tools started it or not."""

import contextlib
import http.client
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cluster import direct, kubeconfig as kubeconfigs
from tools.cluster.binaries import Binaries
from tools.cluster.processes import NO_PROXY

RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}


@dataclass(frozen=True)
class Cluster:
    """How to reach a cluster."""

    name: str
    directory: Path
    """Folder of this cluster's own files; its content is removed with the cluster."""
    kubeconfig: Path
    """The administrator's kubeconfig, which sets tests up. The tested components use a ServiceAccount's."""
    binaries: Binaries
    audit_log: Path | None = None
    """One JSON object a line, one line a finished request; None for a cluster not started here."""
    api: kubeconfigs.Server | None = None

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = 60) -> str:
        """Runs kubectl as the admin and returns what it printed; CalledProcessError carries stderr."""
        done = subprocess.run(
            [self.binaries.path("kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
            env={**os.environ, **NO_PROXY, "KUBECONFIG": str(self.kubeconfig)},
        )
        if done.returncode:
            error = subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
            error.add_note(done.stderr)
            raise error
        return done.stdout

    @contextlib.contextmanager
    def proxy(self) -> Iterator[str]:
        """The API server's address for plain HTTP from this machine, as the admin (`kubectl proxy`)."""
        command = [self.binaries.path("kubectl"), f"--kubeconfig={self.kubeconfig}", "proxy", "--port=0"]
        environment = {**os.environ, **NO_PROXY}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as running:
            try:
                assert running.stdout is not None
                *_, address = running.stdout.readline().split()  # Starting to serve on 127.0.0.1:40123
                yield f"http://{address}"
            finally:
                running.terminate()

    def get(self, *arguments: str) -> Any:
        """`kubectl get … -o json`, parsed."""
        plain = direct.read_of(arguments)
        if plain is not None and self._is_ours():
            kind, path = plain
            with contextlib.suppress(OSError, http.client.HTTPException):  # it may be on its way up or down
                return direct.as_kubectl_prints(kind, json.loads(self._request("GET", path)))
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def raw(self, path: str) -> str:
        """`kubectl get --raw`: what the API server answers there, or what stands behind its proxy."""
        if self._is_ours():
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self._request("GET", path)
        return self.kubectl("get", "--raw", path)

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None, **options: str) -> str:
        assert self.api is not None
        return direct.request_text(self.api, self.kubeconfig, method, path, body, **options)

    def _is_ours(self) -> bool:
        return self.api is not None and direct.has_certificate(self.kubeconfig)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Server-side apply of plain objects, as the admin."""
        paths = [direct.apply_path(one) for one in objects]
        if self._is_ours() and None not in paths:
            for path, one in zip(paths, objects, strict=True):
                self._request("PATCH", str(path), one, content="application/apply-patch+yaml")
            return
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(document))

    def create_on_trial(self, document: dict[str, Any]) -> None:
        """`kubectl create --dry-run=server`; CalledProcessError with what the API server has against it."""
        path = direct.create_path(document)
        if path is not None and self._is_ours():
            self._request("POST", path, document)
        else:
            self.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(document))

    def patch_status(self, kind: str, namespace: str, name: str, status: dict[str, Any]) -> None:
        """Merges into the status of an object, as who writes statuses does."""
        change = {"status": status}
        if self._is_ours():
            path = f"{direct.path_of(kind, namespace, name)}/status"
            self._request("PATCH", path, change, content="application/merge-patch+json")
        else:
            where = (kind.lower(), name, "-n", namespace, "--subresource=status", "--type=merge")
            self.kubectl("patch", *where, "-p", json.dumps(change))

    def forget_bursts(self, namespace: str, name: str) -> None:
        """Removes the bursts from an LLMDeployment's status, as the time for which they keep replicas does.
        An operator that runs has them in memory: it has to be started anew."""
        self.patch_status("LLMDeployment", namespace, name, {"autoscaling": {"bursts": None}})

    def create_namespace(self, name: str, labels: dict[str, str] | None = None) -> None:
        """A namespace that enforces Pod Security `restricted`, ready for pods (its ServiceAccount exists)."""
        metadata = {"name": name, "labels": {**RESTRICTED, **(labels or {})}}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        deadline = time.monotonic() + 30
        while not self._has("serviceaccount", "default", "-n", name):
            if time.monotonic() > deadline:
                raise TimeoutError(f"namespace {name} has no ServiceAccount")
            time.sleep(0.05)

    def _has(self, *arguments: str) -> bool:
        try:
            self.get(*arguments)
        except subprocess.CalledProcessError:
            return False
        return True

    def begin_deletion(self, name: str) -> None:
        """Begins the deletion of a namespace with all its content."""
        if self._is_ours():
            self._request("DELETE", direct.path_of("Namespace", None, name))
        else:
            self.kubectl("delete", "namespace", name, "--wait=false")

    def service_account_kubeconfig(
        self, namespace: str, name: str, duration_seconds: int = 8 * 3600, *, pod: str = ""
    ) -> Path:
        """A kubeconfig that speaks as an existing ServiceAccount (TokenRequest), in that pod if one is given:
        the API server then knows the pod's name."""
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={pod}") if pod else ()
        token = self.kubectl(
            "create", "token", name, "-n", namespace, f"--duration={duration_seconds}s", *bound
        ).strip()
        path = self.directory / f"{namespace}.{pod or name}.kubeconfig"
        return kubeconfigs.with_token(path, self._server(), token, namespace)

    def audit_events(self) -> list[dict[str, Any]]:
        """All audited requests so far, oldest first. Fails for a cluster whose audit log is not readable."""
        if self.audit_log is None:
            raise RuntimeError(f"cluster {self.name} was not started here: its audit log cannot be read")
        return [json.loads(line) for line in self.audit_log.read_text().splitlines() if line.endswith("}")]

    def _server(self) -> kubeconfigs.Server:
        if self.api is not None:
            return self.api
        raw = self.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json")
        cluster = json.loads(raw)["clusters"][0]["cluster"]
        authority = self.directory / "ca.crt"
        if not authority.exists():
            authority.write_bytes(kubeconfigs.decoded(cluster["certificate-authority-data"]))
        return kubeconfigs.Server(cluster["server"], authority)
