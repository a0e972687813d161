"""A checkpoint of random weights in a real model's shape: speed and memory are its own, the text is noise.

    python -m benchmarks.engines.random_model SHAPE TOKENIZER_DIR OUT_DIR [DEVICE] [FORM | config]

FORM (of benchmarks.engines.random_forms) is how a quantized checkpoint stores its linear layers: w4a16 and
w8a8 as compressed-tensors does, awq, gptq. With config there are no weights, for an engine that makes them
up. Runs under an interpreter that has torch and transformers.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.engines.random_forms import FORMS, save


def _experts(
    wide: int, *, of: int, each: int, hidden: int, layers: int, heads: tuple[int, int, int]
) -> dict[str, Any]:
    """A Qwen3-MoE whose tokens take ``each`` ``of`` its experts, ``wide`` elements wide. ``heads``: number of
    queries', number of keys', and their size.
    """
    return {
        "model_type": "qwen3_moe",
        "hidden_size": hidden,
        "intermediate_size": wide,
        "moe_intermediate_size": wide,
        "num_experts": of,
        "num_experts_per_tok": each,
        "norm_topk_prob": True,
        "num_hidden_layers": layers,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "head_dim": heads[2],
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


SHAPES: dict[str, dict[str, Any]] = {
    # meta-llama/Llama-3.1-8B config.json
    "llama-3.1-8b": {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "rope_theta": 500000.0,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    # meta-llama/Llama-3.1-70B config.json
    "llama-3.1-70b": {
        "model_type": "llama",
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "rope_theta": 500000.0,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    # meta-llama/Llama-3.2-1B config.json
    "llama-3.2-1b": {
        "model_type": "llama",
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "rope_theta": 500000.0,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    # Qwen/Qwen3-0.6B config.json
    "qwen3-0.6b": {
        "model_type": "qwen3",
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    # Qwen/Qwen2.5-1.5B-Instruct config.json
    "qwen2.5-1.5b": {
        "model_type": "qwen2",
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    # Qwen/Qwen2.5-3B-Instruct config.json
    "qwen2.5-3b": {
        "model_type": "qwen2",
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    # Qwen/Qwen2.5-7B-Instruct config.json
    "qwen2.5-7b": {
        "model_type": "qwen2",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "max_position_embeddings": 32768,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    # Qwen/Qwen2.5-32B-Instruct config.json
    "qwen2.5-32b": {
        "model_type": "qwen2",
        "hidden_size": 5120,
        "intermediate_size": 27648,
        "num_hidden_layers": 64,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "vocab_size": 152064,
        "max_position_embeddings": 32768,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    # Qwen/Qwen3-8B config.json
    "qwen3-8b": {
        "model_type": "qwen3",
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    # The numbers of microsoft/Phi-3-mini-4k-instruct config.json as a Llama, with the same vocabulary
    "phi-3-mini-as-llama": {
        "model_type": "llama",
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 49152,
        "max_position_embeddings": 4096,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    # h2oai/h2o-danube3-4b-base config.json, with the same vocabulary
    "danube3-4b": {
        "model_type": "llama",
        "hidden_size": 3840,
        "intermediate_size": 10240,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 120,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "rope_theta": 100000.0,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    # Qwen/Qwen3-30B-A3B config.json with 12 of its 48 layers: 16 GiB, and each layer is the whole one's.
    "qwen3-moe-12-layers": _experts(768, of=128, each=8, hidden=2048, layers=12, heads=(32, 4, 128)),
    # The numbers of other models' config.json, as a Qwen3-MoE with another vocabulary.
    # allenai/OLMoE-1B-7B-0924
    "olmoe-as-qwen3": _experts(1024, of=64, each=8, hidden=2048, layers=16, heads=(16, 16, 128)),
    # ibm-granite/granite-3.1-3b-a800m-instruct
    "granite-moe-as-qwen3": _experts(512, of=40, each=8, hidden=1536, layers=32, heads=(24, 8, 64)),
    # mistralai/Mixtral-8x7B-v0.1
    "mixtral-as-qwen3": _experts(14336, of=8, each=2, hidden=4096, layers=32, heads=(32, 8, 128)),
    # microsoft/Phi-3.5-MoE-instruct and Phi-mini-MoE-instruct
    "phi-3.5-moe-as-qwen3": _experts(6400, of=16, each=2, hidden=4096, layers=32, heads=(32, 8, 128)),
    "phi-mini-moe-as-qwen3": _experts(960, of=16, each=2, hidden=4096, layers=32, heads=(32, 8, 128)),
    # baidu/ERNIE-4.5-21B-A3B-PT and zai-org/GLM-4.5-Air, without shared experts and dense layers
    "ernie-21b-as-qwen3": _experts(1536, of=64, each=6, hidden=2560, layers=28, heads=(20, 4, 128)),
    "glm-air-as-qwen3": _experts(1408, of=128, each=8, hidden=4096, layers=46, heads=(96, 8, 128)),
    # meta-llama/Llama-2-7b-hf config.json, with the vocabulary of the tokenizer that is used here
    "llama-2-7b": {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 49152,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    # mistralai/Mistral-7B-v0.3 config.json, with the same vocabulary
    "mistral-7b": {
        "model_type": "mistral",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 49152,
        "max_position_embeddings": 32768,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-5,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    # microsoft/phi-2 config.json
    "phi-2": {
        "model_type": "phi",
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 51200,
        "max_position_embeddings": 2048,
        "partial_rotary_factor": 0.4,
        "layer_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    # Small enough for a CPU; of no published model.
    "tiny": {
        "model_type": "llama",
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
}


PLAIN = re.compile("Ġ?[A-Za-z]+")
"""A token of a byte-level vocabulary that is a text by itself."""


def plain_tokens(tokenizer: Path) -> list[int]:
    """Tokens that are words or parts of words. Others will not do: every engine holds half a character back
    until its other half comes, and the time to the first token would be that of a lucky guess."""
    told = json.loads((tokenizer / "tokenizer.json").read_text())
    return sorted(number for text, number in told["model"]["vocab"].items() if PLAIN.fullmatch(text))


def main(shape: str, tokenizer: str, out: str, device: str = "cuda", form: str = "") -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    began = time.monotonic()
    torch.set_default_device(device)
    config = AutoConfig.for_model(**SHAPES[shape])
    if form == "config":
        config.architectures = [AutoModelForCausalLM._model_mapping[type(config)].__name__]
        config.dtype = torch.bfloat16
        config.save_pretrained(out)
    else:
        Path(out).mkdir(parents=True, exist_ok=True)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        head = model.get_output_embeddings().weight.data
        others = torch.ones(head.shape[0], dtype=torch.bool)
        others[plain_tokens(Path(tokenizer))] = False
        head[others] = 0
        if form in FORMS:
            save(model, Path(out), form)
        else:
            model.save_pretrained(out, max_shard_size="4GB")
    for path in Path(tokenizer).iterdir():
        if path.name.startswith(("tokenizer", "chat_template")):
            shutil.copy(path, out)
    size = sum(path.stat().st_size for path in Path(out).iterdir())
    print(f"{shape}: {size} bytes of random weights in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("shape", choices=sorted(SHAPES))
    parser.add_argument("tokenizer")
    parser.add_argument("out")
    parser.add_argument("device", nargs="?", default="cuda")
    parser.add_argument("form", nargs="?", default="", choices=("", "config", *FORMS))
    main(**vars(parser.parse_args()))
