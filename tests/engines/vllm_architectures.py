"""Lists the architectures in the registry of a vLLM from its sources, without importing them, or with
``configurations`` the model types that it has a configuration class for.

    python -m tests.engines.vllm_architectures FOLDER_OF_SITE_PACKAGES [configurations] \\
        > runtime/tacho_engines/vllm/architectures-VERSION.txt

A wheel of 290 MB needs only be unpacked for it, with neither PyTorch nor a GPU.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

SOURCE = "model_executor/models/registry.py"
CONFIGURATIONS = "transformers_utils/config.py"
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


def configurations(package: Path) -> list[str]:
    """Every model type of the table of configuration classes, a call with keywords and dicts."""
    tree = ast.parse((package / CONFIGURATIONS).read_text())
    (table,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_CONFIG_REGISTRY"
    )
    assert isinstance(table, ast.Call)
    dicts = (each.value.keys for each in table.keywords if isinstance(each.value, ast.Dict))
    unpacked = (key.value for keys in dicts for key in keys if isinstance(key, ast.Constant))
    return sorted({*(each.arg for each in table.keywords if each.arg), *map(str, unpacked)})


if __name__ == "__main__":
    listed = configurations if "configurations" in sys.argv else architectures
    print("\n".join(listed(Path(sys.argv[1]) / "vllm")))
