"""The pictures of docs/scaling.md: who costs how much for what, and replicas over time. SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tacho_operator.cli.figures.svg import STYLE
from tacho_operator.simulate.result import Moment

PICTURES = Path(__file__).parents[2] / "docs" / "results" / "scaling"
WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 60, 24, 40, 50
ROW = 150
LEGEND_ROWS = 8
SHOWN = ("step x8", "diurnal", "spikes", "slow start")
LINES = (("tacho", "line"), ("oracle", "capacity"))
Path_ = tuple[float, Sequence[Moment]]


def written(document: Mapping[str, Any], paths: Mapping[str, Mapping[str, Path_]]) -> Iterator[Path]:
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, text in (("policies.svg", means(document["judged"])), ("replicas.svg", replicas(paths))):
        (PICTURES / name).write_text(text)
        yield PICTURES / name


def _drawing(title: str, height: float, lines: Iterable[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="curve" role="img" viewBox="0 0 {WIDTH} {height:.0f}"'
        f' width="{WIDTH}" height="{height:.0f}">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>\n'
        f'<rect class="paper" width="{WIDTH}" height="{height:.0f}"/>'
    )
    return "\n".join([head, *lines, "</svg>"]) + "\n"


def means(judged: Mapping[str, Any]) -> str:
    """Each policy by the mean of its GPU-hours and of the requests within the service level."""
    points = {label: (row["gpuHours"], 100 * row["sloAttainment"]) for label, row in judged["means"].items()}
    most = max(hours for hours, _ in points.values()) * 1.05
    least = 10 * math.floor(min(share for _, share in points.values()) / 10)

    def x(hours: float) -> float:
        width: float = (WIDTH - LEFT - RIGHT) * hours / most
        return LEFT + width

    def y(share: float) -> float:
        height: float = (HEIGHT - TOP - BOTTOM) * (100 - share) / (100 - least)
        return TOP + height

    lines = [_text(LEFT, TOP - 16, "% of requests within the service level, mean of all scenarios", "title")]
    for share in range(int(least), 101, 10 if 100 - least > 40 else 5):
        lines += [
            _line(LEFT, y(share), WIDTH - RIGHT, y(share), "grid"),
            _text(LEFT - 8, y(share) + 4, f"{share}", anchor="end"),
        ]
    for tick in range(0, int(most) + 1, 5):
        lines.append(_text(x(tick), HEIGHT - BOTTOM + 18, str(tick), anchor="middle"))
    lines.append(_line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "axis"))
    lines.append(_text(WIDTH - RIGHT, HEIGHT - 12, "GPU-hours, mean of all scenarios", anchor="end"))
    edge = [points[label] for label in judged["front"]]
    path = " ".join(
        f"{'L' if at else 'M'}{x(hours):.1f} {y(share):.1f}" for at, (hours, share) in enumerate(edge)
    )
    lines.append(f'<path class="line soft" fill="none" d="{path}"/>')
    ranked = sorted(points, key=lambda label: points[label])
    for number, label in enumerate(ranked, start=1):
        hours, share = points[label]
        kind = "point" if label == "tacho" else "point provisional"
        lines.append(f'<circle class="{kind}" cx="{x(hours):.1f}" cy="{y(share):.1f}" r="4"/>')
        above = number % 2 == 0
        lines.append(
            _text(x(hours), y(share) + (-8 if above else 16), str(number), "streams", anchor="middle")
        )
        row, column = (number - 1) % LEGEND_ROWS, (number - 1) // LEGEND_ROWS
        lines.append(_text(LEFT + 230 * column, HEIGHT + 14 + 16 * row, f"{number}  {label}", "streams"))
    return _drawing("Ways of scaling beside each other", HEIGHT + 16 * LEGEND_ROWS + 14, lines)


def replicas(paths: Mapping[str, Mapping[str, Path_]]) -> str:
    """Replicas that were asked for, over time."""
    shown = [name for name in SHOWN if name in paths]
    lines: list[str] = []
    for at, name in enumerate(shown):
        top = TOP + at * (ROW + 44)
        lines += _row(name, paths[name], top)
    height = TOP + len(shown) * (ROW + 44) + 10
    lines += [
        _line(LEFT, height - 14, LEFT + 24, height - 14, "line"),
        _text(LEFT + 30, height - 10, "tacho"),
        _line(LEFT + 90, height - 14, LEFT + 114, height - 14, "capacity"),
        _text(LEFT + 120, height - 10, "oracle"),
    ]
    return _drawing("Replicas over time", height, lines)


def _row(name: str, found: Mapping[str, Path_], top: float) -> Iterator[str]:
    seconds = max(found[label][0] for label, _ in LINES)
    most = max(moment.asked for label, _ in LINES for moment in found[label][1]) + 1
    bottom = top + ROW

    def x(time: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, time / seconds)

    def y(count: float) -> float:
        return bottom - ROW * count / most

    yield _text(LEFT, top - 8, f"{name}: replicas asked for, by minutes", "title")
    for count in range(0, most + 1, max(1, most // 4)):
        yield _line(LEFT, y(count), WIDTH - RIGHT, y(count), "grid")
        yield _text(LEFT - 8, y(count) + 4, str(count), anchor="end")
    for minute in range(0, int(seconds / 60) + 1, 15 if seconds < 7000 else 30):
        yield _text(x(60 * minute), bottom + 16, str(minute), anchor="middle")
    for label, kind in LINES:
        path, former = [], None
        for moment in found[label][1]:
            if former is not None:
                path.append(f"L{x(moment.time_seconds):.1f} {y(former):.1f}")
            path.append(f"{'M' if former is None else 'L'}{x(moment.time_seconds):.1f} {y(moment.asked):.1f}")
            former = moment.asked
        path.append(f"L{x(seconds):.1f} {y(former or 0):.1f}")
        yield f'<path class="{kind}" fill="none" d="{" ".join(path)}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, kind: str = "", *, anchor: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    placed = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}"{placed}>{escape(words)}</text>'
