"""``vllm bench serve`` where the package ``datasets`` is not: random prompts need nothing of it.

With pyarrow and pandas it is 65 MiB of wheels; vLLM imports names of it for its annotations. Takes the
command's own arguments, and runs under an interpreter that has vLLM.
"""

from __future__ import annotations

import sys
import types
from importlib.util import find_spec
from typing import Any


class Absent:
    """Stands for a name of ``datasets``."""

    def __init__(self, *_given: Any, **_named: Any) -> None:
        raise ImportError("datasets is not installed: use --dataset-name random")


def stand_in() -> types.ModuleType:
    """A module with the names that vLLM's benchmarks import."""
    module = types.ModuleType("datasets")
    for name in ("Dataset", "load_dataset", "Audio"):
        setattr(module, name, Absent)
    return module


def main() -> None:
    if find_spec("datasets") is None:
        sys.modules["datasets"] = stand_in()
    from vllm.benchmarks.serve import add_cli_args, main as measure
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser(prog="vllm bench serve")
    add_cli_args(parser)
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
