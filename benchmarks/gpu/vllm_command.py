#!/usr/bin/env python3
"""``vllm serve`` and ``vllm bench serve`` where vLLM's other benchmarks are not carried.

The ``vllm`` command imports its benchmarks before it looks at what is asked; ``python -m
vllm.entrypoints.openai.api_server`` does not, and starts one front end whatever ``--api-server-count`` says
(wheels 0.26.0 and 0.32.0). Of a thinned wheel ``bench serve`` wants the folder ``vllm/benchmarks/datasets``
(0.2 MB). Random prompts do not need the package ``datasets``, with pyarrow and pandas 65 MiB of wheels.
"""

from __future__ import annotations

import os
import sys


def serve() -> None:
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser(prog="vllm")
    command = ServeSubcommand()
    command.subparser_init(parser.add_subparsers(required=True, dest="subparser"))
    arguments = parser.parse_args()
    command.validate(arguments)
    command.cmd(arguments)


def bench() -> None:
    from vllm.benchmarks.serve import add_cli_args, main as measure
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser(prog="vllm bench serve")
    add_cli_args(parser)
    measure(parser.parse_args(sys.argv[3:]))


if __name__ == "__main__":
    bench() if sys.argv[1:3] == ["bench", "serve"] else serve()
