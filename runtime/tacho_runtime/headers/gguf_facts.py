"""Reads a model's shape and quantization from the metadata of a GGUF file, as config.json would give them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tacho_contract.model import Architecture, LayerGroup, StoredQuantization
from tacho_runtime.headers.gguf import ArrayLength
from tacho_runtime.headers.json_values import integer, text
from tacho_runtime.headers.layers import LAYER_LIMIT
from tacho_runtime.headers.quantization import GGUF_FILE_TYPES
from tacho_runtime.headers.tensors import StoredTensor, largest

WINDOW_PATTERNS = {
    "gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "cohere2": 4, "llama4": 4, "olmo2": 4, "exaone4": 4,
    "exaone-moe": 4, "afmoe": 4, "smallthinker": 4,
}  # fmt: skip
"""Period of layers with full attention by architecture; the others have a sliding window (llama.cpp
src/llama-model.cpp, set_swa_pattern).
"""

INDEXER = "attention.indexer"
WINDOWS = {"llama4": 8192}
"""Window in tokens where the file does not say it (llama.cpp src/models/llama4.cpp)."""
OWN_CACHES = {"gemma3n": 20}
"""Number of first layers with a cache of their own, where the file does not say it; the others use those
(llama.cpp src/models/gemma3n.cpp, n_layer_kv_from_start).
"""
FULL_INTERVALS = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4}
"""Period of layers with attention where the file does not say it; the others are recurrent (llama.cpp
src/llama-model.cpp, recurrent_layer_arr).
"""


class _Keys:
    """The metadata values under ``{architecture}.key``. Of an array with one entry per layer, the largest."""

    def __init__(self, metadata: dict[str, Any], architecture: str) -> None:
        self._metadata, self._prefix = metadata, architecture

    def raw(self, key: str) -> Any:
        return self._metadata.get(f"{self._prefix}.{key}")

    def number(self, key: str) -> int:
        value = self.raw(key)
        if isinstance(value, tuple):
            return max((integer(n) for n in value), default=0)
        return max(0, integer(value))

    def per_layer(self, key: str, layers: int) -> list[int]:
        value = self.raw(key)
        numbers = (
            [max(0, integer(n)) for n in value] if isinstance(value, tuple) else [self.number(key)] * layers
        )
        return (numbers + [0] * layers)[:layers]


def gguf_architecture(
    metadata: dict[str, Any], tensors: Iterable[StoredTensor]
) -> tuple[Architecture, list[str]]:
    """Shape numbers of a GGUF model, and the unknown values as message clauses."""
    name = text(metadata.get("general.architecture"))[:40]
    keys = _Keys(metadata, name)
    layers = keys.number("block_count")
    layers = layers if layers <= LAYER_LIMIT else 0
    if (drafts := keys.number("nextn_predict_layers")) < layers:
        layers -= drafts  # of a multi-token prediction, the last ones
    hidden, heads = keys.number("embedding_length"), keys.number("attention.head_count")
    size = keys.number("attention.key_length") or (hidden // heads if heads else 0)
    latent = keys.number("attention.kv_lora_rank")
    names = {tensor.name for tensor in tensors}
    groups, unknown = _groups(keys, name, layers, size)
    shape = Architecture(
        name=name,
        model_type=name,
        hidden_size=hidden,
        layers=layers,
        attention_heads=heads,
        key_value_heads=keys.number("attention.head_count_kv") or heads,
        head_dim=size,
        intermediate_size=keys.number("feed_forward_length"),
        vocabulary=keys.number("vocab_size") or _count(metadata.get("tokenizer.ggml.tokens")),
        max_positions=keys.number("context_length"),
        rotary_dim=keys.number("rope.dimension_count"),
        kv_lora_rank=latent,
        qk_rope_head_dim=keys.number("rope.dimension_count") if latent else 0,
        experts=keys.number("expert_count"),
        experts_per_token=keys.number("expert_used_count"),
        moe_intermediate_size=keys.number("expert_feed_forward_length"),
        tied_embeddings=bool(names) and "output.weight" not in names,
        dtype="float16",
        layer_groups=groups,
    )
    needed = {"number of layers": layers, "hidden size": hidden, "longest context": shape.max_positions}
    return shape, [what for what, value in needed.items() if not value] + unknown


def _count(value: Any) -> int:
    return value.count if isinstance(value, ArrayLength) else len(value) if isinstance(value, tuple) else 0


def _groups(keys: _Keys, name: str, layers: int, size: int) -> tuple[tuple[LayerGroup, ...], list[str]]:
    # Files that were converted before llama.cpp cached the latent lack this key: it caches all their heads.
    if keys.number("attention.kv_lora_rank") and keys.number("attention.key_length_mla"):
        return _latent_groups(keys, layers)
    value_size = keys.number("attention.value_length") or size
    window = keys.number("attention.sliding_window")
    if keys.raw("attention.sliding_window") is None:
        window = WINDOWS.get(name, 0)
    pattern = keys.raw("attention.sliding_window_pattern")
    every = integer(pattern) or WINDOW_PATTERNS.get(name, 0)
    heads = keys.per_layer("attention.head_count_kv", layers)
    if not any(heads) and keys.raw("attention.head_count_kv") is None:
        heads = keys.per_layer("attention.head_count", layers)
    interval = keys.number("full_attention_interval") or FULL_INTERVALS.get(name, 0)
    if interval:
        heads = [0 if (layer + 1) % interval else count for layer, count in enumerate(heads)]
    own = layers - keys.number("attention.shared_kv_layers")
    own = OWN_CACHES.get(name, layers) if own == layers else own
    recurrent = _is_recurrent(keys, name, layers)
    sums: dict[tuple[str, int], int] = {}
    for layer, count in enumerate(heads):
        if isinstance(pattern, tuple) and layer < len(pattern):
            local = bool(pattern[layer])
        else:
            local = bool(every) and (layer + 1) % every != 0
        kind = (
            ("sliding" if window and local else "full")
            if count and layer < own
            else "mamba"
            if not count and recurrent[layer]
            else "none"
        )
        sums[(kind, count)] = sums.get((kind, count), 0) + 1
    state = _ssm_state_bytes(keys)
    if name == "falcon-h1":  # each layer has attention and recurrence side by side
        sums["mamba", 0] = layers
    local_size = keys.number("attention.key_length_swa") or size
    local_value = keys.number("attention.value_length_swa") or value_size
    groups = tuple(
        LayerGroup(
            kind=kind,
            layers=n,
            key_value_heads=count,
            key_head_dim=(local_size if kind == "sliding" else size) if count else 0,
            value_head_dim=(local_value if kind == "sliding" else value_size) if count else 0,
            window_tokens=window if kind == "sliding" else 0,
            state_bytes=state * n if kind == "mamba" else 0,
        )
        for (kind, count), n in sums.items()
    )
    odd = (
        ["which layers use the sliding window"]
        if window and not every and not isinstance(pattern, tuple)
        else []
    )
    if keys.number("wkv.head_size"):
        odd.append("state of the RWKV layers")
    if keys.raw("attention.cross_attention_layers") is not None:
        odd.append("cache of the layers with cross-attention")
    return groups, odd


def _latent_groups(keys: _Keys, layers: int) -> tuple[tuple[LayerGroup, ...], list[str]]:
    # llama.cpp caches the latent and the rotary part as one key of one head.
    width = keys.number("attention.kv_lora_rank") + keys.number("rope.dimension_count")
    with_latent = sum(map(bool, keys.per_layer("attention.head_count_kv", layers))) or layers
    mla = LayerGroup(kind="mla", layers=with_latent, key_value_heads=1, key_head_dim=width)
    state = _delta_state_bytes(keys) * (layers - with_latent)
    rest = LayerGroup(kind="linear_attention", layers=layers - with_latent, state_bytes=state)
    more = ["cache of the sparse attention's indexer"] if keys.number(f"{INDEXER}.key_length") else []
    return (mla, rest) if rest.layers else (mla,), more


def _is_recurrent(keys: _Keys, name: str, layers: int) -> list[bool]:
    """Whether each layer without key and value heads keeps a state. Of Nemotron-H's they are those without an
    MLP (llama.cpp src/llama-model.cpp, recurrent_layer_arr).
    """
    has_state = bool(_ssm_state_bytes(keys))
    if not name.startswith("nemotron_h"):
        return [has_state] * layers
    return [has_state and not wide for wide in keys.per_layer("feed_forward_length", layers)]


def _delta_state_bytes(keys: _Keys) -> int:
    """Bytes of state of a layer with Kimi's delta attention, in 32 bits (llama.cpp src/llama-hparams.cpp)."""
    size, heads = keys.number("kda.head_dim"), keys.number("attention.head_count")
    return heads * size * (3 * max(0, keys.number("ssm.conv_kernel") - 1) + size) * 4


