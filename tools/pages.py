"""Generated pages: tables, what stands between markers, and files that are written or compared."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def table(head: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown, without the end of its last line."""
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (head, ["---"] * len(head), *rows))


def between_markers(text: str, command: str, parts: Mapping[str, str]) -> str:
    """``text`` with each of ``parts`` between the markers of its name and ``command``.

    Raises ValueError where there are none.
    """
    for name, part in parts.items():
        begin, end = f"<!-- begin {name}: {command} -->\n", f"<!-- end {name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"the page has no markers for {name}: {command}")
        text = f"{before}{begin}{part}\n{end}{after}"
    return text


def settle(texts: Mapping[Path, str], arguments: Sequence[str], *, command: str = "make generate") -> int:
    """Writes the files that differ from ``texts``, or with ``--check`` names them. Returns the exit code."""
    stale = [path for path, text in texts.items() if not path.is_file() or path.read_text("utf-8") != text]
    check = "--check" in arguments
    for path in stale:
        if check:
            print(f"{os.path.relpath(path, ROOT)} has drifted: run {command}")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts[path], "utf-8")
    return int(check and bool(stale))
