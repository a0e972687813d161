"""Writing a generated file, or checking that it is up to date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


def write_page(
    program: str, render: Callable[[], str], default: Path, arguments: Sequence[str] | None = None
) -> int:
    """Write the page that ``render`` returns; with --check, return 1 where the file differs from it."""
    parser = argparse.ArgumentParser(prog=program, description=write_page.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the page is stale")
    parser.add_argument("--output", type=Path, default=default, help=f"the page (default {default})")
    options = parser.parse_args(arguments)
    text = render()
    if options.check:
        if options.output.exists() and options.output.read_text(encoding="utf-8") == text:
            return 0
        print(f"{options.output} is stale: run `{program}`", file=sys.stderr)
        return 1
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text, encoding="utf-8")
    print(options.output)
    return 0
