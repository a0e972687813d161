"""Environment variables of all containers. Only the inspect and fetch containers get the hub token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tacho_contract.launch import ENV_CPU_REQUEST, ENV_POD_UID
from tacho_contract.pod import HOME_DIR
from tacho_operator.api.spec.sources import EnvVar, HubSpec, ModelSpec
from tacho_operator.core.types import Manifest

CA_DIR = "/etc/tacho-ca"
CA_FILE = f"{CA_DIR}/ca.crt"
RESERVED_PREFIX = "TACHO_"
VARIABLE_LIMIT_BYTES = 128 * 1024
"""Longest environment variable that Linux starts a process with: name, "=", value and a zero byte."""


def literal(value: str) -> str:
    """``value`` escaped for the kubelet, which expands $(NAME) and $$."""
    return value.replace("$", "$$")


def too_long_variable(template: Manifest) -> tuple[str, int] | None:
    """(name, bytes) of the first variable of a pod template that Linux refuses; None: it takes all of them.

    No engine starts with it. The container runtime's error names neither the variable nor the limit.
    """
    spec = template["spec"]
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        for item in container.get("env", ()):
            size = len(f"{item['name']}={item.get('value', '').replace('$$', '$')}\0".encode())
            if size > VARIABLE_LIMIT_BYTES:
                return item["name"], size
    return None


def variable(name: str, value: str) -> Manifest:
    return {"name": name, "value": value}


def user_variables(variables: Iterable[EnvVar]) -> list[Manifest]:
    """The user's environment variables, except variables that configure tacho itself."""
    return [
        item.model_dump(mode="json", by_alias=True, exclude_none=True)
        for item in variables
        if not item.name.startswith(RESERVED_PREFIX)
    ]


def merged(own: Sequence[Manifest], users: Sequence[Manifest]) -> list[Manifest]:
    """The variables ``own``, then ``users``. A user's variable replaces the own one of the same name, as
    server-side apply requires unique names.
    """
    chosen = {item["name"] for item in users}
    return [item for item in own if item["name"] not in chosen] + list(users)


CPU_REQUEST: Manifest = {
    "name": ENV_CPU_REQUEST,
    "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}},
}
"""Variable with the pod's CPU request as admitted, since an admission webhook may change it."""


POD_UID: Manifest = {"name": ENV_POD_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}


def engine_variables(
    runtime_config: str, users: Iterable[EnvVar], *, hub_model: bool, requests_cpu: bool, gpus: bool
) -> list[Manifest]:
    """Environment variables of the engine container: no token, and cache folders that any user id may write.

    ``requests_cpu``: whether spec has a CPU request, which then sets the number of threads. tacho's own
    request is only a minimum for scheduling. ``gpus``: whether the pod has GPUs, which their device plugin
    names.
    """
    own = [
        variable("TACHO_RUNTIME_CONFIG", literal(runtime_config)),
        variable("HOME", HOME_DIR),
        # The pod's user id is in no image's /etc/passwd, where Python's getpass looks without this. PyTorch
        # before 2.13 asks it as it compiles, and ends with KeyError.
        variable("USER", "tacho"),
        variable("TMPDIR", "/tmp"),  # noqa: S108 - the pod's own emptyDir
        variable("XDG_CACHE_HOME", f"{HOME_DIR}/.cache"),
        variable("PYTHONDONTWRITEBYTECODE", "1"),
        POD_UID,
    ]
    if not gpus:
        # Images built on CUDA's say "all", for which NVIDIA's container runtime opens every GPU of the node.
        own.append(variable("NVIDIA_VISIBLE_DEVICES", "void"))
    if requests_cpu:
        own.append(CPU_REQUEST)
    if hub_model:
        own.append(variable("HF_HUB_OFFLINE", "1"))
    return merged(own, user_variables(users))


def hub_variables(
    name: str, config: str, model: ModelSpec, *, token_optional: bool, home: str
) -> list[Manifest]:
    """Environment of the inspect and fetch containers, which alone get the hub token."""
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


def hub_endpoint(model: ModelSpec, default: str = "") -> str:
    """The URL of the hub in spec, else ``default``.

    "" where a variable in spec names the hub, or the Hugging Face Hub is used.
    """
    hub = model.hub or HubSpec()
    named = any(item.name == "HF_ENDPOINT" for item in hub.env)
    return hub.endpoint or ("" if named else default)


def ca_volume(model: ModelSpec) -> tuple[list[Manifest], list[Manifest]]:
    """(volumes, mounts) of the CA certificates for a hub mirror or proxy; empty where spec names none."""
    reference = model.hub.ca_bundle_config_map_ref if model.hub else None
    if reference is None:
        return [], []
    volume = {
        "name": "tacho-ca",
        "configMap": {"name": reference.name, "items": [{"key": reference.key, "path": "ca.crt"}]},
    }
    return [volume], [{"name": "tacho-ca", "mountPath": CA_DIR, "readOnly": True}]
