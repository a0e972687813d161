"""How many replicas there were, over time. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tacho_operator.cli.figures import shapes, times
from tacho_operator.cli.figures.axes import Axis, even
from tacho_operator.cli.figures.digits import plain
from tacho_operator.cli.simulate.report import steps
from tacho_operator.cli.simulate.report.nouns import Report, Run
from tacho_operator.cli.simulate.report.sheet import BOTTOM, LEFT, TOP, Field, sheet
from tacho_operator.cli.simulate.report.table import Table

X_TICKS, Y_TICKS = 8, 5
HEIGHT, NAME_HEIGHT, GAP = 84, 20, 14


def replicas_plot(report: Report) -> Iterator[str]:
    """A panel a run, all on one scale."""
    moments = [moment for run in report.runs for moment in run.result.trajectory]
    most = max((max(moment.asked, moment.ready) for moment in moments), default=1)
    scale = even([most], Y_TICKS)
    whole = tuple(tick for tick in scale.ticks if tick == int(tick))
    x = times.axis(report.trace.duration_seconds, X_TICKS)
    y = Axis(low=scale.low, high=scale.high, ticks=whole)
    parts = list(_key())
    bottom = float(TOP)
    for run in report.runs:
        field = Field(x=x, y=y, top=bottom + NAME_HEIGHT, height=HEIGHT)
        parts += _panel(run, field)
        bottom = field.bottom + GAP
    parts += Field(x=x, y=y, top=bottom - GAP, height=0).floor("time of the trace", times.span)
    yield from sheet("Replicas asked for and ready over time", bottom + BOTTOM, parts)


def replicas_table(report: Report) -> Table:
    headings = ["RUN", "LEAST", "MEAN", "MOST", "RAISED", "LOWERED", "FEWER READY THAN ASKED %"]
    return headings, [_row(run) for run in report.runs]


def _row(run: Run) -> list[str]:
    asked = [moment.asked for moment in run.result.trajectory] or [0]
    raised = sum(found.after > found.before for found in run.result.decisions)
    lowered = len(run.result.decisions) - raised
    end = run.result.duration_seconds
    short = sum(seconds for moment, seconds in run.held if moment.ready < moment.asked)
    return [
        run.name,
        str(min(asked)),
        plain(run.mean_replicas),
        str(max(asked)),
        str(raised),
        str(lowered),
        f"{100 * short / end:.1f}" if end else "0.0",
    ]


def _panel(run: Run, field: Field) -> Iterator[str]:
    end = field.x.high
    yield shapes.text(LEFT, field.top - 6, run.name, "name")
    yield from field.rows()
    moments = [moment for moment, _ in run.held]
    ready = steps.corners([(moment.time_seconds, moment.ready) for moment in moments], end)
    asked = steps.corners([(moment.time_seconds, moment.asked) for moment in moments], end)
    if moments:
        yield steps.area(field, ready, "ready")
        yield steps.edge(field, ready, "ready-edge")
        yield steps.edge(field, asked, "asked")
    yield shapes.line(*field.at(0, 0), *field.at(end, 0), "axis")


def _key() -> Iterator[str]:
    y = TOP - 18.0
    yield f'<rect class="ready" x="{LEFT}" y="{y - 9}" width="22" height="11"/>'
    yield shapes.line(LEFT, y - 9, LEFT + 22, y - 9, "ready-edge")
    yield shapes.text(LEFT + 28, y, "ready")
    yield shapes.line(LEFT + 80, y - 4, LEFT + 102, y - 4, "asked")
    yield shapes.text(LEFT + 108, y, "asked for")
