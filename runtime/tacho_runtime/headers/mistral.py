"""Reads params.json, the configuration of Mistral's own layout of a checkpoint, as a config.json."""

from __future__ import annotations

from typing import Any

from tacho_contract.failure import FailedError, FailureClass
from tacho_runtime.headers.json_values import first, integer, mapping, sequence, text

PARAMS = "params.json"
RENAMED = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "hidden_dim": "intermediate_size",
    "tied_embeddings": "tie_word_embeddings",
}
"""Keys of config.json by those of params.json. Source: vLLM 0.32 transformers_utils/configs/mistral.py, as of
all that follows."""
LONGEST_TOKENS = 128_000
"""Longest context of a model that names none."""
OTHERS = {
    "moe": "experts",
    "multimodal": "a tower for images or sound",
    "vision_encoder": "a tower for images",
    "qk_nope_head_dim": "latent attention (MLA)",
}
"""What a dense language model has not, by the key that says so."""
SWITCHES = "--config-format=mistral --load-format=mistral --tokenizer-mode=mistral"
STEP = (
    "Use a copy of the model with a config.json. Or set engine.name to custom, engine.image to vLLM's and "
    f"engine.custom.command to `vllm serve` with {SWITCHES}, which is served and not planned."
)


def config_of(params: dict[str, Any]) -> dict[str, Any]:
    """A config.json with what ``params`` says. Raises FailedError for models that are not planned from it."""
    found = [what for key, what in OTHERS.items() if params.get(key)]
    if text(params.get("model_type")) == "mamba":
        found.append("recurrent layers")
    if found:
        raise _not_planned(f"with {found[0]}")
    longest = first(params, "max_position_embeddings") or LONGEST_TOKENS
    return {
        **{RENAMED.get(key, key): value for key, value in params.items() if key != "quantization"},
        **_windows(params.get("sliding_window"), first(params, "n_layers")),
        "architectures": ["MistralForCausalLM"],
        "model_type": "transformer",
        "max_position_embeddings": longest,
        "max_seq_len": first(params, "max_seq_len") or longest,
        "quantization_config": _quantization(mapping(params.get("quantization"))),
    }


def _windows(window: Any, layers: int) -> dict[str, Any]:
    """The windows of all layers: one for all, or a pattern with null for full attention."""
    pattern = sequence(window) or [window]
    kinds = ["sliding_attention" if integer(each) else "full_attention" for each in pattern]
    repeated = (kinds * (layers // len(kinds)))[:layers]
    return {"sliding_window": max(map(integer, pattern)), "layer_types": repeated}


def _quantization(given: dict[str, Any]) -> dict[str, Any]:
    if given.get("qformat_weight") == "fp8_e4m3":
        scheme = "dynamic" if given.get("qscheme_act") == "NO_SCALES" else "static"
        return {"quant_method": "fp8", "activation_scheme": scheme}
    method = text(given.get("quant_method")).lower().replace("_", "-")
    if given and method != "compressed-tensors":
        raise _not_planned(f"quantized by {text(given.get('qformat_weight')) or method or 'no known format'}")
    return {**given, "quant_method": method} if given else {}


def _not_planned(what: str) -> FailedError:
    message = f"Of Mistral's own layout ({PARAMS}) dense language models are planned, and this is one {what}."
    return FailedError.of(FailureClass.ENGINE_NOT_SUPPORTED, message, STEP)
