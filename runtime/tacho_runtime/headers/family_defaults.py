"""What transformers takes for the numbers that a config.json leaves out.

A multimodal repository's ``text_config`` holds only what differs from its family's defaults. That of Gemma 3
4B has no heads, that of Gemma 3 12B no width of a head. Both engines that read config.json fill in the rest.
"""

from __future__ import annotations

from typing import Any

NAMES = (
    *("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads"),
    *("head_dim", "vocab_size", "max_position_embeddings", "sliding_window"),
)
_DEFAULTS: dict[str, tuple[int | None, ...]] = {
    "cohere": (40, 8192, 22528, 64, None, None, 256000, 8192, None),
    "cohere2": (40, 8192, 22528, 64, None, None, 256000, 8192, 4096),
    "gemma": (28, 3072, 24576, 16, 16, 256, 256000, 8192, None),
    "gemma2": (26, 2304, 9216, 8, 4, 256, 256000, 8192, 4096),
    "gemma3_text": (26, 2304, 9216, 8, 4, 256, 262208, 131072, 4096),
    "granite": (32, 4096, 11008, 32, None, None, 32000, 2048, None),
    "llama": (32, 4096, 11008, 32, None, None, 32000, 2048, None),
    "llama4_text": (48, 5120, 8192, 40, 8, 128, 202048, 131072, None),
    "ministral3": (34, 4096, 14336, 32, 8, 128, 131072, 262144, None),
    "mistral": (32, 4096, 14336, 32, 8, None, 32000, 131072, 4096),
    "mixtral": (32, 4096, 14336, 32, 8, None, 32000, 131072, None),
    "phi3": (32, 3072, 8192, 32, None, None, 32064, 4096, None),
    "qwen2": (32, 4096, 22016, 32, 32, None, 151936, 32768, None),
    "qwen3": (32, 4096, 22016, 32, 32, 128, 151936, 32768, None),
}
"""Values of NAMES by ``model_type``, of families that are the language model of others; None: no number of
its own. Source: transformers 5.19 models/*/configuration_*.py.
"""


def with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """``config`` with its family's defaults for the names that it does not have, not even as null."""
    family = config.get("model_type")
    defaults = _DEFAULTS.get(family, ()) if isinstance(family, str) else ()
    return {**{name: value for name, value in zip(NAMES, defaults, strict=False) if value}, **config}
