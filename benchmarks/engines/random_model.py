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

LLAMA_3 = {
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rope_theta": 500000.0,
    "rms_norm_eps": 1e-5,
}
QWEN_2 = {"max_position_embeddings": 32768, "rope_theta": 1000000.0, "rms_norm_eps": 1e-6}
QWEN_3 = {**QWEN_2, "vocab_size": 151936, "max_position_embeddings": 40960}
OURS = {"vocab_size": 49152, "rms_norm_eps": 1e-5}
"""With the vocabulary of the tokenizer that is used here."""


def _shape(
    model_type: str, hidden: int, wide: int, layers: int, heads: tuple[int, ...], **more: Any
) -> dict[str, Any]:
    """A config.json. ``heads``: number of queries', number of keys', and their size if it is there."""
    names = ("num_attention_heads", "num_key_value_heads", "head_dim")
    return {
        "model_type": model_type,
        "hidden_size": hidden,
        "intermediate_size": wide,
        "num_hidden_layers": layers,
        **dict(zip(names, heads, strict=False)),
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **more,
    }


def _experts(
    wide: int, hidden: int, layers: int, heads: tuple[int, ...], *, of: int, each: int
) -> dict[str, Any]:
    """A Qwen3-MoE whose tokens take ``each`` ``of`` its experts, ``wide`` elements wide."""
    return _shape(
        "qwen3_moe",
        *(hidden, wide, layers, heads),
        moe_intermediate_size=wide,
        num_experts=of,
        num_experts_per_tok=each,
        norm_topk_prob=True,
        **QWEN_3,
    )


SHAPES: dict[str, dict[str, Any]] = {
    # config.json of meta-llama/Llama-3.1-8B, Llama-3.1-70B and Llama-3.2-1B
    "llama-3.1-8b": _shape("llama", 4096, 14336, 32, (32, 8, 128), **LLAMA_3),
    "llama-3.1-70b": _shape("llama", 8192, 28672, 80, (64, 8, 128), **LLAMA_3),
    "llama-3.2-1b": _shape("llama", 2048, 8192, 16, (32, 8, 64), tie_word_embeddings=True, **LLAMA_3),
    # of Qwen/Qwen3-0.6B and Qwen3-8B
    "qwen3-0.6b": _shape("qwen3", 1024, 3072, 28, (16, 8, 128), tie_word_embeddings=True, **QWEN_3),
    "qwen3-8b": _shape("qwen3", 4096, 12288, 36, (32, 8, 128), **QWEN_3),
    # of Qwen/Qwen2.5-1.5B-Instruct, 3B, 7B and 32B
    "qwen2.5-1.5b": _shape(
        "qwen2", 1536, 8960, 28, (12, 2), vocab_size=151936, tie_word_embeddings=True, **QWEN_2
    ),
    "qwen2.5-3b": _shape(
        "qwen2", 2048, 11008, 36, (16, 2), vocab_size=151936, tie_word_embeddings=True, **QWEN_2
    ),
    "qwen2.5-7b": _shape("qwen2", 3584, 18944, 28, (28, 4), vocab_size=152064, **QWEN_2),
    "qwen2.5-32b": _shape("qwen2", 5120, 27648, 64, (40, 8), vocab_size=152064, **QWEN_2),
    # The numbers of microsoft/Phi-3-mini-4k-instruct config.json as a Llama, with another vocabulary
    "phi-3-mini-as-llama": _shape(
        "llama", 3072, 8192, 32, (32, 32), max_position_embeddings=4096, rope_theta=10000.0, **OURS
    ),
    # h2oai/h2o-danube3-4b-base config.json, with the same vocabulary
    "danube3-4b": _shape(
        "llama", 3840, 10240, 24, (32, 8, 120), max_position_embeddings=8192, rope_theta=100000.0, **OURS
    ),
    # Qwen/Qwen3-30B-A3B config.json with 12 of its 48 layers: 16 GiB, and each layer is the whole one's.
    "qwen3-moe-12-layers": _experts(768, 2048, 12, (32, 4, 128), of=128, each=8),
    # The numbers of other models' config.json, as a Qwen3-MoE with another vocabulary.
    # allenai/OLMoE-1B-7B-0924
    "olmoe-as-qwen3": _experts(1024, 2048, 16, (16, 16, 128), of=64, each=8),
    # ibm-granite/granite-3.1-3b-a800m-instruct
    "granite-moe-as-qwen3": _experts(512, 1536, 32, (24, 8, 64), of=40, each=8),
    # mistralai/Mixtral-8x7B-v0.1
    "mixtral-as-qwen3": _experts(14336, 4096, 32, (32, 8, 128), of=8, each=2),
    # microsoft/Phi-3.5-MoE-instruct and Phi-mini-MoE-instruct
    "phi-3.5-moe-as-qwen3": _experts(6400, 4096, 32, (32, 8, 128), of=16, each=2),
    "phi-mini-moe-as-qwen3": _experts(960, 4096, 32, (32, 8, 128), of=16, each=2),
    # baidu/ERNIE-4.5-21B-A3B-PT and zai-org/GLM-4.5-Air, without shared experts and dense layers
    "ernie-21b-as-qwen3": _experts(1536, 2560, 28, (20, 4, 128), of=64, each=6),
    "glm-air-as-qwen3": _experts(1408, 4096, 46, (96, 8, 128), of=128, each=8),
    # meta-llama/Llama-2-7b-hf config.json
    "llama-2-7b": _shape("llama", 4096, 11008, 32, (32, 32), max_position_embeddings=4096, **OURS),
    # mistralai/Mistral-7B-v0.3 config.json
    "mistral-7b": _shape(
        *("mistral", 4096, 14336, 32, (32, 8, 128)),
        max_position_embeddings=32768,
        rope_theta=1000000.0,
        sliding_window=None,
        **OURS,
    ),
    # microsoft/phi-2 config.json
    "phi-2": _shape(
        *("phi", 2560, 10240, 32, (32, 32)),
        vocab_size=51200,
        max_position_embeddings=2048,
        partial_rotary_factor=0.4,
        layer_norm_eps=1e-5,
    ),
    # Small enough for a CPU; of no published model.
    "tiny": _shape("llama", 256, 768, 4, (4, 2, 64), max_position_embeddings=8192, **OURS),
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
