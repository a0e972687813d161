"""Model source, cache, and references to other objects."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from tacho_contract.uri import ModelUri, parse_uri
from tacho_operator.api.base import NO_BLANK, ApiModel, DataKey, Name, items


class HubTokenRef(ApiModel):
    """The key of a Secret that holds a Hugging Face token."""

    name: Name
    """Name of the Secret, in the same namespace. Example: hf."""
    key: DataKey = "HF_TOKEN"
    """Key in the Secret's data that holds the token. Absent: HF_TOKEN. Example: HF_TOKEN."""


class CaBundleRef(ApiModel):
    """The key of a ConfigMap that holds certificates of authorities, PEM."""

    name: Name
    """Name of the ConfigMap, in the same namespace. Example: ca."""
    key: DataKey = "ca.crt"
    """Key in the ConfigMap's data that holds the PEM certificates. Absent: ca.crt. Example: ca.crt."""


class EnvSecretKeyRef(ApiModel):
    """A value taken from a key of a Secret."""

    name: Name
    """Name of the Secret, in the same namespace."""
    key: DataKey
    """Key in the Secret's data."""
    optional: bool | None = None
    """True: the container starts even where the Secret or the key is missing. Absent: it must exist."""


class EnvConfigMapKeyRef(ApiModel):
    """A value taken from a key of a ConfigMap."""

    name: Name
    """Name of the ConfigMap, in the same namespace."""
    key: DataKey
    """Key in the ConfigMap's data."""
    optional: bool | None = None
    """True: the container starts even where the ConfigMap or the key is missing. Absent: it must exist."""


class EnvFieldRef(ApiModel):
    """A value taken from the pod itself."""

    field_path: Annotated[str, Field(min_length=1, max_length=256)]
    """Path of the pod's field, as in the downward API. Example: status.podIP."""


class EnvVarSource(ApiModel):
    """Where a variable's value comes from: exactly one field is set."""

    secret_key_ref: EnvSecretKeyRef | None = None
    """The value is a key of a Secret."""
    config_map_key_ref: EnvConfigMapKeyRef | None = None
    """The value is a key of a ConfigMap."""
    field_ref: EnvFieldRef | None = None
    """The value is a field of the pod."""


class EnvVar(ApiModel):
    """An environment variable: a name with either a value or a source."""

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Name of the variable. Example: OMP_NUM_THREADS."""
    value: Annotated[str, Field(max_length=4096)] | None = None
    """The value, taken word for word. Absent: taken from valueFrom, or empty."""
    value_from: EnvVarSource | None = None
    """Take the value from elsewhere, instead of `value`."""


EnvList = Annotated[list[EnvVar], items(64, key="name")]


class HubSpec(ApiModel):
    """How the Hugging Face Hub is reached by the pods that inspect and fetch the model."""

    endpoint: Annotated[str, Field(max_length=512, pattern=f"^(https?://{NO_BLANK}+)?$")] = ""
    """URL of a mirror that speaks the Hub's API. Empty: https://huggingface.co. Example:
    https://hub.corp.example."""
    ca_bundle_config_map_ref: CaBundleRef | None = None
    """Certificates (PEM) the mirror or proxy is signed by. Absent: the image's own bundle."""
    env: EnvList = Field(default_factory=list)
    """Variables of the inspect and fetch containers only: proxies, certificates, HF_ENDPOINT, time limits.
    Example: HTTPS_PROXY."""


def _understood(uri: str) -> str:
    parse_uri(uri)
    return uri


class ModelSpec(ApiModel):
    """Model source and access."""

    uri: Annotated[str, Field(min_length=6, max_length=512), AfterValidator(_understood)]
    """Where the model is: hf://owner/name (Hugging Face Hub), pvc://claim/path (a claim in this namespace),
    or, for `tacho run` only, file:///path. Example: hf://mistralai/Mistral-7B-Instruct-v0.2."""
    revision: (
        Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][-A-Za-z0-9._/]*$")] | None
    ) = None
    """Branch, tag or commit of an hf:// model. It is resolved to a commit once, and that commit is pinned in
    the plan. Absent: main. Example: main."""
    served_name: (
        Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][-A-Za-z0-9._/:]*$")] | None
    ) = None
    """The name clients send as "model" in OpenAI requests. Absent: the resource's name. Example: mistral."""
    files: Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], items(8)] = Field(
        default_factory=list
    )
    """Globs of the files to load, at most 8. Absent: what the engine loads; required for a repository with
    several GGUF files. Example: ["*Q4_K_M.gguf"]."""
    hub: HubSpec | None = None
    """How the Hugging Face Hub is reached: mirror, certificates, proxy. Absent: huggingface.co directly."""
    token_secret_ref: HubTokenRef | None = None
    """Token for gated or private models. Only the inspect and fetch containers see it, never the engine.
    Another name reaches inspections and new revisions only. Absent: no token."""
    verification: Literal["Headers", "Full"] | None = None
    """How the files of a pvc:// model are compared with the plan at each start: Headers (names, sizes and
    headers; replaced weights of the same shape pass) or Full (every byte, which reads the files once). hf://
    models are always compared in full. Absent: Headers. Example: Full."""
    trust_remote_code: bool = False
    """True runs Python code that comes with the model inside the engine: only for sources you trust.
    Absent: false."""

    @property
    def source(self) -> ModelUri:
        """The parsed `uri`."""
        return parse_uri(self.uri)


class CacheClaim(ApiModel):
    """A claim for downloaded models and, in the folder tacho-compiled, compiled and converted artifacts.
    Writers of the claim control the code that runs in the pods that mount it."""

    claim_name: Name
    """Name of the PersistentVolumeClaim, in the same namespace. Example: models."""
    sub_path: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Folder inside the claim, relative and without "..". Absent: its root. Example: hub."""
    read_only: bool = False
    """True mounts the claim read-only: the model must exist there, and compiled artifacts last as long as the
    pod. Absent: false."""


class CacheSpec(ApiModel):
    """Storage for downloaded models and compiled artifacts: exactly one field is set."""

    persistent_volume_claim: CacheClaim | None = None
    """A claim, so that a new pod does not download, compile or convert again."""
