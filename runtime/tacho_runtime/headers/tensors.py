"""Classifies tensors by their names into kinds, and adds up their sizes by kind."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Collection, Iterable
from math import prod
from typing import NamedTuple

from tacho_contract.model import OTHER, TensorClass


class StoredTensor(NamedTuple):
    """One tensor as a checkpoint's header describes it, or ``copies`` of them that are ``alike``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    stored_bytes: int
    """Bytes of one of them."""
    copies: int = 1

    @property
    def elements(self) -> int:
        return prod(self.shape)


NUMBERS = re.compile(r"(?<=\.)\d+(?=\.)")
NEVER_RUN = ("mtp.", "talker.", "token2wav.", "code2wav.")
"""Beginnings of the names of parts that no engine runs to answer with text: drafts, and Qwen-Omni's voice.
Source: vLLM 0.32 models/qwen2_5_omni_thinker.py, hf_to_vllm_mapper.
"""
LAYER = re.compile(r"(^|\.)(layers|h|blocks|blk)\.(\d{1,6})\.")

PATTERNS = {
    "vision": re.compile(
        r"(^|\.)(vision|vision_tower|vision_model|vision_backbone|visual_tokenizer|sam_model|vpm|apm|vision_encoder|visual|vit|image_tower|audio_tower|audio_encoder|"
        r"multi_modal_projector|mm_projector|embed_vision|embed_audio|patch_merger|vision_language_adapter|"
        r"pre_mm_projector_norm|image_newline|speech_encoder)(\.|$)|^(v|mm|a)\."
    ),
    "scale": re.compile(
        r"(\.|_)(scales?|qzeros|g_idx|weight_scale(_inv|_2)?|input_scale|output_scale|weight_zero_point|"
        r"input_zero_point|weight_shape|weight_g_idx|weight_global_scale|input_global_scale|[kvq]_scale|"
        r"qscale_(weight|act)|absmax|quant_map|nested_absmax|nested_quant_map|SCB|weight_format)$|\.quant_state\."
    ),
    "embedding": re.compile(
        r"(^|\.)(embed_tokens|tok_embeddings|word_embeddings|wte|wpe|embed_in|embeddings|token_embd|"
        r"embed_positions|position_embd|per_layer_token_embd|embed_tokens_per_layer|token_types)(\.(weight|qweight|embedding))?$"
    ),
    "lm_head": re.compile(
        r"(^|\.)(lm_head|embed_out|output_layer)(\.|$)|^output\.weight$|^(model\.)?transformer\.ff_out\.weight$"
    ),
    "router": re.compile(
        r"(mlp|block_sparse_moe|feed_forward|moe|mixer|ffn|layer)\.(gate|router)(\.(weight|bias|layer\.weight))?$|"
        r"\.router\.|e_score_correction_bias$|shared_expert_gate|ffn_gate_inp|exp_probs_b"
    ),
    "ssm": re.compile(r"\.(A_log|D|dt_bias|ssm_a|ssm_d|ssm_dt)(\.|$)|\.ssm_(a|d|dt)$"),
    "bias": re.compile(r"(\.|_)bias$|\.sinks$|attn_sinks(\.weight)?$"),
    "expert": re.compile(
        r"\.experts(\.|_)|_exps(\.|$)|block_sparse_moe\.(input|output)_linear|(^|\.)experts$|\.switch_mlp\."
    ),
    "conv": re.compile(r"(conv1d|ssm_conv1d|short_conv|\.conv\.conv)(\.|$)"),
    "latent": re.compile(r"\.(q_a_proj|kv_a_proj_with_mqa|attn_q_a|attn_kv_a_mqa)(\.|$)"),
    # Digits in one place only: the author of a name chooses how many there are.
    "norm": re.compile(r"((norm|layernorm|layer_norm|rmsnorm)\d*|ln_[a-z0-9]+)(\.|_|$)", re.IGNORECASE),
}
"""Patterns of tensor names by kind. The first match counts: a router's bias is a router's."""


def kind_of(name: str, shape: tuple[int, ...], layers: int = 0) -> str:
    """The kind of a tensor, as in TensorClass.

    ``layers``: how many layers the model runs; a tensor of a higher layer belongs to a draft layer.
    """
    layer = LAYER.search(name)
    if layers and layer and int(layer.group(3)) >= layers and not PATTERNS["vision"].search(name):
        return "draft"
    # Layers and experts differ in numbers only; a large model has 90,000 names, and some forty without them.
    return _kind_of_pattern(NUMBERS.sub("0", name), len(shape))


@functools.lru_cache(maxsize=4096)
def _kind_of_pattern(name: str, dimensions: int) -> str:
    if name.startswith(NEVER_RUN) or ".mtp." in name:
        return "draft"
    for kind, pattern in PATTERNS.items():
        if pattern.search(name):
            return kind
    return "linear" if dimensions == 2 or name.endswith((".qweight", ".weight_packed", ".weight")) else OTHER


def alike(name: str) -> str:
    """``name`` with 0 in place of every number but the layer's: that of all its layer's experts."""
    layer = LAYER.search(name)
    rest = layer.end() - 1 if layer else 0
    return name[:rest] + NUMBERS.sub("0", name[rest:])


def is_head(name: str) -> bool:
    """Whether the tensor is part of the output head."""
    return bool(PATTERNS["lm_head"].search(name))


def largest(amounts: Iterable[tuple[str, int]]) -> str:
    """The name with the largest sum of amounts, the first of equal ones; "" where there are none."""
    sums: Counter[str] = Counter()
    for name, amount in amounts:
        sums[name] += amount
    return max(sums, key=lambda name: sums[name], default="")


def aggregate(
    tensors: Iterable[StoredTensor], layers: int, known_dtypes: Collection[str]
) -> tuple[TensorClass, ...]:
    """Tensors added up by kind and storage type, largest first.

    A file may name any number of types, so those not in ``known_dtypes`` count as one.
    """
    sums: dict[tuple[str, str], list[int]] = {}
    for tensor in tensors:
        dtype = tensor.dtype if tensor.dtype in known_dtypes else OTHER
        entry = sums.setdefault((kind_of(tensor.name, tensor.shape, layers), dtype), [0, 0, 0])
        entry[0] += tensor.copies
        entry[1] += tensor.elements * tensor.copies
        entry[2] += tensor.stored_bytes * tensor.copies
    classes = (
        TensorClass(kind=kind, dtype=dtype, tensors=count, parameters=elements, stored_bytes=size)
        for (kind, dtype), (count, elements, size) in sums.items()
    )
    return tuple(sorted(classes, key=lambda c: (-c.stored_bytes, c.kind, c.dtype)))
