"""docs/reference/cli.md names what the command has, and shows what it prints."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from tacho_cli.main import app

PAGE = (Path(__file__).parents[3] / "docs/reference/cli.md").read_text()
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_every_option_is_on_the_page(verb: str) -> None:
    section = PAGE.split(f"## tacho {verb}", 1)[1].split("\n## ", 1)[0]
    names = [name for parameter in COMMANDS[verb].params for name in parameter.opts]
    options = [name for name in names if name.startswith("-") and name != "--help"]
    assert len(options) > 5
    assert [name for name in options if f"`{name}" not in section and f"{name} " not in section] == []


def test_an_option_of_several_verbs_is_the_same_in_all() -> None:
    shared = {"namespace", "all_namespaces", "context", "kubeconfig", "watch", "output"}
    parameters = [parameter for command in COMMANDS.values() for parameter in command.params]
    options = {(item.name, *item.opts, item.help) for item in parameters if item.name in shared}
    assert sorted(name for name, *_ in options) == sorted(shared)
