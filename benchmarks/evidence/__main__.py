"""Writes the pages of docs/evidence from the raw data.

    python -m benchmarks.evidence [--check]

With --check it names the pages that have drifted.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.pages import ROOT, settle

FOLDER = ROOT / "docs/evidence"
NAMES = ("fits", "accuracy", "autoscaling", "gate", "defaults", "scale")
"""Of the modules here that have a ``page() -> str``, and of their pages."""


def pages() -> dict[Path, str]:
    """The text of every page, by its path."""
    return {
        FOLDER / f"{name}.md": importlib.import_module(f"benchmarks.evidence.{name}").page() for name in NAMES
    }


def main(arguments: Sequence[str]) -> int:
    return settle(pages(), arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
