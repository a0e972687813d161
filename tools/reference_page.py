"""docs/reference/llmdeployment.md: every field of spec and status, from the schema of the CRD.

One section per object. A small object stands in its parent's table, as rows with dots in their names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tacho_operator.api import API_VERSION, CATEGORY, KIND, PLURAL, SHORT_NAME, SINGULAR
from tacho_operator.api.base import DECIMAL_PATTERN
from tacho_operator.api.crd.schema import Schema, at, resource_schema
from tacho_operator.api.rules import RULES
from tools.crd import COLUMNS
from tools.pages import ROOT, table

PAGE = ROOT / "docs/reference/llmdeployment.md"
EXAMPLES = {"minimal": "vllm-gpu.yaml", "complete": "complete.yaml"}
MOST_INLINE = {"spec": 4, "status": 2}
"""Fields that an object may have, with those below it, to stand in its parent's table."""
POD = "spec.podTemplate.spec"
POD_TYPES = "https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/"
SAME = {
    "spec.model.hub.env[]": "spec.engine.env[]",
    "spec.autoscaling.behavior.scaleDown": "spec.autoscaling.behavior.scaleUp",
}
"""Objects with the fields of another one, which has the section of both."""
PATTERNS = {
    DECIMAL_PATTERN: "decimal string",
    "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": "name: `a-z`, `0-9`, `-`",
    "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$": "name: `a-z`, `0-9`, `-`, `.`",
    "^[-._a-zA-Z0-9]+$": "key: letters, digits, `-`, `_`, `.`",
    "^[A-Za-z_][A-Za-z0-9_]*$": "name: letters, digits, `_`",
    "^[A-Za-z0-9][-A-Za-z0-9._/]*$": "letters, digits, `-`, `.`, `_`, `/`",
    "^[A-Za-z0-9][-A-Za-z0-9._/:]*$": "letters, digits, `-`, `.`, `_`, `/`, `:`",
    "^(https?://[^\\t\\n\\f\\r ]+)?$": "URL: http or https",
    "^[^\\t\\n\\f\\r ]*$": "text without spaces",
    "^[^\\t\\n\\f\\r ]+( +[^\\t\\n\\f\\r ]+){4}$": "five fields of cron",
    "^/[^:\\t\\n\\f\\r ]+$": "absolute path without `:`",
    "^/[^\\t\\n\\f\\r ]*$": "path that begins with `/`",
    "^[0-9]+(\\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$": "quantity, as a string",
    "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$": "name with a domain",
    "^[A-Za-z0-9_+/-]+$": "name of a time zone",
    "^(0|[1-9][0-9]{0,2})%$": "percentage such as `25%`",
    "^[A-Z]{3}$": "three capital letters",
    "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$": "value of a label",
    "^~?[0-9]+(\\.[0-9]{1,3})?$": "decimal string, maybe after `~`",
    "^~?[0-9]+(\\.[0-9]{1,3})? [A-Z]{3}$": "decimal string, maybe after `~`, and a currency",
    "^[A-Z][A-Za-z0-9]*$": "word in CamelCase",
}
"""Patterns of the schema in words."""
LARGEST = 2**31 - 1
"""A bound that only the type sets, which is not shown."""
ABSENT = re.compile(r"(?:^|(?<= ))(?:Absent|Empty): (.+?)\.(?= [A-Z]|$)")
EXAMPLE = re.compile(r"Example: (.+)\.$")
PAGE_NAME = re.compile(r"\bdocs/[\w/-]+\.md\b")


@dataclass
class Section:
    """An object with a heading of its own."""

    path: str
    node: Schema
    lead: str
    rows: list[tuple[str, Schema, bool]] = field(default_factory=list)
    """Path of a field, its schema, and whether it is required."""


def page() -> str:
    schema = resource_schema(RULES)
    parts = [_head(schema), *(_rendered(section) for section in sections(schema))]
    return "\n".join(parts)


def sections(schema: Schema) -> Iterator[Section]:
    """The sections of spec, then those of status; each before the sections of the objects in it."""
    for name in ("spec", "status"):
        node = schema["properties"][name]
        yield from _sections(schema, Section(name, node, node["description"]))


def object_of(node: Schema, path: str) -> tuple[Schema, str] | None:
    """The schema with the fields of an object or of the items of a list, and its path; None: a value."""
    if "properties" in node:
        return node, path
    items = node.get("items")
    return (items, f"{path}[]") if items and "properties" in items else None


