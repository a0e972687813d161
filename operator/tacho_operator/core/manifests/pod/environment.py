"""Environment variables of the containers, and who may see which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tacho_contract.launch import ENV_CPU_REQUEST
from tacho_contract.pod import HOME_DIR
from tacho_operator.api.types import EnvVar, HubSpec, ModelSpec
from tacho_operator.core.types import Manifest

CA_DIR = "/etc/tacho-ca"
CA_FILE = f"{CA_DIR}/ca.crt"
RESERVED_PREFIX = "TACHO_"


def literal(value: str) -> str:
    """``value`` such that the kubelet hands it on unchanged: it expands $(NAME) and halves $$."""
    return value.replace("$", "$$")


def variable(name: str, value: str) -> Manifest:
    return {"name": name, "value": value}


def user_variables(variables: Iterable[EnvVar]) -> list[Manifest]:
    """The user's variables as written; those that steer tacho itself cannot be set."""
    return [
        item.model_dump(mode="json", by_alias=True, exclude_none=True)
        for item in variables
        if not item.name.startswith(RESERVED_PREFIX)
    ]


def merged(own: Sequence[Manifest], users: Sequence[Manifest]) -> list[Manifest]:
    """``own`` first, then the user's, which win. A name occurs once: server-side apply refuses more."""
    chosen = {item["name"] for item in users}
    return [item for item in own if item["name"] not in chosen] + list(users)


CPU_REQUEST: Manifest = {
    "name": ENV_CPU_REQUEST,
    "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}},
}
"""As the kubelet sees it: what admission made of the request counts."""


def engine_variables(
    runtime_config: str, users: Iterable[EnvVar], *, hub_model: bool, asks_for_cpu: bool
) -> list[Manifest]:
    """Of the engine container. Caches go where any uid may write, those that are worth keeping where the
    engine's own half says; no token is ever among them. ``asks_for_cpu``: the user gave a CPU request;
    tacho's own is the least that a pod is placed by, and says nothing of threads."""
    own = [
        variable("TACHO_RUNTIME_CONFIG", literal(runtime_config)),
        variable("HOME", HOME_DIR),
        variable("TMPDIR", "/tmp"),  # noqa: S108 - the pod's own emptyDir
        variable("XDG_CACHE_HOME", f"{HOME_DIR}/.cache"),
        variable("PYTHONDONTWRITEBYTECODE", "1"),
    ]
    if asks_for_cpu:
        own.append(CPU_REQUEST)
    if hub_model:
        own.append(variable("HF_HUB_OFFLINE", "1"))
    return merged(own, user_variables(users))


def hub_variables(
    name: str, config: str, model: ModelSpec, *, token_optional: bool, home: str
) -> list[Manifest]:
    """Of the inspect and fetch containers, the only holders of the hub token."""
    hub = model.hub or HubSpec()
    own = [
        variable(name, literal(config)),
        variable("HOME", home),
        variable("TMPDIR", "/tmp"),  # noqa: S108 - the pod's own emptyDir
        variable("HF_HUB_DISABLE_TELEMETRY", "1"),
        variable("PYTHONDONTWRITEBYTECODE", "1"),
    ]
    if hub.ca_bundle_config_map_ref:
        own += [variable(key, CA_FILE) for key in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")]
    users = user_variables(item for item in hub.env if item.name != "HF_TOKEN")
    if token := model.token_secret_ref:
        reference: Manifest = {"name": token.name, "key": token.key}
        if token_optional:
            reference["optional"] = True
        own.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}})
    return merged(own, users)


def ca_volume(model: ModelSpec) -> tuple[list[Manifest], list[Manifest]]:
    """(volumes, mounts) for the certificates of the hub mirror or proxy; empty without one."""
    reference = model.hub.ca_bundle_config_map_ref if model.hub else None
    if reference is None:
        return [], []
    volume = {
        "name": "tacho-ca",
        "configMap": {"name": reference.name, "items": [{"key": reference.key, "path": "ca.crt"}]},
    }
    return [volume], [{"name": "tacho-ca", "mountPath": CA_DIR, "readOnly": True}]
