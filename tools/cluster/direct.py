"""Requests to the API server of a cluster of ours without kubectl, whose every start costs 0.2 s of CPU:
looking three times a second would keep a core busy.

Where it does not know how (an unusual kind, an option of kubectl's, a cluster that was not started here),
the answer is None, and kubectl's to give.
"""

import functools
import http.client
import json
import os
import ssl
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from tools.cluster.kubeconfig import Server, decoded

TIMEOUT_SECONDS = 60.0
APPLY = {"fieldManager": "kubectl", "force": "true", "fieldValidation": "Strict"}
"""Query of a server-side apply, as `kubectl apply --server-side --force-conflicts` sends it."""

CREATE_ON_TRIAL = {"dryRun": "All", "fieldManager": "kubectl-create", "fieldValidation": "Strict"}
"""Query of a trial create, as `kubectl create --dry-run=server` sends it."""


@dataclass(frozen=True)
class Kind:
    """Where its objects are."""

    version: str
    plural: str
    names: tuple[str, ...] = ()
    """What kubectl calls it too; the plural and the kind in lower case go without saying."""
    namespaced: bool = True


KINDS = {
    "ConfigMap": Kind("v1", "configmaps"),
    "Deployment": Kind("apps/v1", "deployments"),
    "EndpointSlice": Kind("discovery.k8s.io/v1", "endpointslices"),
    "LLMDeployment": Kind("tacho.dev/v1alpha1", "llmdeployments", ("llmd",)),
    "Namespace": Kind("v1", "namespaces", namespaced=False),
    "Node": Kind("v1", "nodes", namespaced=False),
    "PersistentVolume": Kind("v1", "persistentvolumes", namespaced=False),
    "PersistentVolumeClaim": Kind("v1", "persistentvolumeclaims"),
    "Pod": Kind("v1", "pods"),
    "ResourceQuota": Kind("v1", "resourcequotas"),
    "Service": Kind("v1", "services"),
    "ServiceAccount": Kind("v1", "serviceaccounts"),
}
CALLED = {name: kind for kind, found in KINDS.items() for name in (found.plural, kind.lower(), *found.names)}


def path_of(kind: str, namespace: str | None, name: str = "", **query: str) -> str:
    """API path of one object, or of all objects of a kind. `namespace` None: cluster-scoped, or all
    namespaces."""
    known = KINDS[kind]
    root = f"/api/{known.version}" if "/" not in known.version else f"/apis/{known.version}"
    space = f"/namespaces/{quote(namespace)}" if namespace and known.namespaced else ""
    one = f"/{quote(name)}" if name else ""
    asked = f"?{urlencode(query)}" if query else ""
    return f"{root}{space}/{known.plural}{one}{asked}"


def read_of(arguments: tuple[str, ...]) -> tuple[str, str] | None:
    """The kind and the path that `kubectl get ARGUMENTS` is after; None where that is not plain."""
    rest = list(arguments)
    kind = CALLED.get(rest.pop(0)) if rest else None
    name = rest.pop(0) if rest and not rest[0].startswith("-") else ""
    options = dict(zip(rest[::2], rest[1::2], strict=False))
    if kind is None or len(rest) % 2 or options.keys() - {"-n", "-l"}:
        return None
    if (KINDS[kind].namespaced and "-n" not in options) or (name and "-l" in options):
        return None
    query = {"labelSelector": options["-l"]} if "-l" in options else {}
    return kind, path_of(kind, options.get("-n"), name, **query)


def apply_path(document: dict[str, Any]) -> str | None:
    """Where server-side apply sends the object; None where its kind is not known here."""
    metadata = document["metadata"]
    namespace = metadata.get("namespace", "default")
    return path_of(document["kind"], namespace, metadata["name"], **APPLY) if _is_known(document) else None


def create_path(document: dict[str, Any]) -> str | None:
    """Where an object is tried to be created; None where its kind is not known here."""
    namespace = document["metadata"].get("namespace", "default")
    return path_of(document["kind"], namespace, **CREATE_ON_TRIAL) if _is_known(document) else None


def _is_known(document: dict[str, Any]) -> bool:
    known = KINDS.get(document["kind"])
    return known is not None and known.version == document["apiVersion"]


def as_kubectl_prints(kind: str, found: dict[str, Any]) -> dict[str, Any]:
    """The API server's answer, as `kubectl get -o json` would show it."""
    if "items" in found:
        items = [{"apiVersion": KINDS[kind].version, "kind": kind, **item} for item in found["items"]]
        found = {"apiVersion": "v1", "kind": "List", "items": items, "metadata": {"resourceVersion": ""}}
    for item in found.get("items", [found]):
        item["metadata"].pop("managedFields", None)
    return found


def request_text(
    server: Server,
    kubeconfig: Path,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    *,
    content: str = "application/json",
) -> str:
    """The answer as it is. Raises CalledProcessError with the API server's words where it refuses, OSError or
    HTTPException where it does not answer."""
    address = urlsplit(server.url)
    trust = _trust(server.authority, kubeconfig, kubeconfig.stat().st_mtime_ns)
    connection = http.client.HTTPSConnection(
        address.hostname or "", address.port, timeout=TIMEOUT_SECONDS, context=trust
    )
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": content, "Accept": "application/json"})
        answer = connection.getresponse()
        found = answer.read().decode()
    finally:
        connection.close()
    if answer.status >= http.HTTPStatus.BAD_REQUEST:
        message = f"Error from server {_refusal(found)}\n"
        error = subprocess.CalledProcessError(1, [method, path], "", message)
        error.add_note(message)
        raise error
    return found


def _refusal(answer: str) -> str:
    try:
        status = json.loads(answer)
        return f"({status['reason']}): {status['message']}"
    except (ValueError, LookupError, TypeError):  # of what stands behind it, as a pod's
        return answer


def has_certificate(kubeconfig: Path) -> bool:
    """Whether its user speaks by a certificate that it holds, as the admins of clusters of ours do."""
    return "client-certificate-data" in _user(kubeconfig, kubeconfig.stat().st_mtime_ns)


@functools.lru_cache
def _user(kubeconfig: Path, _changed: int) -> dict[str, str]:
    try:
        (user,) = json.loads(kubeconfig.read_text())["users"]
    except ValueError:  # YAML of the user's, or several
        return {}
    return dict(user["user"])


@functools.lru_cache
def _trust(authority: Path, kubeconfig: Path, changed: int) -> ssl.SSLContext:
    trust = ssl.create_default_context(cafile=str(authority))
    user = _user(kubeconfig, changed)
    with tempfile.NamedTemporaryFile(suffix=".pem") as pair:  # the library reads files only
        os.chmod(pair.name, 0o600)
        for key in ("client-certificate-data", "client-key-data"):
            pair.write(decoded(user[key]) + b"\n")
        pair.flush()
        trust.load_cert_chain(pair.name)
    return trust