def anchor(path: str) -> str:
    """The anchor of the heading that is a path."""
    return re.sub(r"[^\w-]", "", path.lower())


def _sections(schema: Schema, section: Section) -> Iterator[Section]:
    inner: list[Section] = []
    _fill(schema, section, section.node, section.path, inner)
    yield section
    for one in inner:
        yield from _sections(schema, one)


def _fill(schema: Schema, section: Section, node: Schema, path: str, inner: list[Section]) -> None:
    """Rows of the object at ``path`` for ``section``; ``inner`` gets the sections of its large objects."""
    for name, child in node["properties"].items():
        here = f"{path}.{name}"
        section.rows.append((here, child, name in node.get("required", ())))
        found = object_of(child, here)
        if found is None or path == POD:
            continue
        target, below = found
        if below in SAME:
            if at(schema, SAME[below])["properties"] != target["properties"]:
                raise ValueError(f"{below} no longer has the fields of {SAME[below]}")
        elif _has_section(below, target):
            inner.append(Section(below, target, target.get("description") or child["description"]))
        else:
            _fill(schema, section, target, below, inner)


def _has_section(path: str, node: Schema) -> bool:
    return path.count(".") == 1 or path in SAME.values() or _size(node) > MOST_INLINE[path.partition(".")[0]]


def _size(node: Schema) -> int:
    """Values in an object, with those of the objects in it."""
    inner = (object_of(child, "") for child in node["properties"].values())
    return sum(_size(found[0]) if found else 1 for found in inner)


# --- text -----------------------------------------------------------------------------------------
def _head(schema: Schema) -> str:
    about = (
        ("apiVersion", f"`{API_VERSION}`"),
        ("kind", f"`{KIND}`"),
        ("for kubectl", f"`{PLURAL}`, `{SINGULAR}`, `{SHORT_NAME}`; it is in the category `{CATEGORY}`"),
        ("scope", "namespaced"),
        ("subresources", "`/status`, `/scale`"),
    )
    columns = (
        (f"`{name}`", f"`{path.removeprefix('.')}`", "`-o wide`" if priority else "always", _cell(text))
        for name, _, path, priority, text in COLUMNS
    )
    return f"""\
<!-- Generated by `make generate` from the CRD; do not edit. -->
# LLMDeployment

An `LLMDeployment` describes one LLM server. tacho plans it, starts its pods and measures them.
You write [spec](#spec); the operator writes [status](#status). `kubectl explain llmd.spec` shows the same
fields.

{table(("", ""), about)}

See also the [conditions](conditions.md), the [failure classes](failures.md) and the [presets](presets.md)
of other servers. More manifests are in [examples](../../examples).

You must set a required field if you set its object. The column *Default* has the value that tacho uses
if a field is absent. A rule is a condition between fields: the API server refuses an object that breaks
one, with the message shown here.

## Minimal example
{_example("minimal")}
## Complete example
Each object of spec occurs once here. It shows the form of each field and is not a recommendation.

{_example("complete")}
## metadata
{_rules(schema, "")}
## Columns of kubectl get
{table(("Column", "Field", "Shown", "Description"), columns)}
"""


def _example(which: str) -> str:
    name = EXAMPLES[which]
    text = (ROOT / "examples" / name).read_text()
    shown = re.sub(r"\A(#.*\n)+", "", text)
    return f"```yaml\n{shown}```\n[examples/{name}](../../examples/{name})\n"


def _rendered(section: Section) -> str:
    depth = section.path.count(".")
    heading = f"{'##' if depth < 2 else '###'} {section.path}"
    lead = _cell(section.lead)
    same = [path for path, target in SAME.items() if target == section.path]
    if same:
        lead += f" `{same[0]}` has the same fields."
    if section.path == POD:
        lead += f" The fields are some of Kubernetes' [PodSpec]({POD_TYPES}), which describes them."
    spec = section.path.startswith("spec")
    columns = ("Field", "Type", "Default", "Description") if spec else ("Field", "Type", "Description")
    rows = (_row(section, *row) for row in section.rows)
    rules = _rules(section.node, section.path, section.rows)
    return f"{heading}\n{lead}\n\n{table(columns, rows)}\n{rules}"


def _row(section: Section, path: str, node: Schema, required: bool) -> tuple[str, ...]:
    name, text = path.removeprefix(f"{section.path}."), node["description"]
    kind = _type(path, node)
    if section.path.startswith("status"):
        return f"`{name}`", kind, _cell(text)
    absent = ABSENT.search(text)
    default = str(node["default"]) if "default" in node else absent[1] if absent else ""
    rest = re.sub("  +", " ", ABSENT.sub("", text)).strip() or text
    return f"`{name}`", kind, "required" if required else _cell(default), _cell(rest)


