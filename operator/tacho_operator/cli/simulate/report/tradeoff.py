"""What the promise costs: requests kept over GPU-hours, and how long first tokens take. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tacho_operator.cli.figures import shapes
from tacho_operator.cli.figures.axes import Axis, even, label, latency, round_step
from tacho_operator.cli.figures.digits import plain
from tacho_operator.cli.simulate.report.nouns import Report, Run, front
from tacho_operator.cli.simulate.report.sheet import BOTTOM, FIELD_WIDTH, LEFT, TOP, Field, sheet
from tacho_operator.cli.simulate.report.table import kept

HEIGHT, ROW_HEIGHT = 300, 40
X_TICKS, Y_TICKS = 8, 5


def tradeoff_plot(report: Report) -> Iterator[str]:
    """Above and to the left is better; what nothing beats is filled and joined."""
    best = front(report.runs)
    field = Field(
        x=even([run.gpu_hours for run in report.runs], X_TICKS),
        y=percents([run.kept_percent for run in report.runs]),
        top=TOP,
        height=HEIGHT,
    )
    parts = [shapes.text(LEFT, TOP - 14, "Requests that kept the service level, %", "title"), *field.rows()]
    for one, two in pairwise(best):
        parts.append(shapes.line(*_at(field, one), *_at(field, two), "front"))
    # The best last: no other point lies on them.
    for run in [*(run for run in report.runs if run not in best), *best]:
        said = f"{run.name}: {kept(run)} %, {plain(run.gpu_hours)} GPU-hours"
        parts.append(shapes.circle(*_at(field, run), "best" if run in best else "beaten", said=said))
    parts += _names(field, report.runs, best)
    parts += field.floor("GPU-hours; above and to the left is better")
    yield from sheet("Requests kept over GPU-hours", field.bottom + BOTTOM, parts)


def percents(values: Sequence[float]) -> Axis:
    """From a round share below all of them to 100."""
    low = min(values, default=0.0)
    apart = max(0.001, round_step(max(100.0 - low, 0.01) * 1.1 / Y_TICKS))
    steps = min(int((100.0 - low) / apart) + 1, int(100 / apart))
    return Axis(
        low=100.0 - steps * apart,
        # Room for a point at the top, whose upper half would be cut off.
        high=100.0 + apart / 5,
        ticks=tuple(round(100.0 - n * apart, 6) for n in range(steps, -1, -1)),
    )


def _at(field: Field, run: Run) -> tuple[float, float]:
    return field.at(run.gpu_hours, run.kept_percent)


def _names(field: Field, runs: Sequence[Run], best: Sequence[Run]) -> Iterator[str]:
    """The best first; what finds no room is told by the table, and where a pointer rests on the point."""
    within = (LEFT + 2.0, TOP - 8.0, FIELD_WIDTH + 8.0, HEIGHT + 6.0)
    taken = [(x - 5, y - 5, 10.0, 10.0) for x, y in (_at(field, run) for run in runs)]
    for run in [*best, *(run for run in runs if run not in best)]:
        box = shapes.room(shapes.beside(*_at(field, run), run.name), taken, within)
        if box:
            taken.append(box)
            left = box[0] + box[2] < _at(field, run)[0]
            x = box[0] + box[2] if left else box[0]
            yield shapes.text(x, box[1] + 10, run.name, "name", anchor="end" if left else "")


def first_token_plot(report: Report) -> Iterator[str]:
    """A row each: from the median over the 95th to the 99th percentile."""
    shown = [(run, run.result.ttft_seconds) for run in report.runs]
    promised = sorted({run.slo.ttft_milliseconds / 1000 for run in report.runs if run.slo.ttft_milliseconds})
    values = [value for _, found in shown if found for value in found]
    height = ROW_HEIGHT * len(shown)
    field = Field(
        x=latency([*values, *promised], X_TICKS), y=Axis(low=0, high=1, ticks=()), top=TOP + 6, height=height
    )
    scale = ", logarithmic" if field.x.logarithmic else ""
    title = f"Time to first token, s{scale}: median ●, 95th and 99th percentile |"
    parts = [shapes.text(LEFT, TOP - 14, title, "title")]
    for slo in promised:
        x, _ = field.at(slo, 0)
        parts.append(shapes.line(x, field.top, x, field.bottom, "slo"))
    if promised:
        x, _ = field.at(promised[-1], 0)
        words = " and ".join(label(slo) for slo in promised)
        right = x > LEFT + FIELD_WIDTH - 90
        parts.append(
            shapes.text(
                x - 5 if right else x + 5,
                field.top + 4,
                f"SLO {words} s",
                "slo-text",
                anchor="end" if right else "",
            )
        )
    for row, (run, found) in enumerate(shown):
        top = field.top + row * ROW_HEIGHT
        parts.append(shapes.text(LEFT, top + 18, run.name, "name"))
        y = top + 30
        if found is None:
            parts.append(shapes.text(LEFT + 8, y + 4, "no request was answered"))
            continue
        p50, p95, p99 = (field.at(value, 0)[0] for value in found)
        parts.append(shapes.line(p50, y, p99, y, "reach"))
        parts += [shapes.line(x, y - 5, x, y + 5, "reach") for x in (p95, p99)]
        said = "median {}, 95th {}, 99th percentile {} s".format(*map(plain, found))
        parts.append(shapes.circle(p50, y, "best", said=f"{run.name}: {said}"))
    parts += field.floor("seconds")
    yield from sheet("Time to first token", field.bottom + BOTTOM, parts)
