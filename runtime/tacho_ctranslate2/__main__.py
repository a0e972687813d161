"""``python -m tacho_ctranslate2``: convert a checkpoint where needed, load it, serve it."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tacho_ctranslate2.backend import CTranslate2Backend
from tacho_ctranslate2.conversion import PROGRAM, ConversionPlan, check
from tacho_ctranslate2.model_folder import BYTES_OF
from tacho_server.errors import LoadError, fail
from tacho_server.launch import serve
from tacho_server.options import KEY_VARIABLE, add_server_options, server_settings


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__, allow_abbrev=False)
    add_server_options(parser)
    parser.add_argument(
        "--quantization", choices=tuple(BYTES_OF), default="", help="what a checkpoint is converted to"
    )
    parser.add_argument("--cache-dir", default="", help="folder that keeps converted models")
    with tempfile.TemporaryDirectory(prefix=f"{PROGRAM}-") as scratch:
        return _serve(parser.parse_args(arguments), scratch)


def _serve(parsed: argparse.Namespace, scratch: str) -> int:
    plan = ConversionPlan(
        source=Path(parsed.model),
        quantization=parsed.quantization,
        cache=Path(parsed.cache_dir or scratch),
        trust_remote_code=parsed.trust_remote_code,
    )
    try:
        check(plan)
    except LoadError as error:
        return fail(PROGRAM, error)
    backend = CTranslate2Backend(
        plan, device=parsed.device, max_model_len=parsed.max_model_len, concurrency=parsed.max_batch
    )
    settings = server_settings(parsed, os.environ.get(KEY_VARIABLE, ""))
    return serve(backend, settings, PROGRAM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
