"""The words of the field: no private word in a name or in a text that users read, and one class for a name.

docs/reference/glossary.md has the words to use.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]

NAME_WORDS = frozenset(
    {
        *("heard", "told", "tell", "tells", "telling", "said", "says", "wanted", "want", "wants", "wish"),
        *("asked", "ask", "asks", "asking"),
        *("person", "persons", "nobody", "who", "crew", "birth", "born", "gone", "dead", "alive"),
        *("beside", "visited", "visit", "throwaway", "awaited", "noting", "strain", "nouns"),
        *("look", "looks", "looked", "oracle", "sentence", "words", "room", "rooms", "standing", "brought"),
        *("regret", "leap"),
    }
)
"""Words that no class, function, argument, field or variable has in its name."""
RECORDED = frozenset({"visited"})
"""A kind of engine in the recorded results of benchmarks/probe."""
OF_TEXT = frozenset({"words", "sentence"})
"""Those that a variable may have, for parts of a text."""
NAME_PHRASES = (
    "fell_back",
    "went_back",
    "take_turn",
    "sure_work",
    "let_in",
    "taken_away",
    "engine_law",
)
"""The same, of several words."""
TEXT = re.compile(
    r"\b(nobody|a person|no person|persons|throwaway|what waits|(is|are) told|tells? their|(fell|went) back"
    r"|look(s|ed)? again|at every look|lets? (in|through)|lost its pods|taken away|there are as many as"
    r"|what came of|the like|gives? up|promises nothing|at the least|of all together|somebody"
    r"|(go|goes|went) on from|mends?|is tried (again|once)|a rate of their own)\b"
    r"|\bKEPT %|\bASKED %",
    re.IGNORECASE,
)
"""What no text that users read says."""

DESCRIBED = ("operator/tacho_operator/api/spec/", "operator/tacho_operator/api/status/")
"""Where docstrings are what `kubectl explain` shows."""


@cache
def _trees() -> dict[str, ast.Module]:
    files = (file for part in ("operator", "runtime") for file in sorted((ROOT / part).rglob("*.py")))
    return {str(file.relative_to(ROOT)): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def _names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        if isinstance(node, ast.ClassDef):
            fields = (item.target for item in node.body if isinstance(item, ast.AnnAssign))
            yield from ((field.lineno, field.id) for field in fields if isinstance(field, ast.Name))


def _variables(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id


def _texts(tree: ast.Module, *, described: bool) -> Iterator[tuple[int, str]]:
    """String constants; docstrings only where they are ``described`` to users."""
    statements = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
    documentation = set() if described else {id(node) for node in statements}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, node.value


def _is_bad(name: str, banned: frozenset[str]) -> bool:
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    snake = "_".join(words).lower()
    return bool(banned.intersection(snake.split("_"))) or any(item in snake for item in NAME_PHRASES)


def bad_names(path: str) -> list[str]:
    tree = _trees()[path]
    found = [(line, name) for line, name in _names(tree) if _is_bad(name, NAME_WORDS)]
    found += [(line, name) for line, name in _variables(tree) if _is_bad(name, NAME_WORDS - OF_TEXT)]
    return [f"{path}:{line} {name}" for line, name in found]


def bad_texts(path: str) -> list[str]:
    texts = _texts(_trees()[path], described=path.startswith(DESCRIBED))
    return [f"{path}:{line} {match[0]!r}" for line, text in texts if (match := TEXT.search(text))]


def duplicates() -> dict[str, list[str]]:
    places = defaultdict(list)
    for path, tree in _trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path)
    return {name: paths for name, paths in places.items() if len(paths) > 1}


def test_names_are_words_of_the_field() -> None:
    assert [item for path in _trees() for item in bad_names(path)] == []


def test_names_of_benchmarks_and_tools_are_words_of_the_field() -> None:
    files = (file for part in ("benchmarks", "tools") for file in sorted((ROOT / part).rglob("*.py")))
    names = (
        (file.name, line, name)
        for file in files
        for line, name in _names(ast.parse(file.read_text(encoding="utf-8")))
    )
    assert [found for found in names if _is_bad(found[2], NAME_WORDS - RECORDED)] == []


def test_texts_are_in_words_of_the_field() -> None:
    assert [item for path in _trees() for item in bad_texts(path)] == []


def test_a_class_name_stands_for_one_class() -> None:
    assert duplicates() == {}
