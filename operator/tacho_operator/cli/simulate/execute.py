"""Runs each policy on the trace and shows what came of it."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tacho_contract.units import counted
from tacho_operator.cli.output.formats import TraceFormat, say
from tacho_operator.cli.output.problems import EXIT_FITS, CommandError
from tacho_operator.cli.simulate.entries import measured
from tacho_operator.cli.simulate.faults import faults, missed, within
from tacho_operator.cli.simulate.report.nouns import Report, Run
from tacho_operator.cli.simulate.show import show
from tacho_operator.cli.simulate.subject import Given, Laws, Subject, subject
from tacho_operator.cli.simulate.variants import Variant, asks_quantization, variants
from tacho_operator.simulate.policies import POLICIES, static
from tacho_operator.simulate.policy import Factory, Setting
from tacho_operator.simulate.result import Result
from tacho_operator.simulate.run import simulate
from tacho_operator.simulate.trace import Trace, TraceError, read_trace

DEFAULT = ("tacho", "oracle")
"""What there is, and what could be had at best. Where settings vary, the first alone."""
ALL = "all"


MOST_RUNS = 200
"""Of one report: more are not read by anybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the options say."""

    trace: str
    given: Given
    policies: tuple[str, ...]
    seed: int
    output: TraceFormat
    files: tuple[str, ...] = ()
    measurements: tuple[str, ...] = ()
    what_if: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    decided: bool = False


def execute(order: Order) -> int:
    """The exit code."""
    asked_faults = faults(order.faults)
    named = (order.files, order.measurements)
    found = measured(*named, order.given.name) if asks_quantization(order.what_if) else ()
    varied = variants(order.given, *named, order.what_if, found)
    named_policies = [name.strip() for text in order.policies for name in text.split(",")]
    names = named_policies or (DEFAULT[:1] if varied[1:] else DEFAULT)
    trace, laws = _trace(order.trace), Laws()
    within(order.faults, trace)
    asked = [(variant, subject(variant.given, laws)) for variant in varied]
    planned = [
        (variant, about, own)
        for variant, about in asked
        for own in {own.name: own for own in _asked(names, about)}.values()
    ]
    if len(planned) > MOST_RUNS:
        raise CommandError(f"these are {len(planned)} runs; at most {MOST_RUNS} at a time")
    alone = len({own.name for _, _, own in planned}) == 1
    remarks = dict.fromkeys(remark for _, about in asked for remark in about.remarks)
    for remark in remarks:
        say(remark)
    runs = []
    for variant, about, own in planned:
        name = ", ".join(part for part in ("" if alone and variant.name else own.name, variant.name) if part)
        say(f"{name}: {counted(len(trace), 'request')}")
        wrong = dataclasses.replace(asked_faults, cold_start_seconds=about.starts_seconds)
        result = simulate(trace, own.setting, own.factory, seed=order.seed, faults=wrong)
        runs.append(_run(name, variant, about, result, order.faults))
        for remark in missed(result):
            said = f"{name}: {remark}"
            say(said)
            remarks[said] = None
    currencies = {about.currency for _, about in asked if about.price_per_gpu_hour is not None}
    if len(currencies) > 1:
        raise CommandError(f"prices in {' and '.join(sorted(currencies))} cannot be compared")
    report = Report(
        title=f"tacho simulate: {trace.name}",
        trace=trace,
        runs=tuple(runs),
        currency=next(iter(currencies), ""),
        remarks=tuple(remarks),
    )
    show(report, order.output, decided=order.decided)
    return EXIT_FITS


def _run(name: str, variant: Variant, about: Subject, result: Result, wrong: tuple[str, ...]) -> Run:
    return Run(
        name=name,
        result=result,
        slo=about.slo,
        variant=variant.said,
        settings={**about.settings, "faults": list(wrong), "seed": result.seed},
        gpus_per_replica=about.gpus_per_replica,
        price_per_gpu_hour=about.price_per_gpu_hour,
    )


def _trace(file: str) -> Trace:
    try:
        return read_trace(file)
    except TraceError as error:
        raise CommandError(str(error)) from None


@dataclass(frozen=True, slots=True)
class Asked:
    """A way of scaling, and the setting that it runs in."""

    name: str
    factory: Factory
    setting: Setting


def _asked(names: Iterable[str], about: Subject) -> Iterator[Asked]:
    """Raises CommandError for one that is not known."""
    known: dict[str, Factory] = {**POLICIES, "tacho": about.tacho}
    for name in names:
        fixed = re.fullmatch(r"static-([1-9]\d{0,2})", name)
        if name == ALL:
            yield from (Asked(each, factory, about.setting) for each, factory in known.items())
        elif fixed:
            count = int(fixed[1])
            least, most = min(count, about.setting.least), max(count, about.setting.most)
            setting = dataclasses.replace(about.setting, initial=count, least=least, most=most)
            yield Asked(name, static.make, setting)
        elif name in known:
            yield Asked(name, known[name], about.setting)
        else:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            one_of = f"  -> one of: {', '.join(known)}, static-N, all"
            raise CommandError(f"--policy {name}: not known{meant}", one_of)
