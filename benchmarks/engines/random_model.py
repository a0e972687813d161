"""A checkpoint of random weights in a real model's shape: speed and memory are its own, the text is noise.

    python -m benchmarks.engines.random_model SHAPE TOKENIZER_DIR OUT_DIR [DEVICE]

Runs under an interpreter that has torch and transformers.
"""

from __future__ import annotations

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


def main(shape: str, tokenizer: str, out: str, device: str = "cuda") -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    began = time.monotonic()
    torch.set_default_device(device)
    config = AutoConfig.for_model(**SHAPES[shape])
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(out, max_shard_size="4GB")
    for path in Path(tokenizer).iterdir():
        if path.name.startswith(("tokenizer", "chat_template")):
            shutil.copy(path, out)
    size = sum(path.stat().st_size for path in Path(out).iterdir())
    print(f"{shape}: {size} bytes of random weights in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
