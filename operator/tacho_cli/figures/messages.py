"""Describes a measurement in sentences and as a table, for the terminal and for pages."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from tacho_cli.figures.digits import estimate, measured, plain
from tacho_cli.figures.read import MeasurementView, flags_of, moved
from tacho_cli.output import grid
from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import INVALIDATING, Capacity, CurvePoint, Quality, SingleStream
from tacho_contract.units import counted
from tacho_operator.api.status.measurement import AgainstPlan, Latency, MeasurementHistory

FLAGS = {
    "AboveRoofline": "faster than the GPU can be: see the message",
    "BudgetExhausted": "the time ran out before everything was measured",
    "CacheHit": "the engine answered prompts from its cache",
    "ClientBound": "the load generator was the limit; the engine may do more",
    "Contended": "another process used the CPUs or the GPU",
    "FrontendBound": "the engine's HTTP server was the limit, not the model",
    "Incomplete": "levels are missing",
    "LongOutput": "answers had more tokens than were asked for",
    "LowEfficiency": "one stream uses less than 40 % of the memory's bandwidth",
    "NotSteady": "the throughput was still changing when it was measured",
    "OtherInput": "the engine counted other prompts than were sent",
    "OtherTraffic": "the engine answered other requests",
    "SharedGPU": "another process held memory of the GPU when the engine started",
    "ShortOutput": "answers ended before the requested length",
    "Throttled": "clocks or CPU time were limited",
}
PROVISIONAL = "~ marks a provisional figure: something else than the engine changed it. It is measured again."


def slo_message(slo: ServiceLevel) -> str:
    """The SLO as text: ``TTFT ≤ 500 ms and TPOT ≤ 50 ms for 95 of 100 requests``; "" without a target."""
    bounds = {"TTFT": slo.ttft_milliseconds, "TPOT": slo.tpot_milliseconds}
    targets = [f"{name} ≤ {bound} ms" for name, bound in bounds.items() if bound]
    return f"{' and '.join(targets)} for {slo.percentile} of 100 requests" if targets else ""


def headline(found: MeasurementView) -> str:
    """Request lengths, duration, time and state of the measurement, in one line."""
    entry, parts = found.entry, []
    if entry.workload is not None:
        parts.append(f"{entry.workload.input_tokens} tokens in, {entry.workload.output_tokens} out")
    if entry.probe_seconds is not None:
        parts.append(f"measured in {entry.probe_seconds} s")
    if entry.observed_time:
        parts.append(entry.observed_time)
    return ", ".join([*parts, entry.state.lower()]) if entry.state else ", ".join(parts)


def sentences(found: MeasurementView) -> list[tuple[str, str]]:
    """The results of a measurement as pairs (label, sentence), the most interesting first."""
    rows = []
    if found.single and found.single.decode_tokens_per_second is not None:
        rows.append(("one stream", _single_message(found.single, provisional=found.provisional)))
    if found.capacity:
        rows.append(("capacity", capacity_message(found, found.capacity)))
    highest = found.entry.saturation
    rate = (highest.output_tokens_per_second if highest else None) or 0.0
    if highest and highest.concurrency is not None and rate > _capacity_rate(found):
        at = next((point for point in found.points if point.concurrency == highest.concurrency), None)
        doubted = found.doubts(at) if at else found.provisional
        most = measured(rate, at.ci_percent if at else None, provisional=doubted)
        rows.append(
            ("at most", f"{most} tok/s with {counted(highest.concurrency, 'stream')}, whatever the latency")
        )
    if found.arrivals:
        rows.append(("arrivals", _arrivals_message(found, found.arrivals)))
    if found.entry.against_plan:
        rows.append(("plan", _against_plan_message(found.entry.against_plan)))
    if found.quality:
        rows.append(("quality", _quality_message(found.quality)))
    if found.history:
        rows.append(("runs", _history_message(found.history)))
    return rows


def _capacity_rate(found: MeasurementView) -> float:
    """Tokens per second at the capacity."""
    return (found.capacity.output_tokens_per_second if found.capacity else None) or 0.0


def _single_message(single: SingleStream, *, provisional: bool) -> str:
    rate = measured(single.decode_tokens_per_second, single.decode_ci_percent, provisional=provisional)
    content = f"{rate} tok/s"
    content += _first_token(
        single.ttft_milliseconds_p50, single.ttft_milliseconds_p95, provisional=provisional
    )
    if single.prefill_tokens_per_second is not None:
        content += f", prompts at {estimate(single.prefill_tokens_per_second, provisional=provisional)} tok/s"
    if single.stalls:
        often = "once" if single.stalls == 1 else f"{single.stalls} times"
        share = f", {single.stalled_percent:.2g} % of the time" if single.stalled_percent else ""
        content += f"; stalled {often}{share}, excluded from the rate"
    return content


def _against_plan_message(found: AgainstPlan) -> str:
    """A sentence with the measured rates in percent of the plan's."""
    shares = {
        "with one stream": found.decode_percent,
        "at the planned concurrency": found.output_percent,
        "at capacity": found.capacity_percent,
    }
    clauses = [f"{share:.0f} % {name}" for name, share in shares.items() if share is not None]
    return f"of the plan's expectation: {', '.join(clauses)}"


