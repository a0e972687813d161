"""Model folders for `benchmarks.gpu.truth`: real shapes, and tokenizers all of whose tokens are text.

    python3 truth_models.py OUT

With `--load-format dummy` speed and memory are those of the real model. A tokenizer as large as the model's
vocabulary keeps every sampled token a piece of text, as real answers are. Standard library only.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

LLAMA_3_1_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "head_dim": 128, "vocab_size": 128256, "max_position_embeddings": 131072, "rope_theta": 500000.0,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                     "original_max_position_embeddings": 8192},
    "attention_bias": False, "mlp_bias": False, "rms_norm_eps": 1e-05, "tie_word_embeddings": False,
}  # fmt: skip
QWEN3_0_6B: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu", "hidden_size": 1024,
    "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
    "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 40960, "rope_theta": 1000000.0,
    "attention_bias": False, "rms_norm_eps": 1e-06, "tie_word_embeddings": True, "max_window_layers": 28,
    "sliding_window": None, "use_sliding_window": False,
}  # fmt: skip
SHAPES = {"llama-3.1-8b": LLAMA_3_1_8B, "qwen3-0.6b": QWEN3_0_6B}
COMMON = {"torch_dtype": "bfloat16", "bos_token_id": 0, "eos_token_id": 1, "use_cache": True}


def byte_letters() -> list[str]:
    """The 256 letters that stand for bytes in byte-level tokenizers (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + index) for index in range(len(others))]


def tokenizer(vocabulary: int) -> dict[str, Any]:
    """A byte-level BPE without merges: two special tokens, the bytes, and words."""
    words = ["<s>", "</s>", *byte_letters()]
    words += [f"\u0120w{number}" for number in range(vocabulary - len(words))]
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": index, "content": words[index], **special} for index in (0, 1)],
        "normalizer": None, "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "vocab": {word: index for index, word in enumerate(words)}, "merges": []},
    }  # fmt: skip


def main() -> int:
    out = Path(sys.argv[1])
    for name, shape in SHAPES.items():
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        documents = {
            "config.json": {**COMMON, **shape},
            "generation_config.json": {"bos_token_id": 0, "eos_token_id": 1},
            "tokenizer.json": tokenizer(shape["vocab_size"]),
            "tokenizer_config.json": {
                "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
                "model_max_length": shape["max_position_embeddings"],
            },
        }  # fmt: skip
        for file, document in documents.items():
            (folder / file).write_text(json.dumps(document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
