"""Kubeconfig files: for the cluster's own parts, for its admin, for a ServiceAccount."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cluster.certs import KeyPair

CONTEXT = "tacho"


@dataclass(frozen=True)
class Server:
    """An API server and the authority that signed its certificate."""

    url: str
    authority: Path


def with_certificate(path: Path, server: Server, pair: KeyPair, namespace: str = "default") -> Path:
    """Writes a kubeconfig whose user is the certificate's."""
    user = {"client-certificate-data": _encoded(pair.certificate), "client-key-data": _encoded(pair.key)}
    return _write(path, server, user, namespace)


def with_token(path: Path, server: Server, token: str, namespace: str = "default") -> Path:
    """Writes a kubeconfig whose user is the bearer of `token`."""
    return _write(path, server, {"token": token}, namespace)


def rerouted(direct: Path, old: str, new: str) -> Path:
    """A copy of the kubeconfig ``direct`` beside it, by way of the server at ``new`` in place of ``old``."""
    path = direct.with_name(f"rerouted-{direct.name}")
    path.touch(mode=0o600)
    path.write_text(direct.read_text().replace(old, new))
    return path


def decoded(data: str) -> bytes:
    """The bytes of a kubeconfig's `…-data` field."""
    return base64.b64decode(data)


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _write(path: Path, server: Server, user: dict[str, Any], namespace: str) -> Path:
    """JSON is YAML: kubectl and every client read it."""
    cluster = {"server": server.url, "certificate-authority-data": _encoded(server.authority)}
    context = {"cluster": CONTEXT, "user": CONTEXT, "namespace": namespace}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": CONTEXT,
        "clusters": [{"name": CONTEXT, "cluster": cluster}],
        "users": [{"name": CONTEXT, "user": user}],
        "contexts": [{"name": CONTEXT, "context": context}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path
