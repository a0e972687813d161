"""A checkpoint of random weights in a real model's shape: speed and memory are its own, the text is noise.

    python -m benchmarks.engines.random_model SHAPE TOKENIZER_DIR OUT_DIR [DEVICE] [w4a16 | config]

With w4a16 the linear layers are those of a compressed-tensors checkpoint: integers of 4 bits, packed, with a
scale for each 128 of them. With config there are no weights, for an engine that makes them up. Runs under an
interpreter that has torch and transformers.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

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
    # Qwen/Qwen3-30B-A3B config.json with 12 of its 48 layers: 16 GiB, and each layer is the whole one's.
    "qwen3-moe-12-layers": {
        "model_type": "qwen3_moe",
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "moe_intermediate_size": 768,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "norm_topk_prob": True,
        "num_hidden_layers": 12,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
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


GROUP = 128
WHOLE = "1TB"
"""One file, which is what is packed."""
W4A16: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "input_activations": None,
            "output_activations": None,
            "weights": {
                "num_bits": 4,
                "type": "int",
                "symmetric": True,
                "strategy": "group",
                "group_size": GROUP,
                "dynamic": False,
                "actorder": None,
            },
        }
    },
}


def pack(folder: Path) -> None:
    """Replaces the linear layers of a checkpoint of one file by random integers of 4 bits."""
    import torch
    from safetensors.torch import load_file, save_file

    place = folder / "model.safetensors"
    packed: dict[str, Any] = {}
    for name, tensor in load_file(place).items():
        if not name.endswith("_proj.weight"):
            packed[name] = tensor
            continue
        rows, columns = tensor.shape
        words = torch.randint(-(2**31), 2**31 - 1, (rows, columns // 8), dtype=torch.int64)
        packed[f"{name}_packed"] = words.to(torch.int32)
        packed[f"{name}_scale"] = torch.full((rows, columns // GROUP), 0.002, dtype=torch.bfloat16)
        packed[f"{name}_shape"] = torch.tensor([rows, columns])
    save_file(packed, place, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": W4A16}, indent=1))


def known_tokens(tokenizer: Path) -> int:
    """How many tokens have a text. One that has none would be answered with nothing, and a greedy model of
    random weights may say the same one for ever: its head gives no others a chance."""
    told = json.loads((tokenizer / "tokenizer.json").read_text())
    return 1 + max((*told["model"]["vocab"].values(), *(each["id"] for each in told["added_tokens"])))


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
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        model.get_output_embeddings().weight.data[known_tokens(Path(tokenizer)) :] = 0
        model.save_pretrained(out, max_shard_size=WHOLE if form else "4GB")
    for path in Path(tokenizer).iterdir():
        if path.name.startswith(("tokenizer", "chat_template")):
            shutil.copy(path, out)
    if form == "w4a16":
        pack(Path(out))
    size = sum(path.stat().st_size for path in Path(out).iterdir())
    print(f"{shape}: {size} bytes of random weights in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
