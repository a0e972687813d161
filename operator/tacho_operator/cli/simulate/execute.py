"""Runs each policy on the trace and shows what came of it."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tacho_operator.cli.output.formats import TraceFormat, say
from tacho_operator.cli.output.problems import EXIT_FITS, CommandError
from tacho_operator.cli.simulate.show import Outcome, show
from tacho_operator.cli.simulate.subject import Given, Subject, subject
from tacho_operator.simulate.policies import POLICIES, static
from tacho_operator.simulate.policy import Factory, Setting
from tacho_operator.simulate.run import simulate
from tacho_operator.simulate.trace import Trace, TraceError, read_trace

DEFAULT = ("tacho", "oracle")
"""What there is, and what could be had at best."""
ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the options say."""

    trace: str
    given: Given
    policies: tuple[str, ...]
    seed: int
    output: TraceFormat


def execute(order: Order) -> int:
    """The exit code."""
    trace, about = _trace(order.trace), subject(order.given)
    asked = {name: (factory, setting) for name, factory, setting in _asked(order.policies or DEFAULT, about)}
    for remark in about.remarks:
        say(remark)
    results = []
    for name, (factory, setting) in asked.items():
        say(f"{name}: {len(trace)} requests")
        results.append(simulate(trace, setting, factory, seed=order.seed))
    show(Outcome(trace=trace, about=about, seed=order.seed, results=tuple(results)), order.output)
    return EXIT_FITS


def _trace(file: str) -> Trace:
    try:
        return read_trace(file)
    except TraceError as error:
        raise CommandError(str(error)) from None


def _asked(names: Iterable[str], about: Subject) -> Iterator[tuple[str, Factory, Setting]]:
    """Raises CommandError for one that is not known."""
    known: dict[str, Factory] = {**POLICIES, "tacho": about.tacho}
    for name in names:
        fixed = re.fullmatch(r"static-([1-9]\d{0,2})", name)
        if name == ALL:
            yield from ((each, factory, about.setting) for each, factory in known.items())
        elif fixed:
            count = int(fixed[1])
            least, most = min(count, about.setting.least), max(count, about.setting.most)
            setting = dataclasses.replace(about.setting, initial=count, least=least, most=most)
            yield name, static.make, setting
        elif name in known:
            yield name, known[name], about.setting
        else:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            one_of = f"  -> one of: {', '.join(known)}, static-N, all"
            raise CommandError(f"--policy {name}: not known{meant}", one_of)
