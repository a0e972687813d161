"""A release's notes.md: its images and chart by digest, how to check and install them, what changed."""

from __future__ import annotations

import re

from .steps import StepError

TEMPLATE = """\
# tacho {version}

## Images

{images}

## Check and install

```
{commands}
```

## Changes

{changes}
"""


def changes(changelog: str, version: str) -> str:
    """The changelog's section of that version, else Unreleased. Raises StepError without either."""
    sections = dict(re.findall(r"^## \[?([\w.-]+)\]?[^\n]*\n(.*?)(?=^## |\Z)", changelog, re.M | re.S))
    found = sections.get(version) or sections.get("Unreleased") or ""
    if not found.strip():
        why = f"CHANGELOG.md has neither a section {version} nor Unreleased: say what changed."
        raise StepError("NothingChanged", why)
    return found.strip()


def notes(version: str, changelog: str, images: list[str], chart: str) -> str:
    """``images`` and ``chart``: references with digests. Raises StepError."""
    checked = "cosign verify --key cosign.pub --insecure-ignore-tlog"
    commands = [f"{checked} {reference}" for reference in (*images, chart)]
    commands.append(f"helm install tacho oci://{chart} --namespace tacho-system --create-namespace")
    return TEMPLATE.format(
        version=version,
        images="\n".join(f"- `{reference}`" for reference in images),
        commands="\n".join(commands),
        changes=changes(changelog, version),
    )
