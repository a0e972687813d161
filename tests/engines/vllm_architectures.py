"""Lists the architectures in the registry of a vLLM from its sources, without importing them.

    python -m tests.engines.vllm_architectures FOLDER_OF_SITE_PACKAGES \\
        > runtime/tacho_engines/vllm/architectures-VERSION.txt

A wheel of 290 MB needs only be unpacked for it, with neither PyTorch nor a GPU.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

SOURCE = "model_executor/models/registry.py"
WHOLE = "_VLLM_MODELS"
"""The table of all architectures, which joins the others."""


def architectures(package: Path) -> list[str]:
    """Every key of the tables that the whole one joins."""
    tables = {
        target.id: node.value
        for node in ast.parse((package / SOURCE).read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value, ast.Dict)
    }
    joined = [value.id for value in tables[WHOLE].values if isinstance(value, ast.Name)]
    keys = (key for name in joined for key in tables[name].keys if isinstance(key, ast.Constant))
    return sorted({str(key.value) for key in keys})


if __name__ == "__main__":
    print("\n".join(architectures(Path(sys.argv[1]) / "vllm")))
