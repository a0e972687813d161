#!/usr/bin/env python3
"""``vllm serve`` where vLLM's benchmarks are not carried: the same parser and the same start.

The ``vllm`` command imports its benchmarks before it looks at what is asked; ``python -m
vllm.entrypoints.openai.api_server`` does not, and starts one front end whatever ``--api-server-count`` says
(wheels 0.26.0 and 0.32.0).
"""

from __future__ import annotations

import os


def main() -> None:
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
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