def _first_token(median: float | None, late: float | None, *, provisional: bool) -> str:
    if median is None:
        return ""
    within = f" (95 of 100 within {estimate(late, provisional=provisional)} ms)" if late is not None else ""
    return f", first token after {estimate(median, provisional=provisional)} ms{within}"


def _arrivals_message(found: MeasurementView, arrivals: Latency) -> str:
    provisional = found.provisional
    rate = estimate(arrivals.offered_requests_per_second, provisional=provisional)
    content = f"{rate} requests/s in an open loop"
    content += _first_token(
        arrivals.ttft_milliseconds_p50, arrivals.ttft_milliseconds_p95, provisional=provisional
    )
    met = found.entry.goodput
    if met and met.compliance_percent is not None:
        least = met.compliance_percent_lower95
        bound = f" (at least {least:.3g} %, with 95 % confidence)" if least is not None else ""
        content += f"; {met.compliance_percent:.4g} % met the SLO{bound}"
    return content


def _quality_message(found: Quality) -> str:
    tokens = f"{found.tokens} tokens of " if found.tokens else ""
    return f"perplexity {plain(found.perplexity)} over {tokens}{found.text or 'a text'}"


def _history_message(found: MeasurementHistory) -> str:
    content = f"{found.agreeing_runs or 0} of {found.clean_runs} clean runs agree with it"
    if found.spread_percent is None:
        return content
    return f"{content}; from the slowest to the fastest {found.spread_percent:.2g} % of their mean"


def capacity_message(found: MeasurementView, capacity: Capacity) -> str:
    """A sentence on the maximum sustainable load of one replica, and on results beyond that load."""
    slo = slo_message(found.slo)
    if capacity.boundary == "NeverMet":
        return f"one stream already misses the SLO ({slo})" if slo else "one stream already misses the SLO"
    rate = measured(capacity.output_tokens_per_second, capacity.ci_percent, provisional=found.provisional)
    requests = estimate(capacity.requests_per_second, capacity.ci_percent, provisional=found.provisional)
    speed = ", ".join(
        [
            f"{rate} tok/s" if rate else "unknown throughput",
            *([f"{requests} requests/s"] if requests else []),
        ]
    )
    streams = counted(capacity.concurrency or 0, "stream")
    if capacity.basis == "SLO":
        least = "at least " if capacity.boundary == "Floor" else ""
        return (
            f"carries {least}{streams} at the SLO{_beyond(found, capacity)}: {speed}"
            f"{_checked(found, capacity)}" + (f" ({slo})" if slo else "")
        )
    brings = "brings" if capacity.concurrency == 1 else "bring"
    return f"{streams} {brings} {speed}{_beyond(found, capacity)}"


def _beyond(found: MeasurementView, capacity: Capacity) -> str:
    higher = [point for point in found.points if point.concurrency > (capacity.concurrency or 0)]
    above = [point.concurrency for point in higher]
    broken = [point.concurrency for point in higher if point.slo_met is False]
    match capacity.boundary:
        case "Edge" if broken:
            return f"; {broken[0]} miss it"
        case "Edge":
            return "; a few more miss it"
        case "Plateau":
            return f"; {above[0]} add little throughput" if above else "; more add little throughput"
        case "Floor" if broken:
            return f"; {broken[0]} miss it; the levels between were not measured"
        case "Floor":
            return "; no higher level has a figure" if not above else "; higher levels are not known"
    return ""


