"""Bounds for the chat templates of a model: products and powers that cannot be aborted are not begun.

Work in C code keeps every thread of this process waiting: ``10 ** 10**8`` in a template, for minutes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sized
from typing import Any

NUMBER_BITS = 4096
"""Most bits of a whole number that a template computes."""
TEXT_LENGTH = 10_000_000
"""Most characters or items that a template makes by one repetition."""


def bound_templates() -> None:
    """Bounds the products and powers of all templates that Jinja's sandbox renders in this process."""
    with contextlib.suppress(ImportError):  # then there are none
        from jinja2.sandbox import SandboxedEnvironment

        def call(environment: Any, _context: Any, operator: str, left: Any, right: Any) -> Any:
            check(operator, left, right)
            return environment.binop_table[operator](left, right)

        SandboxedEnvironment.intercepted_binops = frozenset({"*", "**"})
        # the sandbox has this hook on the class alone, and templates make environments of their own
        SandboxedEnvironment.call_binop = call  # type: ignore[method-assign,assignment]


def check(operator: str, left: object, right: object) -> None:
    """Raises OverflowError where the result of ``left`` and ``right`` is too long."""
    if isinstance(left, int) and isinstance(right, int):
        power = operator == "**"
        bits = left.bit_length() * abs(right) if power else left.bit_length() + right.bit_length()
        too_long = bits > NUMBER_BITS
    else:
        many, times = (left, right) if isinstance(right, int) else (right, left)
        too_long = isinstance(many, Sized) and isinstance(times, int) and len(many) * times > TEXT_LENGTH
    if too_long:
        raise OverflowError("a result is too long")
