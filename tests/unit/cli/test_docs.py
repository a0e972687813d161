"""docs/reference/cli.md names what the command has; commands and fields that pages name exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import typer
import yaml
from typer.core import TyperGroup

from tacho_cli.main import app

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/cli.md").read_text()
GUIDES = [
    ROOT / "README.md",
    *(
        page
        for part in ("start", "use", "operate", "compare")
        for page in sorted(ROOT.glob(f"docs/{part}/*.md"))
    ),
]
COMMANDS = cast(TyperGroup, typer.main.get_command(app)).commands


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


def named_commands(text: str) -> Iterator[list[str]]:
    """Commands of tacho in blocks and in sentences, as words."""
    shown = re.findall(r"`((?:\S*/)?tacho [^`\n]+)`|^(?:\$ )?((?:\S*/)?tacho [a-z]+ [^\n]+)", text, re.M)
    for words in ("".join(pair).split() for pair in shown):
        if words[1] in COMMANDS:
            yield words[1:]


def test_commands_in_guides_have_options_that_exist() -> None:
    known = {verb: {name for item in COMMANDS[verb].params for name in item.opts} for verb in COMMANDS}
    found = [
        (page.name, words)
        for page in GUIDES
        for words in named_commands(page.read_text().replace("\\\n", ""))
    ]
    assert len(found) > 20
    options = ((page, verb, word.split("=")[0]) for page, (verb, *words) in found for word in words)
    wrong = [item for item in options if re.match(r"--?[a-zA-Z]", item[2]) and item[2] not in known[item[1]]]
    assert wrong == []


def has(schema: dict[str, Any], names: list[str]) -> bool:
    """Whether a schema of OpenAPI has the field."""
    schema = schema.get("items", schema)
    if not names:
        return True
    within = schema.get("properties", {}).get(names[0]) or schema.get("additionalProperties")
    free = schema.get("x-kubernetes-preserve-unknown-fields", False)
    return bool(free) or (isinstance(within, dict) and has(within, names[1:]))


def test_fields_in_guides_are_fields_of_the_resource_or_values_of_the_chart() -> None:
    definition = yaml.safe_load((ROOT / "crds/tacho.dev_llmdeployments.yaml").read_text())
    whole = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    chart = yaml.safe_load((ROOT / "charts/tacho/values.schema.json").read_text())
    parts = [whole["properties"][name] for name in ("spec", "status")]
    behavior = parts[0]["properties"]["autoscaling"]["properties"]["behavior"]
    wrong, count = [], 0
    for page in GUIDES:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
        for field in re.findall(r"`([a-z]\w*(?:\.[a-z]\w*)+)(?:: [^`]*)?`", text):
            if re.search(r"\.(md|db|yml|json)$", field) or field == "requests.memory":  # a key of quotas
                continue
            count += 1
            if not any(has(part, field.split(".")) for part in (whole, *parts, behavior, chart)):
                wrong.append((page.name, field))
    assert count > 40
    assert wrong == []
    assert has(parts[0], ["engine", "extraArgs"])
    assert not has(parts[0], ["engine", "extraArguments"])
