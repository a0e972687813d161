"""Elements of an SVG, and where their texts find room. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

CHARACTER, HEIGHT_OF_TEXT = 6.6, 12.0
"""Of a label: the width of a character, about, and the height."""
WIDE_CHARACTER = 7.6
"""In a wide font: what is placed by it never covers anything."""

Box = tuple[float, float, float, float]
"""Left, top, width, height."""


def number(value: float) -> str:
    return f"{value:.1f}"


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"/>'


def circle(x: float, y: float, kind: str, *, radius: float = 4.5, said: str = "") -> str:
    """``said``: what is shown where a pointer rests on it."""
    place = f'<circle class="{kind}" cx="{number(x)}" cy="{number(y)}" r="{radius}"'
    return f"{place}><title>{escape(said)}</title></circle>" if said else f"{place}/>"


def text(x: float, y: float, words: str, kind: str = "", *, anchor: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    placed = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text{named} x="{number(x)}" y="{number(y)}"{placed}>{escape(words)}</text>'


def path(points: Iterable[tuple[float, float]], kind: str) -> str:
    """From point to point."""
    steps = " L".join(f"{number(x)} {number(y)}" for x, y in points)
    return f'<path class="{kind}" d="M{steps}"/>'


def beside(x: float, y: float, words: str) -> tuple[Box, ...]:
    """Places of a text beside a point, the best first."""
    width = WIDE_CHARACTER * len(words)
    corners = (
        (x + 8, y + 6), (x + 8, y - 17), (x - width - 8, y - 17), (x - width - 8, y + 6),
        (x - width / 2, y + 9), (x - width / 2, y - 21),
    )  # fmt: skip
    return tuple((left, top, width, HEIGHT_OF_TEXT) for left, top in corners)


def room(places: Iterable[Box], taken: Sequence[Box], within: Box) -> Box | None:
    """The first of ``places`` that covers nothing and lies ``within``."""
    return next(
        (box for box in places if inside(box, within) and not any(overlap(box, other) for other in taken)),
        None,
    )


def overlap(one: Box, two: Box) -> bool:
    return all(one[i] < two[i] + two[i + 2] and two[i] < one[i] + one[i + 2] for i in (0, 1))


def inside(one: Box, two: Box) -> bool:
    return all(two[i] <= one[i] and one[i] + one[i + 2] <= two[i] + two[i + 2] for i in (0, 1))
