"""The tables of docs/reference/cli.md about all verbs, from the command itself: exit codes and grammar."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer

from tacho_cli.main import app
from tacho_cli.problems import EXIT_MEANINGS

PAGE = Path(__file__).resolve().parent.parent / "docs/reference/cli.md"
VERBS = tuple(command.callback.__name__ for command in app.registered_commands if command.callback)
GRAMMAR = {
    "-n": "the namespace",
    "-A": "all namespaces",
    "--context": "as in kubectl",
    "--kubeconfig": "as in kubectl",
    "--watch": "goes on until Ctrl-C, or until what is watched has ended",
    "-o table": "for people, and the default; text in logs",
    "-o wide": "the table with more columns or rows",
    "-o json": "a document",
    "-o yaml": "a document",
    "-o name": "`llmdeployment.tacho.dev/NAME` or `pod/NAME` alone",
    "-o html": "one page that needs nothing else",
    "-o csv": "rows",
}


def formats() -> dict[str, tuple[str, ...]]:
    """The values of --output by verb."""
    functions = {
        command.callback.__name__: command.callback for command in app.registered_commands if command.callback
    }
    return {verb: get_args(get_type_hints(functions[verb])["output"]) for verb in VERBS}


def verbs_with(given: str) -> str:
    """The verbs that take an option, or a value of --output, as text."""
    option, _, value = given.partition(" ")
    commands: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
    options = {verb: [name for one in commands[verb].params for name in one.opts] for verb in VERBS}
    chosen = [verb for verb in VERBS if (value in formats()[verb] if value else option in options[verb])]
    missing = [verb for verb in VERBS if verb not in chosen]
    return ", ".join(chosen) if len(missing) > 1 else f"all but {missing[0]}" if missing else "all"


def page() -> str:
    """The page with both tables as they must be."""
    codes = ((str(code), f"`{code.name}`", means) for code, means in EXIT_MEANINGS.items())
    made = _with_table(PAGE.read_text(), "exit code", codes)
    return _with_table(
        made, "in all verbs", ((f"`{key}`", verbs_with(key), text) for key, text in GRAMMAR.items())
    )


def _with_table(text: str, heading: str, rows: Iterable[Iterable[str]]) -> str:
    """``text`` with these rows in the one table whose first heading is so."""
    table = re.compile(rf"(?m)^(\| {heading} \|.*\n\|[- |]+\n)(?:\|.*\n)+")
    lines = "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
    made, tables = table.subn(lambda found: found[1] + lines, text)
    if tables != 1:
        raise ValueError(f"{PAGE} has {tables} tables that begin with {heading}")
    return made
