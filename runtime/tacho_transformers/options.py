"""Serves a model with transformers over OpenAI's API, batching requests, quantized by bitsandbytes."""

from __future__ import annotations

import argparse

from tacho_server.options import add_server_options, positive

PROGRAM = "transformers-server"
METHODS = ("none", "bnb-int8", "bnb-nf4", "bnb-fp4")
"""``none``: as the checkpoint stores it, which may be quantized."""
DTYPES = ("auto", "bfloat16", "float16", "float32")
COMPUTE_DTYPES = ("bfloat16", "float16", "float32")
PREFILL_TOKENS = 512
"""Tokens of one forward pass; longer prompts take several. The attention mask is allocated for it, whole."""
PAGE_TOKENS = 64
"""Tokens of one block of the KV cache; a request takes whole blocks."""


def parser() -> argparse.ArgumentParser:
    """Every switch; an unknown one ends the program with code 2."""
    made = argparse.ArgumentParser(prog=PROGRAM, description=__doc__, allow_abbrev=False)
    add_server_options(made)
    made.add_argument("--quantization", choices=METHODS, default="none", help="applied while loading (none)")
    made.add_argument(
        "--double-quant",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="4 bits: quantize the scales, too",
    )
    made.add_argument(
        "--compute-dtype", choices=COMPUTE_DTYPES, default="bfloat16", help="4 bits: type of the products"
    )
    made.add_argument(
        "--dtype", choices=DTYPES, default="auto", help="of what is not quantized (auto: stored)"
    )
    made.add_argument("--threads", type=positive, help="CPU threads (what the container may use)")
    made.add_argument(
        "--prefill-tokens",
        type=positive,
        default=PREFILL_TOKENS,
        help=f"tokens of one pass ({PREFILL_TOKENS})",
    )
    made.add_argument(
        "--page-tokens", type=positive, default=PAGE_TOKENS, help=f"of a cache block ({PAGE_TOKENS})"
    )
    return made


def cache_blocks(max_model_len: int, max_batch: int, page_tokens: int) -> int:
    """Blocks that hold ``max_batch`` requests of ``max_model_len`` tokens, so that none is ever put out."""
    return -(-max_model_len // page_tokens) * max_batch
