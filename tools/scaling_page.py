"""Tables of docs/design/scaling.md that are written from the code: constants, limits, lines of code.

Constants stand in tuning.py alone. What other files of the package have is listed here, each with why it
tunes nothing.
"""

from __future__ import annotations

import ast
import io
import itertools
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tools.pages import ROOT, between_markers, table

PACKAGE = ROOT / "operator/tacho_operator/core/autoscaling"
ALGORITHM = PACKAGE / "algorithm"
PAGE = ROOT / "docs/design/scaling.md"
GUARDS = "# Limits of the guards"
"""Where tuning.py's second table begins."""
MAX_CONSTANTS, MAX_LINES = 15, 450
PARTS = {
    "Estimator and step": ("step", "demand", "request_cost", "need", "bursts", "attainment"),
    "Guards": ("guards",),
    "A HorizontalPodAutoscaler's rules": ("behavior",),
    "Bounds, quota, admission": ("limits",),
    "The measurement": ("capacity",),
    "Sentences and conditions": ("messages",),
    "Schedules": ("schedules",),
    "Types": ("types",),
    "Constants": ("tuning",),
}
APART = {
    "algorithm/behavior": ("UNLIMITED",),
    "algorithm/limits": ("ONCE_BELOW",),
    "algorithm/messages": ("NAMES_SHOWN",),
    "algorithm/schedules": ("LONGEST_REPEATED", "DAYS_SEARCHED", "RECENT_DAYS"),
    "algorithm/types": (
        "SCALE_UP",
        "SCALE_DOWN",
        "Policy.percentile",
        "ReplicaCapacity.input_tokens",
        "ReplicaCapacity.output_tokens",
    ),
    "status_view": (
        "KEPT",
        "OTHER_SECONDS",
        "SAME_SECONDS",
        "MOST_COUNT",
        "REASON_LIMIT_CHARS",
        "STEP_PERCENT",
        "ATTAINMENT_STEP_PERCENT",
        "REFUSAL_STEP",
        "ROUNDING_PERCENT",
        "STEP_SHARE",
    ),
    "target": ("UNBOUNDED",),
}
"""Numbers that tune nothing: what stands for "no limit", words, schedules, defaults of fields and of a
HorizontalPodAutoscaler, and how coarsely status is written.
"""
ORDINARY = frozenset({0, 1, 2, 4, 10, 100, 1000, 1e6, 1e-9})
"""Numbers within functions: units, rounding, and what the formula of square-root staffing has."""

Row = tuple[str, str, str]
"""Name, value and reason of a constant."""


def constants() -> list[Row]:
    return _rows(_tuning().partition(GUARDS)[0])


def limits() -> list[Row]:
    return _rows(_tuning().partition(GUARDS)[2])


def _tuning() -> str:
    return (ALGORITHM / "tuning.py").read_text(encoding="utf-8")


def _rows(source: str) -> list[Row]:
    # What is left of the comment's line is no code.
    body = ast.parse(source if source.startswith('"""') else f"#{source}").body
    return [
        (ast.unparse(assigned.targets[0]), ast.unparse(assigned.value), " ".join(reason.value.value.split()))
        for assigned, reason in itertools.pairwise(body)
        if isinstance(assigned, ast.Assign)
        and isinstance(reason, ast.Expr)
        and isinstance(reason.value, ast.Constant)
        and isinstance(reason.value.value, str)
    ]


def named_numbers(path: Path) -> list[str]:
    """Names in a module, or in its classes, to which a number other than 0 and 1 is given."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    classes = [item for item in body if isinstance(item, ast.ClassDef)]
    every = [("", item) for item in body] + [(f"{of.name}.", item) for of in classes for item in of.body]
    return [
        owner + ast.unparse(target)
        for owner, item in every
        if isinstance(item, ast.Assign | ast.AnnAssign) and item.value and set(_numbers(item.value)) - {0, 1}
        for target in (item.targets if isinstance(item, ast.Assign) else [item.target])
    ]


def stray() -> list[str]:
    """Numbers with a name that stand neither in tuning.py nor in APART."""
    return [
        f"{module}.{name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if (module := str(path.relative_to(PACKAGE).with_suffix(""))) != "algorithm/tuning"
        for name in named_numbers(path)
        if name not in APART.get(module, ())
    ]


def inline() -> list[str]:
    """Numbers without a name in functions of the files that decide."""
    deciding = (*PARTS["Estimator and step"], "guards", "behavior", "limits", "capacity")
    return [
        f"{module}.{function.name}: {number}"
        for module in deciding
        for function in ast.walk(ast.parse((ALGORITHM / f"{module}.py").read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef)
        for number in _numbers(function)
        if number not in ORDINARY
    ]


def _numbers(node: ast.AST) -> Iterator[float]:
    for item in ast.walk(node):
        if isinstance(item, ast.Constant) and type(item.value) in (int, float):
            yield item.value


def lines_of_code(module: str) -> int:
    """Lines with tokens, apart from comments and docstrings."""
    text = (ALGORITHM / f"{module}.py").read_text(encoding="utf-8")
    docstrings = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    left_out = {line for node in docstrings for line in range(node.lineno, (node.end_lineno or 0) + 1)}
    blank = (
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    )
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return len({token.start[0] for token in tokens if token.type not in blank} - left_out)


def tables() -> dict[str, str]:
    """By the name in the page's markers."""
    head = ("constant", "value", "reason")
    lines = [
        (part, ", ".join(f"`{name}.py`" for name in names), str(sum(map(lines_of_code, names))))
        for part, names in PARTS.items()
    ]
    return {
        "constants": table(head, constants()),
        "limits": table(("limit", *head[1:]), limits()),
        "lines": table(("part", "files", "lines of code"), lines),
    }


def page() -> str:
    return between_markers(PAGE.read_text(encoding="utf-8"), "python -m tools.generate", tables())
