"""How documents are printed: YAML and JSON for programs, on stdout alone. Light: every command imports it."""

from __future__ import annotations

import enum
import json
import sys
from typing import Any

from tacho_cli.output.letters import encodes


class Format(str, enum.Enum):
    """Values of ``--output``."""

    table = "table"
    yaml = "yaml"
    json = "json"


class FigureFormat(str, enum.Enum):
    """Values of ``--output`` where figures are printed."""

    table = "table"
    json = "json"
    html = "html"


class TraceFormat(str, enum.Enum):
    """Values of ``--output`` where runs of a trace are printed."""

    table = "table"
    json = "json"
    csv = "csv"
    html = "html"


def print_document(document: dict[str, Any], output: Format) -> None:
    """One document on stdout, complete and nothing else."""
    if output is Format.json:
        print(json.dumps(document, indent=2))
    else:
        import yaml

        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        if not encodes(sys.stdout.encoding or "utf-8", text):
            text = yaml.safe_dump(document, sort_keys=False)  # which escapes: a document is never changed
        print(text, end="")
    sys.stdout.flush()


def say(line: str) -> None:
    """Progress and notes, on stderr, so that stdout stays a document."""
    print(f"tacho: {line}", file=sys.stderr, flush=True)
