"""Writes what is generated from the API: the CustomResourceDefinition and two reference pages.

`python -m tacho_operator.api.crd [--check]`, in the root of the repository.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tacho_operator.api import GROUP, PLURAL
from tacho_operator.api.crd.definition import render
from tacho_operator.api.crd.pages import failures_page, presets_page

FILES = {
    f"crds/{GROUP}_{PLURAL}.yaml": render,
    "docs/reference/failures.md": failures_page,
    "docs/reference/presets.md": presets_page,
}


def generate(root: Path, *, check: bool) -> list[str]:
    """Writes the files below ``root``; with ``check``, writes nothing. Returns the files that were stale."""
    stale = []
    for name, content in FILES.items():
        path, text = root / name, content()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    only_check = "--check" in sys.argv[1:]
    found = generate(Path(), check=only_check)
    for name in found:
        print(f"{name} {'is stale: run make generate' if only_check else 'is written'}")
    sys.exit(bool(found) and only_check)
