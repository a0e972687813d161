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
"""Branch of a model repository that is used by default."""

OTHER = "other"
"""Kind of a tensor whose name matches no pattern, and dtype of an unknown type. Only its bytes count."""
CLASS_LIMIT = 64
"""Most tensor classes of a model; published models have 20 at most."""
LAYER_GROUP_LIMIT = 256

HEADERS = "Headers"
FULL = "Full"
"""Settings for the check of a claim's model at each start: names, sizes and headers; or every byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorClass:
    """All tensors of one kind and storage type together."""

    kind: str
    """embedding | lm_head | norm | linear | latent | expert | router | conv | ssm | vision | scale | bias |
    draft | other.
    ``latent`` is the projections to the latent of MLA, which every GPU has whole.
    ``scale`` is what a quantized checkpoint stores beside its packed weights (scales, zeros, g_idx).
    ``draft`` is layers for speculative decoding (multi-token prediction), not loaded unless requested."""
    dtype: str
    """Data type of the tensor as stored: BF16, F16, F32, F8_E4M3, I32, U8, …, a GGML type such as Q4_K, or
    ``other``."""
    tensors: int
    parameters: int
    """Number of elements as stored: a packed int32 with eight 4-bit weights counts as one."""
    stored_bytes: int
    """Bytes as stored, from the offsets in the header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGroup:
    """The layers of a model that keep the same kind of state per token or request."""

    kind: str
    """Kind of attention or state: full, sliding, chunked, mla, mamba, linear_attention or none."""
    layers: int
    key_value_heads: int = 0
    key_head_dim: int = 0
    value_head_dim: int = 0
    window_tokens: int = 0
    """Number of tokens that attention covers, for kinds sliding and chunked."""
    state_bytes: int = 0
    """Bytes of state per request over all these layers, for kinds mamba and linear_attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The model's shape (layers, heads, sizes), from which memory and speed follow. 0 or "" means unknown."""

    name: str = ""
    """The first entry of ``architectures`` in config.json, or GGUF's ``general.architecture``."""
    model_type: str = ""
    hidden_size: int = 0
    layers: int = 0
    attention_heads: int = 0
    key_value_heads: int = 0
    head_dim: int = 0
    intermediate_size: int = 0
    vocabulary: int = 0
    max_positions: int = 0
    """Longest context in tokens by the model's files, rope scaling included."""
    rotary_dim: int = 0
    kv_lora_rank: int = 0
    qk_rope_head_dim: int = 0
    experts: int = 0
    experts_per_token: int = 0
    moe_intermediate_size: int = 0
    tied_embeddings: bool = False
    multimodal: bool = False
    dtype: str = ""
    """Type in which 16-bit engines compute: bfloat16, float16 or float32."""
    layer_groups: tuple[LayerGroup, ...] = field(default=(), metadata=at_most(LAYER_GROUP_LIMIT))
    state_heads: int = 0
    """Heads of recurrent layers that GPUs can share: with several groups, their greatest common divisor."""
    needs_remote_code: bool = False
    """Whether the model maps its classes to Python code of its repository (auto_map), which engines run where
    they have none of their own. Inspection does not."""
    configuration: str = ""
    """The ``model_type`` of the whole configuration, where ``needs_remote_code``."""


SCHEMES_JOINED = "+"
IRREGULAR = SPARSE, REORDERED = "sparse", "act-order"
"""Words in the scheme of a checkpoint: two of four weights are left out, or those of a group are not
neighbours (GPTQ's desc_act)."""
LONGEST_SCHEME = 128
"""Most characters of a scheme's text that are read. Facts may come from a user, and plans read it often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredQuantization:
    """How the checkpoint is already quantized; ``method`` is "" where it is not."""

    method: str = ""
    """The method: awq, gptq, compressed-tensors, fp8, bitsandbytes, mxfp4, modelopt, gguf, or as stored."""
    bits: int = 0
    group_size: int = 0
    scheme: str = ""
    """Name of the variant: W4A16, W8A8-int, nf4, Q4_K_M, …; where layers differ, all their names."""
    kv_cache_dtype: str = ""
    lm_head_quantized: bool = False
    double_quant: bool = False
    file: str = ""
    """The file beside config.json that says it, where an engine reads that only if it is told the method."""

    @property
    def schemes(self) -> tuple[str, ...]:
        """The variants of all layers, at least one."""
        return tuple(self.scheme[:LONGEST_SCHEME].split(SCHEMES_JOINED))

    @property
    def is_irregular(self) -> bool:
        """Whether weights are left out or reordered."""
        return not set(IRREGULAR).isdisjoint(self.schemes)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSet:
    """The files of one commit or folder at one time; a later listing is compared with them to detect
    changes."""

    commit: str
    """Commit that the revision resolved to, for hf://; else ""."""
    globs: tuple[str, ...]
    """Patterns that select exactly the files to load."""
    file_count: int
    total_bytes: int
    files_digest: str
    """sha256 over sorted (path, size), with which the fetch container compares the hub's list of files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles(FileSet):
    """A model's files: found by inspection, stored in the revision, downloaded by the fetch container."""

    digest: str
    """The commit for hf://, else the sha256 over sorted (path, size, header bytes)."""
    content_digest: str = ""
    """sha256 over sorted (path, sha256 of every byte) of the files that engines read. "": not computed."""
    model_file: str = ""
    """For GGUF: path, in the model's folder, of the file that the engine gets (the first part); else ""."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Facts about a model that are known before its weights are downloaded."""

    schema: int = SCHEMA
    uri: ModelUri
    files: ModelFiles = field(metadata=flat(globs="files"))
    format: str
    """safetensors | gguf | ct2 | pytorch | mistral-native | custom."""
    architecture: Architecture | None = None
    quantization: StoredQuantization = StoredQuantization()
    tensors: tuple[TensorClass, ...] = field(default=(), metadata=at_most(CLASS_LIMIT))
    tokenizer: bool | None = None
    """Whether the model's files hold a tokenizer; None: not checked."""
    chat_template: bool | None = None
    """Whether the model's files hold a chat template (how a conversation becomes a prompt); None: not
    known."""
    gguf_companions: bool | None = None
    """Whether config.json and a tokenizer lie in the folder of a GGUF file; None: not checked, or no GGUF."""
    unknown: tuple[str, ...] = ()
    """Names of the facts that inspection could not determine, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectConfig:
    """Settings of an inspect pod, or of ``tacho plan``; in the environment variable TACHO_INSPECT_CONFIG."""

    uri: ModelUri
    revision: str = DEFAULT_REVISION
    files: tuple[str, ...] = ()
    engine: str = ""
    """Engine that will load the model; "": not chosen yet. It selects the files where ``files`` is empty."""
    parse: bool = True
    """Whether the files are parsed; False (engine custom): they are only listed."""
    trust_remote_code: bool = False
    """Whether the engine may run Python files of the repository; else they are no files of the model."""
    endpoint: str = ""
    """URL of a hub mirror; "": the hub client's default."""
    verification: str = HEADERS
    """Headers, or Full: all bytes of a claim's or folder's files, for ``ModelFiles.content_digest``."""
    claim_dir: str = MODEL_DIR
    """Path at which the claim of a pvc:// model is mounted."""
    timeout_seconds: int = 120
    """Time limit of an inspection in seconds. Reading every byte has a limit of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectResult:
    """The result of an inspect pod: its termination message, packed with zlib and base64."""

    facts: ModelFacts | None = None
    failure: Failure | None = None
