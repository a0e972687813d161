"""Serves a model with transformers over OpenAI's API, batching requests, quantized by bitsandbytes.

``transformers-server`` reads the switches and serves the model until SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import os
import sys

from tacho_server.launch import serve
from tacho_server.options import KEY_VARIABLE, add_server_options, positive, server_settings
from tacho_server.threads import usable_cpus
from tacho_transformers.backend import PROGRAM, TransformersBackend

METHODS = ("none", "bnb-int8", "bnb-nf4", "bnb-fp4")
"""Quantization methods; ``none`` leaves the checkpoint as stored, which may itself be quantized."""
DTYPES = ("auto", "bfloat16", "float16", "float32")
COMPUTE_DTYPES = ("bfloat16", "float16", "float32")
PREFILL_TOKENS = 512
"""Most prompt tokens of a forward pass; longer prompts take several. The attention mask has its size."""
PAGE_TOKENS = 64
"""Tokens of one block of the KV cache; a request takes whole blocks."""


def parser() -> argparse.ArgumentParser:
    """The parser of all switches; an unknown one ends the program with exit code 2."""
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


def main() -> int:
    options = parser().parse_args()
    options.threads = options.threads or usable_cpus()
    # The model is a folder: nothing is to be looked up or reported anywhere.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    code = serve(
        TransformersBackend(options), server_settings(options, os.environ.get(KEY_VARIABLE, "")), PROGRAM
    )
    sys.stdout.flush()
    # Threads of the library may still be in a long computation; there is nothing left to save.
    os._exit(code)


if __name__ == "__main__":
    main()