def _ssm_state_bytes(keys: _Keys) -> int:
    """Bytes of convolution and SSM state per layer, in 32 bits (llama-hparams.cpp, n_embd_r, n_embd_s)."""
    if taps := keys.number("shortconv.l_cache"):
        return (taps - 1) * keys.number("embedding_length") * 4
    named = ("inner_size", "state_size", "conv_kernel", "group_count")
    inner, state, kernel, groups = (keys.number(f"ssm.{name}") for name in named)
    return ((max(kernel, 1) - 1) * (inner + 2 * groups * state) + state * inner) * 4


def gguf_quantization(metadata: dict[str, Any], tensors: Iterable[StoredTensor]) -> StoredQuantization:
    """The quantization of a GGUF file: the name of its file type, and the bits of the type that most weights
    have."""
    linear = [t for t in tensors if len(t.shape) >= 2]
    elements = sum(t.elements for t in linear)
    stored = metadata.get("general.file_type")
    file_type = GGUF_FILE_TYPES.get(stored, "") if type(stored) is int else ""
    bits = round(8 * sum(t.stored_bytes for t in linear) / elements) if elements else 0
    return StoredQuantization(
        method="gguf",
        bits=bits,
        scheme=file_type or largest((t.dtype, t.elements) for t in linear),
        lm_head_quantized=any(
            t.name == "output.weight" and t.dtype not in ("F32", "F16", "BF16") for t in linear
        ),
    )
