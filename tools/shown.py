"""What the pages show of `tacho simulate`, from the command itself.

A block that begins with the command is the marker: what stands below it is written anew.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
from pathlib import Path
from unittest import mock

from tacho_cli.main import main

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "docs/use/simulate.md",)
COLUMNS = "120"
BLOCK = re.compile(
    r"^```\n\$ (?P<command>tacho simulate (?:.*\\\n)*.*\n)(?P<shown>(?s:.*?))^```$", re.MULTILINE
)


def page(path: Path) -> str:
    """The page, each block with what its command prints."""
    return BLOCK.sub(
        lambda block: f"```\n$ {block['command']}{printed(block['command'])}```", path.read_text()
    )


def printed(command: str) -> str:
    """Standard output of the command, called in the repository's root."""
    out, told = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(ROOT),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(told),
        mock.patch.dict(os.environ, COLUMNS=COLUMNS),
    ):
        code = main(shlex.split(command.replace("\\\n", ""))[1:])
    if code:
        raise ValueError(f"{command} exited with {code}: {told.getvalue()}")
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())
