"""Rendered manifests compared with files; ``TACHO_UPDATE_GOLDEN=1`` writes them anew for review."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "golden"


def assert_golden(name: str, document: Any) -> None:
    path = FOLDER / f"{name}.yaml"
    text = yaml.safe_dump(document, sort_keys=False, width=110)
    if os.environ.get("TACHO_UPDATE_GOLDEN") == "1":
        path.write_text(text)
    assert path.exists(), f"{path.name} is missing: run with TACHO_UPDATE_GOLDEN=1 and review it"
    assert text == path.read_text(), f"{path.name} differs: review, then run with TACHO_UPDATE_GOLDEN=1"
