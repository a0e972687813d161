"""charts/tacho/README.md from Chart.yaml and the comments of values.yaml."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parent.parent / "charts/tacho"
README = CHART / "README.md"
_KEY = re.compile(r"^(?P<indent> *)(?P<name>[A-Za-z]\w*):(?P<rest>.*)$")
TEMPLATE = """\
# {name}

{description}. Version {version}, for Kubernetes {kubernetes}.
Chart.yaml and values.yaml are the source of this page.

```
helm install tacho charts/tacho --namespace tacho-system --create-namespace \\
  --set image.repository=REGISTRY/tacho --set engineImages.llamacpp=REGISTRY/tacho-llamacpp:2026.10
helm test tacho --namespace tacho-system
```

[Install](../../docs/start/your-cluster.md) has the steps before and after.

## Values

| value | default | meaning |
| --- | --- | --- |
{rows}
"""


@dataclass(frozen=True, slots=True)
class Value:
    """One value of the chart."""

    path: str
    default: Any
    """None: named values are below it."""
    comment: str

    @property
    def row(self) -> str:
        default = "" if self.default is None else f"`{json.dumps(self.default)}`"
        cells = (f"`{self.path}`", default, self.comment)
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def values(text: str) -> Iterator[Value]:
    """The values in their order. A comment describes the key below it."""
    defaults, above, comment = yaml.safe_load(text), list[tuple[int, str]](), list[str]()
    lines = text.splitlines()
    for number, line in enumerate(lines):
        stripped = line.strip()
        if stripped.startswith("#"):
            comment.append(stripped.lstrip("# "))
            continue
        found = _KEY.match(line)
        if found is None:
            comment = []
            continue
        indent = len(found["indent"])
        above = [item for item in above if item[0] < indent]
        path = (*(name for _, name in above), found["name"])
        following = next((_KEY.match(item) for item in lines[number + 1 :] if _is_content(item)), None)
        if following is not None and len(following["indent"]) > indent:
            above.append((indent, found["name"]))
            if comment:
                yield Value(".".join(path), None, " ".join(comment))
        else:
            yield Value(".".join(path), _at(defaults, path), " ".join(comment))
        comment = []


def _is_content(line: str) -> bool:
    return bool(line.strip()) and not line.strip().startswith("#")


def _at(found: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        found = found[name]
    return found


def readme() -> str:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    rows = "\n".join(value.row for value in values((CHART / "values.yaml").read_text()))
    return TEMPLATE.format(
        name=chart["name"],
        description=chart["description"],
        version=chart["version"],
        kubernetes=chart["kubeVersion"].removesuffix("-0"),
        rows=rows,
    )
