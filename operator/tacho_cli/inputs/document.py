"""Reads one LLMDeployment from a manifest file and checks it as the API server would."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections import Counter
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any, TextIO

import yaml

from tacho_cli.problems import CommandError
from tacho_contract.codec import WHOLE_NUMBER_LIMIT
from tacho_operator.api import KIND
from tacho_operator.api.rules.offline import validate_offline
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.types import Manifest

LIMIT_BYTES = 4 * 1024 * 1024
VALUES_LIMIT = 1_000_000
"""Most values of a YAML file with its aliases expanded; ten lines of them can stand for billions."""

BROKEN = (yaml.YAMLError, ValueError, RecursionError, AttributeError, LookupError, OverflowError)
"""What PyYAML raises, also for a tag whose value is none, as ``!!int ""``."""

MANY_VALUES = f"its aliases stand for more than {VALUES_LIMIT} values; write them out"
LONG_NUMBER = "a number in it has more than 63 bits; shorten it"
LOCATED_LIMIT = 1 << 18
"""Most characters of a JSON file in which the line of a key that comes twice is searched, in about 2 s."""
LONGEST_NUMBER = 400
"""Most characters of a number in YAML. Of one like 1:30:00 PyYAML takes time by the square of its length."""


class Repeated(Exception):
    """A key that comes twice in one object. The text has its line."""


class _Loader(yaml.SafeLoader):
    """PyYAML's loader, which refuses a key that comes twice in one object, as a typing error, and ends at
    numbers and merges (``<<``) that would take it hours.
    """

    _merged = 0

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Before merges, whose keys an object may have itself.
        node = super().compose_mapping_node(anchor)
        seen: dict[Hashable, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            name = self.construct_object(key)  # 1 and 0x1 are the same
            if not isinstance(name, Hashable):
                continue  # refused later
            if first := seen.get(name):
                raise Repeated(f"line {line}: the key {key.value[:80]!r} is there already (line {first})")
            seen[name] = line
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        # Called for each alias of a merge, before its values are copied.
        super().flatten_mapping(node)
        self._merged += len(node.value)
        if self._merged > VALUES_LIMIT:
            raise ValueError(MANY_VALUES)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        is_number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
        if is_number and len(node.value) > LONGEST_NUMBER:
            raise ValueError(LONG_NUMBER)
        return super().construct_scalar(node)


def load(file: str, expected: str, limit_bytes: int = LIMIT_BYTES) -> Any:
    """The one JSON or YAML document in a file. Raises CommandError, whose message says that ``expected`` is
    needed."""
    content = _text(file, expected, limit_bytes)
    try:
        if found := _json(content):
            return found[0]
        return yaml.load(content, _Loader)  # noqa: S506 - a safe one
    except Repeated as error:
        raise CommandError(f"{file}: {error}") from None
    except BROKEN as error:
        raise CommandError(f"{file}: neither JSON nor YAML: {error}; name {expected}") from None


def _json(content: str) -> list[Any]:
    """The JSON object in ``content``, alone in a list; [] where it is something else.

    YAML may begin like it. As YAML, JSON that is indented with tabs is refused. Raises Repeated.
    """
    if content.lstrip("\ufeff \t\r\n").startswith("{"):
        try:
            return [json.loads(content.removeprefix("\ufeff"), object_pairs_hook=_unrepeated)]
        except Repeated:
            if len(content) <= LOCATED_LIMIT:
                with contextlib.suppress(*BROKEN):
                    yaml.load(content.replace("\t", " "), _Loader)  # noqa: S506 - a safe one; knows the line
            raise
        except (ValueError, RecursionError):
            pass
    return []


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Repeated(f"the key {Counter(key for key, _ in pairs).most_common(1)[0][0][:80]!r} comes twice")
    return found


def _text(file: str, expected: str, limit_bytes: int = LIMIT_BYTES) -> str:
    """The text of a file; ``-`` is stdin."""
    if file == "-" and sys.stdin is None:
        raise CommandError(f"-: stdin is closed; name {expected}")
    try:
        if file == "-":
            text = _stdin(sys.stdin)
        else:
            with Path(file).open(encoding="utf-8") as stream:
                text = stream.read(limit_bytes + 1)  # a device or a pipe has no size
    except UnicodeDecodeError:
        raise CommandError(f"{file}: not text; name {expected}") from None
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}; name {expected}") from None
    if len(text) > limit_bytes:
        raise CommandError(f"{file}: larger than {limit_bytes >> 20} MiB; name {expected}")
    return text


@functools.lru_cache(1)
def _stdin(stream: TextIO) -> str:
    """The text of stdin, which can be read only once."""
    return stream.read(LIMIT_BYTES + 1)


def _flattened(documents: list[Any]) -> Iterator[Manifest]:
    """The objects of the documents, with the items of Lists (``kubectl get -o yaml`` prints several objects
    as one)."""
    for item in documents:
        if not isinstance(item, dict):
            continue
        if item.get("kind") == "List" and isinstance(item.get("items"), list):
            yield from (inner for inner in item["items"] if isinstance(inner, dict))
        else:
            yield item


def _name(item: Manifest) -> str:
    metadata = item.get("metadata")
    return str(metadata.get("name")) if isinstance(metadata, dict) else "(no name)"


def read(file: str, name: str = "") -> Manifest:
    """The LLMDeployment in ``file`` as written, not checked yet; several need ``name``. Raises
    CommandError."""
    found = every(file, name)
    if len(found) > 1:
        names = ", ".join(map(_name, found))
        raise CommandError(f"{file}: holds several LLMDeployments ({names}); choose one with --name")
    return found[0]


def every(file: str, name: str = "") -> list[Manifest]:
    """All LLMDeployments in ``file`` as written, or only those of that name. Raises CommandError where the
    file has none."""
    objects = list(_flattened(_documents(file)))
    found = [item for item in objects if item.get("kind") == KIND and name in ("", _name(item))]
    if not found:
        held = sorted({f"{item.get('kind')} {_name(item)}" for item in objects})
        named = f" named {name}" if name else ""
        raise CommandError(f"{file}: no LLMDeployment{named} in it (found: {', '.join(held) or 'nothing'})")
    return found


def _documents(file: str) -> list[Any]:
    content = _text(file, "a YAML file with an LLMDeployment")
    try:
        found = _json(content) or list(yaml.load_all(content, _Loader))
    except Repeated as error:
        raise CommandError(f"{file}: {error}") from None
    except BROKEN as error:
        where = str(error).replace('in "<unicode string>", ', "")
        raise CommandError(f"{file}: not YAML: {where}") from None
    if excess := beyond(found):
        raise CommandError(f"{file}: {excess}")
    return found


def beyond(document: object) -> str:
    """What a YAML document has too much of, as a clause; "": nothing.

    An alias that contains itself never ends. A number of thousands of digits, which hexadecimal ones may
    have, cannot be shown.
    """
    left, count = [document], 0
    while left:
        count += 1
        item = left.pop()
        if count > VALUES_LIMIT:
            return MANY_VALUES
        if isinstance(item, int) and abs(item) >= WHOLE_NUMBER_LIMIT:
            return LONG_NUMBER
        if isinstance(item, dict):
            left.extend([*item, *item.values()])
        elif isinstance(item, list):
            left.extend(item)
    return ""


def typed(raw: Manifest, file: str) -> tuple[Manifest, LLMDeployment]:
    """(the manifest with its namespace, the same as a typed object). Raises CommandError with every error and
    its place."""
    problems = validate_offline(raw)
    if problems:
        raise CommandError(f"{file}: not a valid LLMDeployment", *(f"  {item}" for item in problems))
    filled = {**raw, "metadata": {"namespace": "default", **raw["metadata"]}}
    return filled, LLMDeployment.read(filled)