def _checked(found: MeasurementView, capacity: Capacity) -> str:
    """A clause on whether open-loop requests at the capacity met the SLO; "" where that was not measured."""
    arrivals = found.arrivals
    met = found.entry.goodput
    if capacity.verified is None and (arrivals is None or met is None or met.compliance_percent is None):
        return ""
    outcome = {True: "met it too", False: "missed it", None: "were too few to judge"}[capacity.verified]
    share = _share(arrivals, capacity) if arrivals else ""
    return f"; open-loop requests{share} {outcome}"


def _share(arrivals: Latency, capacity: Capacity) -> str:
    """A clause with the arrival rate of the open loop as a share of the capacity's rate, which is reduced if
    the first attempt failed.
    """
    if not (arrivals.offered_requests_per_second and capacity.requests_per_second):
        return ""
    return f", at {arrivals.offered_requests_per_second / capacity.requests_per_second:.2f} of that rate,"


def notes(found: MeasurementView, shown_message: str = "") -> Iterator[str]:
    """Notes on a measurement: the mark of provisional values, each flag, and the message by its clauses,
    unless it is part of ``shown_message``."""
    if found.provisional or any(map(moved, found.points)):
        yield PROVISIONAL
    for flag in found.flags:
        kind = "" if flag not in INVALIDATING else " (provisional)"
        yield f"{flag}{kind}: {FLAGS.get(flag, 'not known to this version')}."
    message = found.entry.message or ""
    if message and message.rstrip(".") not in shown_message:
        yield from (f"- {clause}" for clause in dict.fromkeys(message.split("; ")))


NONE = "-"
"""Text of an empty cell: too few requests for the percentile, or no target is set."""


def table(found: MeasurementView) -> tuple[list[str], list[list[str]]]:
    """(headings, rows) of a measurement's levels; the capacity's row is marked.

    Columns of SLO and flags only where some level has them.
    """
    points = found.points
    rates = [
        measured(point.output_tokens_per_second, point.ci_percent, provisional=found.doubts(point))
        for point in points
    ]
    columns = [
        ("STREAMS", _streams(found)),
        ("TOK/S", rates),
        ("TTFT P50 MS", [_time(found, point, point.ttft_milliseconds_p50) for point in points]),
        ("P95 MS", [_time(found, point, point.ttft_milliseconds_p95) for point in points]),
        ("TPOT P50 MS", [_time(found, point, point.tpot_milliseconds_p50) for point in points]),
        ("P95 MS", [_time(found, point, point.tpot_milliseconds_p95) for point in points]),
        ("REQUESTS", [NONE if point.requests is None else str(point.requests) for point in points]),
    ]
    if any(point.slo_met is not None for point in points):
        words = {True: "met", False: "broken", None: NONE}
        columns.append(("SLO", [words[point.slo_met] for point in points]))
    if any(map(flags_of, points)):
        columns.append(("FLAGS", [", ".join(flags_of(point)) for point in points]))
    rows = zip(*(cells for _, cells in columns), strict=True)
    return [heading for heading, _ in columns], [list(row) for row in rows]


def _streams(found: MeasurementView) -> list[str]:
    at = found.capacity.concurrency if found.capacity else None
    return [("* " if point.concurrency == at else "") + str(point.concurrency) for point in found.points]


def _time(found: MeasurementView, point: CurvePoint, milliseconds: float | None) -> str:
    return NONE if milliseconds is None else estimate(milliseconds, provisional=found.doubts(point))


def show_figures(
    screen: Console, found: MeasurementView, *, picture: str = "", shown_message: str = ""
) -> None:
    """Prints a measurement: headline, ``picture`` (the curve as text), levels and notes. ``shown_message``:
    text that is already on the screen and is not repeated."""
    screen.print(Text(f"Measured: {headline(found)}", style="bold"))
    if rows := sentences(found):
        screen.print(grid(("", ""), rows, wrap=("",)))
    if picture:
        screen.print()
        screen.print(Text(picture, no_wrap=True, overflow="crop"))
    if found.points:
        screen.print()
        headings, levels = table(found)
        screen.print(grid(headings, levels, right=set(headings) - {"FLAGS", "SLO"}, wrap=("FLAGS",)))
    for line in notes(found, shown_message):
        screen.print(Text(line))
