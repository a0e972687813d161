"""Lists the switches of a vLLM's server from its sources, without importing them.

    python -m tests.engines.vllm_options FOLDER_OF_SITE_PACKAGES > tests/fixtures/vllm/options-VERSION.txt

A wheel of 290 MB needs only be unpacked for it, with neither PyTorch nor a GPU.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

SOURCES = ("engine/arg_utils.py", "entrypoints/openai/cli_args.py", "entrypoints/launchers/cli_args.py")
SWITCH = re.compile(r"--?[a-z][a-z0-9-]*")


def options(package: Path) -> list[str]:
    """Every switch that the sources name in a call of ``add_argument``, and the fields of the front end's own
    dataclass, which become switches by their names."""
    found: set[str] = set()
    for source in SOURCES:
        if not (package / source).exists():
            continue
        for node in ast.walk(ast.parse((package / source).read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
                words = [item.value for item in node.args if isinstance(item, ast.Constant)]
                found |= {word for word in words if isinstance(word, str) and SWITCH.fullmatch(word)}
            if isinstance(node, ast.ClassDef) and "FrontendArgs" in node.name:
                names = [item.target.id for item in node.body if isinstance(item, ast.AnnAssign)]
                found |= {f"--{name.replace('_', '-')}" for name in names}
    return sorted(found)


if __name__ == "__main__":
    print("\n".join(options(Path(sys.argv[1]) / "vllm")))
