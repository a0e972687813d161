"""A running cluster as tests and tools see it, whoever started it."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster import kubeconfig as kubeconfigs
from tests.cluster.binaries import Binaries
from tests.cluster.processes import NO_PROXY

RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}


@dataclass(frozen=True)
class Cluster:
    """How to reach a cluster."""

    name: str
    directory: Path
    """Of this cluster's own files; anything written there goes when the cluster goes."""
    kubeconfig: Path
    """The admin's: what sets a test up. What is tested uses a ServiceAccount's."""
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

    @contextmanager
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
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *objects: dict[str, Any]) -> None:
        """Server-side apply of plain objects, as the admin."""
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(document))

    def create_namespace(self, name: str, labels: dict[str, str] | None = None) -> None:
        """A namespace that enforces Pod Security `restricted`, ready for pods (its ServiceAccount exists)."""
        metadata = {"name": name, "labels": {**RESTRICTED, **(labels or {})}}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        self.kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=30s")

    def service_account_kubeconfig(self, namespace: str, name: str, duration_seconds: int = 8 * 3600) -> Path:
        """A kubeconfig that speaks as an existing ServiceAccount (TokenRequest)."""
        token = self.kubectl(
            "create", "token", name, "-n", namespace, f"--duration={duration_seconds}s"
        ).strip()
        path = self.directory / f"{namespace}.{name}.kubeconfig"
        return kubeconfigs.with_token(path, self._server(), token, namespace)

    def audit_events(self) -> list[dict[str, Any]]:
        """All requests so far, oldest first. Fails for a cluster whose audit log is not ours to read."""
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
