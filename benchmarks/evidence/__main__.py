"""Writes the pages of docs/evidence from raw data.

    python -m benchmarks.evidence [--check]

With --check it says which page has drifted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from tools.pages import ROOT, settle

PAGES = ("autoscaling", "gate", "scale")


def main(arguments: Sequence[str]) -> int:
    texts = {
        ROOT / f"docs/evidence/{name}.md": import_module(f"benchmarks.evidence.{name}").page()
        for name in PAGES
    }
    return settle(texts, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
