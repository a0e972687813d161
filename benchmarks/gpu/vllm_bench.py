"""``vllm bench serve`` without the rest of the command; takes its arguments, under an interpreter with vLLM.

Of a thinned wheel it wants the folder ``vllm/benchmarks/datasets`` (0.2 MB); the package ``datasets``, with
pyarrow and pandas 65 MiB of wheels, is not needed for random prompts.
"""

from __future__ import annotations


def main() -> None:
    from vllm.benchmarks.serve import add_cli_args, main as measure
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser(prog="vllm bench serve")
    add_cli_args(parser)
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
