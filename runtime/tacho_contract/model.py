"""The documents of a model's inspection: its settings, and the facts that it finds."""

from __future__ import annotations

from dataclasses import dataclass, field

from tacho_contract import SCHEMA
from tacho_contract.codec import at_most, flat
from tacho_contract.failure import Failure
from tacho_contract.pod import MODEL_DIR
from tacho_contract.uri import ModelUri

ENV_INSPECT_CONFIG = "TACHO_INSPECT_CONFIG"
DEFAULT_REVISION = "main"
"""The hub's own default branch."""

OTHER = "other"
"""Kind of a tensor that no pattern names, and dtype of one whose type is unknown: it counts by its bytes."""
CLASS_LIMIT = 64
"""Tensor classes of a model. Published models have 20 at most."""
LAYER_GROUP_LIMIT = 256

HEADERS = "Headers"
FULL = "Full"
"""What of a model without a commit is compared at each start: names, sizes and headers, or every byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorClass:
    """All tensors of one kind and storage type, added up; single modules are not listed."""

    kind: str
    """embedding | lm_head | norm | linear | expert | router | conv | ssm | vision | scale | bias | draft |
    other.
    ``scale`` is what a quantized checkpoint stores beside its packed weights (scales, zeros, g_idx).
    ``draft`` is layers for speculative decoding (multi-token prediction), not loaded unless requested."""
    dtype: str
    """Data type of the tensor as stored: BF16, F16, F32, F8_E4M3, I32, U8, …, a GGML type such as Q4_K, or
    ``other``."""
    tensors: int
    parameters: int
    """Elements as stored (a packed int32 holding eight 4-bit weights counts as one)."""
    stored_bytes: int
    """Exact, from the header's offsets; not computed from the dtype."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGroup:
    """Layers that keep the same kind of state for each token or request."""

    kind: str
    """full | sliding | chunked | mla | mamba | linear_attention | none."""
    layers: int
    key_value_heads: int = 0
    key_head_dim: int = 0
    value_head_dim: int = 0
    window_tokens: int = 0
    """sliding and chunked: number of tokens that attention covers."""
    state_bytes: int = 0
    """mamba and linear_attention: constant state per request over all these layers, in the model's dtype."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The model's shape (layers, heads, sizes), from which memory and speed follow. 0 or "" means unknown."""

    name: str = ""
    """First of config.json's ``architectures``, or GGUF's ``general.architecture``."""
    model_type: str = ""
    hidden_size: int = 0
    layers: int = 0
    attention_heads: int = 0
    key_value_heads: int = 0
    head_dim: int = 0
    intermediate_size: int = 0
    vocabulary: int = 0
    max_positions: int = 0
    """Longest context the checkpoint claims, rope scaling included."""
    rotary_dim: int = 0
    kv_lora_rank: int = 0
    qk_rope_head_dim: int = 0
    experts: int = 0
    experts_per_token: int = 0
    moe_intermediate_size: int = 0
    tied_embeddings: bool = False
    multimodal: bool = False
    dtype: str = ""
    """bfloat16 | float16 | float32: what 16-bit engines compute in."""
    layer_groups: tuple[LayerGroup, ...] = field(default=(), metadata=at_most(LAYER_GROUP_LIMIT))
    needs_remote_code: bool = False
    """The repository brings Python code that loading would run (auto_map). Inspection never runs it."""


SCHEMES_JOINED = "+"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredQuantization:
    """How the checkpoint is already quantized. ``method`` is "" where it is not."""

    method: str = ""
    """awq | gptq | compressed-tensors | fp8 | bitsandbytes | mxfp4 | modelopt | gguf | others as stored."""
    bits: int = 0
    group_size: int = 0
    scheme: str = ""
    """Name of the variant: W4A16, W8A8-int, nf4, Q4_K_M, …, of several kinds of layers each one's."""
    kv_cache_dtype: str = ""
    lm_head_quantized: bool = False
    double_quant: bool = False

    @property
    def schemes(self) -> tuple[str, ...]:
        """Those of all layers, at least one."""
        return tuple(self.scheme.split(SCHEMES_JOINED))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSet:
    """The files of one commit or folder at one time; a later listing is compared with them to detect
    changes."""

    commit: str
    """hf:// only, else "": the commit the revision resolved to."""
    globs: tuple[str, ...]
    """The patterns that select exactly the files to load."""
    file_count: int
    total_bytes: int
    files_digest: str
    """sha256 over sorted (path, size): what fetch checks its own listing against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles(FileSet):
    """The files of a model to load: found by inspection, frozen in the revision, downloaded by fetch."""

    digest: str
    """The commit for hf://, else sha256 over sorted (path, size, header bytes)."""
    content_digest: str = ""
    """sha256 over sorted (path, sha256 of every byte) of the files that engines read. "": not requested."""
    model_file: str = ""
    """GGUF: the one file to give to the engine (the first shard), relative to the model's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Facts about a model that are known before its weights are downloaded."""

    schema: int = SCHEMA
    uri: ModelUri
    files: ModelFiles = field(metadata=flat(globs="files"))
    format: str
    """safetensors | gguf | ct2 | pytorch | custom."""
    architecture: Architecture | None = None
    quantization: StoredQuantization = StoredQuantization()
    tensors: tuple[TensorClass, ...] = field(default=(), metadata=at_most(CLASS_LIMIT))
    tokenizer: bool | None = None
    """Whether the model's files hold a tokenizer; None: not checked."""
    chat_template: bool | None = None
    """Whether the model's files hold a chat template (how a conversation becomes a prompt); None: not
    known."""
    unknown: tuple[str, ...] = ()
    """Names of facts that inspection could not determine, for messages. Nothing is guessed silently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectConfig:
    """Settings of an inspect pod, or of ``tacho plan``; in the environment variable TACHO_INSPECT_CONFIG."""

    uri: ModelUri
    revision: str = DEFAULT_REVISION
    files: tuple[str, ...] = ()
    engine: str = ""
    """Which engine will load it, "" while undecided: selects files when ``files`` is empty."""
    parse: bool = True
    """False (engine custom): the files are listed and sized, not parsed."""
    endpoint: str = ""
    """Hub mirror; "" is the library's own default."""
    verification: str = HEADERS
    """Headers | Full. Full, of a claim or folder: every byte is read, for ``ModelFiles.content_digest``."""
    claim_dir: str = MODEL_DIR
    """pvc://: where the claim is mounted."""
    timeout_seconds: int = 120
    """Seconds that an inspection may take, except for reading every byte, which has the same time as loading
    at a start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectResult:
    """The result of an inspect pod: its termination message, packed with zlib and base64."""

    facts: ModelFacts | None = None
    failure: Failure | None = None
    runtime_sha256: str | None = None
    """sha256 of the runtime's file in the image of the inspect pod; None: the image has none."""
