"""docs/reference/llmdeployment.md against the schema: every field once, all rules, links that resolve.

`make generate` writes the page and `python -m tools.generate --check` compares it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tacho_operator.api.crd.schema import Schema, resource_schema
from tacho_operator.api.defaults import MEANT
from tacho_operator.api.rules import RULES
from tools import reference_page
from tools.generate import PAGES
from tools.reference_page import PAGE, POD, SAME, anchor

SCHEMA = resource_schema(RULES)
TEXT = PAGE.read_text()
HEADING = re.compile(r"^##+ ((?:spec|status)\S*)$", re.M)
SPLIT = re.compile(r"(?<!\\)\|")


def plain(cell: str) -> str:
    """A cell without markup."""
    cell = re.sub(r"Example: `(.*)`\.$", r"Example: \1.", cell.strip())
    cell = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", cell)
    return re.sub(r"\\([*|])", r"\1", cell).replace("&lt;", "<")


def rows(text: str) -> Iterator[tuple[str, list[str]]]:
    """The whole path and the other cells of each row in the sections of spec and status."""
    parts = HEADING.split(text)[1:]
    for path, body in zip(parts[::2], parts[1::2], strict=True):
        for line in re.findall(r"^\| `(.*) \|$", body, re.M):
            name, *cells = SPLIT.split(line)
            yield f"{path}.{name.strip().removesuffix('`')}", [plain(cell) for cell in cells]


def fields(node: Schema, path: str) -> Iterator[tuple[str, Schema, bool]]:
    """The path of each property, its schema, and whether its object requires it."""
    for name, child in node.get("properties", {}).items():
        here = f"{path}.{name}"
        yield here, child, name in node.get("required", ())
        items = f"{here}[]" if "items" in child else here
        if here != POD and not here.startswith(f"{POD}.") and items not in SAME:
            yield from fields(child.get("items", child), items)
        elif here == POD:
            yield from ((f"{POD}.{one}", part, False) for one, part in child["properties"].items())


FIELDS = [found for name in ("spec", "status") for found in fields(SCHEMA["properties"][name], name)]
ROWS = list(rows(TEXT))
BY_PATH = dict(ROWS)


def test_every_field_has_one_row_and_no_row_is_of_anything_else() -> None:
    assert Counter(path for path, _ in ROWS) == Counter(path for path, _, _ in FIELDS)
    assert len(FIELDS) > 300


@pytest.mark.parametrize(("path", "node", "required"), FIELDS, ids=[path for path, _, _ in FIELDS])
def test_the_row_has_the_description_whole(path: str, node: Schema, required: bool) -> None:
    kind, *default, description = BY_PATH[path]
    assert kind
    if path.startswith("status"):
        assert (default, description) == ([], node["description"])
        return
    words = default[0] if default[0] and not required and "default" not in node else ""
    whole = {description, *(f"{description} {name}: {words}." for name in ("Absent", "Empty"))}
    assert (default[0] == "required") == required
    assert sorted(node["description"].split()) in [sorted(text.split()) for text in whole]


def test_the_values_of_enums_and_the_bounds_are_in_the_type() -> None:
    for path, node, _ in FIELDS:
        kind = BY_PATH[path][0]
        for value in node.get("enum", ()):
            assert f"`{value}`" in kind, path
        if path.startswith("spec") and node.get("maximum", 2**31 - 1) < 2**31 - 1:
            assert f"{node['minimum']} to {node['maximum']}" in kind, path


def test_objects_with_one_section_for_both_have_the_same_fields() -> None:
    paths = {path.replace("[]", "") for path, _, _ in FIELDS}
    for path, target in SAME.items():
        assert {path.removesuffix("[]"), target.removesuffix("[]")} <= paths
        assert f"`{path}` has the same fields." in TEXT


def test_every_rule_is_on_the_page() -> None:
    said = plain(TEXT.replace("\n", " "))
    assert {rule.name for rule in RULES if rule.message not in said} == set()


def test_the_defaults_are_those_of_the_code() -> None:
    for path, value in MEANT.items():
        default = BY_PATH[".".join(("spec", *path))][1]
        assert default.startswith(str(value)), path


def test_links_lead_to_sections_and_pages() -> None:
    anchors = {anchor(heading) for heading in re.findall(r"^#+ (.+)$", TEXT, re.M)}
    assert len(anchors) == len(re.findall(r"^#+ ", TEXT, re.M))
    targets = set(re.findall(r"\]\(([^)\s]+)\)", TEXT))
    assert {target for target in targets if target.startswith("#") and target[1:] not in anchors} == set()
    files = {target for target in targets if not target.startswith(("#", "https://"))}
    assert {target for target in files if not (PAGE.parent / target).exists()} == set()
    assert {"conditions.md", "failures.md"} <= files


def test_generate_writes_the_page() -> None:
    assert PAGES[PAGE] is reference_page.page
    assert reference_page.page() == TEXT