def _type(path: str, node: Schema) -> str:
    found = object_of(node, path)
    if node.get("type") == "array":
        inner = _plural(found, path, node)
        unique = node.get("x-kubernetes-list-map-keys")
        limit = f", at most {node['maxItems']}" if path.startswith("spec") else ""
        least = f", at least {node['minItems']}" if node.get("minItems") else ""
        once = f", one per {' and '.join(f'`{key}`' for key in unique)}" if unique else ""
        distinct = ", without duplicates" if node.get("x-kubernetes-list-type") == "set" else ""
        return f"{inner}{least}{limit}{once}{distinct}"
    if found:
        return _linked("object", found, path)
    if node.get("type") == "object":
        return f"map of {node['additionalProperties']['type']}s, at most {node['maxProperties']} keys"
    return _value(node, path)


def _plural(found: tuple[Schema, str] | None, path: str, node: Schema) -> str:
    if found:
        return _linked("list of objects", found, path)
    items = node["items"]
    return f"list of {_value(items, path)}" if "enum" in items else f"list of {items['type']}s"


def _linked(text: str, found: tuple[Schema, str], path: str) -> str:
    node, below = found
    target = SAME.get(below, below)
    if path.startswith(f"{POD}.") or not _has_section(target, node):
        return text
    return f"[{text}](#{anchor(target)})"


def _value(node: Schema, path: str) -> str:
    """The type of a value in words, with the bounds that a user must keep."""
    if "enum" in node:
        return ", ".join(f"`{one}`" for one in node["enum"])
    bounds = _bounds(node, path)
    if node.get("x-kubernetes-int-or-string"):
        return f"integer{bounds}, or {PATTERNS[node['pattern']]}"
    if node.get("format") == "date-time":
        return "time (RFC 3339)"
    words = PATTERNS[node["pattern"]] if "pattern" in node else node["type"]
    return f"{words}{bounds}"


def _bounds(node: Schema, path: str) -> str:
    if path.startswith("status"):
        return ""
    least, most = node.get("minimum"), node.get("maximum")
    if most not in (None, LARGEST):
        return f", {least} to {most}"
    if least is not None:
        return f", at least {least}"
    longest = node.get("maxLength")
    return f", at most {longest} characters" if longest and "pattern" not in node else ""


def _rules(node: Schema, path: str, rows: list[tuple[str, Schema, bool]] | None = None) -> str:
    """The rules of a section: of the object, of the fields in its table, and of objects without a section."""
    found: dict[str, None] = {}
    for place, one in _judged(node, path, rows):
        name = place.removeprefix(path).lstrip(".")
        prefix = f"`{name}`: " if name and name != "[]" else ""
        for rule in one.get("x-kubernetes-validations", ()):
            found.setdefault(f"- {prefix}{_cell(rule['message'])}", None)
    return "\n".join(["\nRules:\n", *found, ""]) if found else ""


def _judged(
    node: Schema, path: str, rows: list[tuple[str, Schema, bool]] | None
) -> Iterator[tuple[str, Schema]]:
    yield path, node
    for place, child, _ in rows or ():
        found = object_of(child, place)
        elsewhere = path != POD and found is not None and _has_section(SAME.get(found[1], found[1]), found[0])
        if not (elsewhere and "properties" in child):
            yield place, child
        if path == POD:
            yield from _below(child, place)
        elif "items" in child and not elsewhere:
            yield f"{place}[]", child["items"]


def _below(node: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """All parts of a schema below ``node``, with their paths."""
    for name, child in node.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from _below(child, f"{path}.{name}")
    items: Any = node.get("items")
    if items:
        yield f"{path}[]", items
        yield from _below(items, f"{path}[]")


def _cell(text: str) -> str:
    """Text of the schema as Markdown: its example as code, pages as links, nothing else as markup."""
    example = EXAMPLE.search(text)
    before = text[: example.start()] if example else text
    shown = re.sub(r"([*|])", r"\\\1", before).replace("<", "&lt;")
    shown = PAGE_NAME.sub(lambda name: f"[{name[0]}]({_relative(name[0])})", shown)
    return f"{shown}Example: `{example[1]}`." if example else shown


def _relative(name: str) -> str:
    return Path(os.path.relpath(ROOT / name, PAGE.parent)).as_posix()
