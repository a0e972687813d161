"""What the figures say, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import INVALIDATING
from tacho_contract.units import counted
from tacho_operator.cli.figures.digits import estimate, measured, plain
from tacho_operator.cli.figures.read import Arrivals, Capacity, Figures, History, Quality, SingleStream

FLAGS = {
    "AboveRoofline": "faster than the memory of the GPU: its label is wrong, or tokens came from elsewhere",
    "BudgetExhausted": "the time ran out before everything was measured",
    "CacheHit": "the engine answered prompts from its cache",
    "ClientBound": "the asking side was the limit, so the engine may do more",
    "Contended": "something else used the CPUs or the GPU meanwhile",
    "FrontendBound": "the engine's HTTP server was the limit, not the model",
    "Incomplete": "levels are missing",
    "LowEfficiency": "one stream uses less than 40 % of the memory's bandwidth",
    "NotSteady": "the throughput was still changing when it was read",
    "OtherTraffic": "the engine answered others meanwhile",
    "SharedGPU": "somebody else had memory of the GPU when the engine started",
    "ShortOutput": "answers ended before the length that was asked for",
    "Throttled": "clocks or CPU time were held down meanwhile",
}
PROVISIONAL = (
    "~ marks what something other than the engine moved: provisional, not to be compared, measured again."
)


def slo_words(slo: ServiceLevel) -> str:
    """``TTFT ≤ 500 ms and TPOT ≤ 50 ms for 95 of 100 requests``; "" where nothing was asked."""
    bounds = {"TTFT": slo.ttft_milliseconds, "TPOT": slo.tpot_milliseconds}
    asked = [f"{name} ≤ {bound} ms" for name, bound in bounds.items() if bound]
    return f"{' and '.join(asked)} for {slo.percentile} of 100 requests" if asked else ""


def headline(found: Figures) -> str:
    """What was asked of the engine, when, and how that ended."""
    parts = []
    if found.input_tokens is not None and found.output_tokens is not None:
        parts.append(f"{found.input_tokens} tokens in, {found.output_tokens} out")
    if found.probe_seconds is not None:
        parts.append(f"measured in {found.probe_seconds} s")
    if found.observed_time:
        parts.append(found.observed_time)
    return ", ".join([*parts, found.state.lower()]) if found.state else ", ".join(parts)


def sentences(found: Figures) -> list[tuple[str, str]]:
    """(what, in words), in the order of interest."""
    rows = []
    if found.single and found.single.tokens_per_second is not None:
        rows.append(("one stream", _single_words(found.single, provisional=found.provisional)))
    if found.capacity:
        rows.append(("capacity", capacity_words(found, found.capacity)))
    if found.saturation and found.saturation[1] > _carried(found):
        streams, rate = found.saturation
        at = next((point for point in found.points if point.concurrency == streams), None)
        doubted = found.doubts(at) if at else found.provisional
        most = measured(rate, at.ci_percent if at else None, provisional=doubted)
        rows.append(("at most", f"{most} tok/s with {_streams(streams)}, whatever the latency"))
    if found.arrivals:
        rows.append(("arrivals", _arrivals_words(found.arrivals, provisional=found.provisional)))
    if found.quality:
        rows.append(("quality", _quality_words(found.quality)))
    if found.history:
        rows.append(("runs", _history_words(found.history)))
    return rows


def _carried(found: Figures) -> float:
    """Tokens per second at the capacity."""
    return (found.capacity.tokens_per_second if found.capacity else None) or 0.0


def _single_words(single: SingleStream, *, provisional: bool) -> str:
    words = f"{measured(single.tokens_per_second, single.ci_percent, provisional=provisional)} tok/s"
    words += _first_token(single.ttft_p50, single.ttft_p95, provisional=provisional)
    if single.prefill_tokens_per_second is not None:
        words += f", prompts at {estimate(single.prefill_tokens_per_second, provisional=provisional)} tok/s"
    if single.stalls:
        often = "once" if single.stalls == 1 else f"{single.stalls} times"
        share = f", {single.stalled_percent:.2g} % of the time" if single.stalled_percent else ""
        words += f"; it stalled {often}{share}, which is left out of the rate"
    return words


def _first_token(median: float | None, late: float | None, *, provisional: bool) -> str:
    if median is None:
        return ""
    within = f" (95 of 100 within {estimate(late, provisional=provisional)} ms)" if late is not None else ""
    return f", first token after {estimate(median, provisional=provisional)} ms{within}"


def _arrivals_words(found: Arrivals, *, provisional: bool) -> str:
    rate = estimate(found.requests_per_second, provisional=provisional)
    words = f"{rate} requests/s at times of their own"
    words += _first_token(found.ttft_p50, found.ttft_p95, provisional=provisional)
    if found.kept_percent is not None:
        least = found.least_kept_percent
        bound = f" (at least {least:.3g} %, with 95 % confidence)" if least is not None else ""
        words += f"; {found.kept_percent:.4g} % kept the SLO{bound}"
    return words


def _quality_words(found: Quality) -> str:
    tokens = f"{found.tokens} tokens of " if found.tokens is not None else ""
    return f"perplexity {plain(found.perplexity)} over {tokens}{found.text or 'a text'}"


def _history_words(found: History) -> str:
    words = f"{found.agreeing_runs} of {found.clean_runs} clean runs agree with it"
    if found.spread_percent is None:
        return words
    return f"{words}; from the slowest to the fastest {found.spread_percent:.2g} % of their mean"


def capacity_words(found: Figures, capacity: Capacity) -> str:
    """How far one replica goes, and what is known of what lies beyond."""
    slo = slo_words(found.slo)
    if capacity.boundary == "NeverMet":
        return f"one stream breaks the SLO already ({slo})" if slo else "one stream breaks the SLO already"
    rate = measured(capacity.tokens_per_second, capacity.ci_percent, provisional=found.provisional)
    requests = estimate(capacity.requests_per_second, capacity.ci_percent, provisional=found.provisional)
    speed = ", ".join([f"{rate} tok/s", *([f"{requests} requests/s"] if requests else [])])
    streams = _streams(capacity.concurrency)
    if capacity.basis == "SLO":
        least = "at least " if capacity.boundary == "Floor" else ""
        return (
            f"carries {least}{streams} at the SLO{_beyond(found, capacity)}: {speed}"
            f"{_checked(found, capacity)}" + (f" ({slo})" if slo else "")
        )
    brings = "brings" if capacity.concurrency == 1 else "bring"
    return f"{streams} {brings} {speed}{_beyond(found, capacity)}"


def _beyond(found: Figures, capacity: Capacity) -> str:
    above = [point.concurrency for point in found.points if point.concurrency > capacity.concurrency]
    broken = [
        point.concurrency
        for point in found.points
        if point.concurrency > capacity.concurrency and point.slo_met is False
    ]
    match capacity.boundary:
        case "Edge" if broken:
            return f"; {broken[0]} break it"
        case "Edge":
            return "; a few more break it"
        case "Plateau":
            return f"; {above[0]} bring hardly more" if above else "; more bring hardly more"
        case "Floor" if broken:
            return f"; {broken[0]} break it, and what lies between was not tried"
        case "Floor":
            return "; nothing above gave a figure" if not above else "; what lies above is not known"
    return ""


def _checked(found: Figures, capacity: Capacity) -> str:
    """Nothing where that was not tried."""
    arrivals = found.arrivals
    if capacity.verified is None and (arrivals is None or arrivals.kept_percent is None):
        return ""
    outcome = {True: "kept it too", False: "broke it", None: "were too few to tell"}[capacity.verified]
    share = _share(arrivals, capacity) if arrivals else ""
    return f"; requests that arrived by themselves{share} {outcome}"


def _share(arrivals: Arrivals, capacity: Capacity) -> str:
    """Of the capacity's rate; a lower one than at first where that was too much."""
    if not (arrivals.requests_per_second and capacity.requests_per_second):
        return ""
    return f", at {arrivals.requests_per_second / capacity.requests_per_second:.2f} of that rate,"


def notes(found: Figures, said: str = "") -> Iterator[str]:
    """What has to be known to read the figures: the mark, each flag, and the message by its clauses, unless
    it is among what is ``said`` already."""
    if found.provisional or any(point.provisional for point in found.points):
        yield PROVISIONAL
    for flag in found.why:
        kind = "" if flag not in INVALIDATING else " (provisional)"
        yield f"{flag}{kind}: {FLAGS.get(flag, 'not known to this version')}."
    if found.message and found.message.rstrip(".") not in said:
        yield from (f"- {clause}" for clause in dict.fromkeys(found.message.split("; ")))


def _streams(count: int) -> str:
    return counted(count, "stream")
