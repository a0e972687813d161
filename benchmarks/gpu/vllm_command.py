#!/usr/bin/env python3
"""``vllm serve`` where vLLM's benchmarks cannot be imported: the same parser and the same start.

The ``vllm`` command of 0.26 imports its benchmarks, and they data sets that are not carried; ``python -m
vllm.entrypoints.openai.api_server`` does not, and starts one front end whatever ``--api-server-count`` says.
"""

from __future__ import annotations

import os
import sys
import types
from importlib.util import find_spec

PACKAGE = "vllm.entrypoints.cli"
os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
if PACKAGE not in sys.modules:
    # Front ends are spawned: each imports this file first. Its own __init__ is what imports the benchmarks.
    around = find_spec("vllm.entrypoints")
    if around is None or not around.submodule_search_locations:
        sys.exit("vLLM is not installed")
    package = types.ModuleType(PACKAGE)
    package.__path__ = [f"{around.submodule_search_locations[0]}/cli"]
    sys.modules[PACKAGE] = package


def main() -> None:
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser(prog="vllm")
    command = ServeSubcommand()
    command.subparser_init(parser.add_subparsers(required=True, dest="subparser"))
    arguments = parser.parse_args()
    command.validate(arguments)
    command.cmd(arguments)


if __name__ == "__main__":
    main()
