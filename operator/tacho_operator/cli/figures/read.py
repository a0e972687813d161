"""An entry of ``status.measurements`` as numbers, with what may be believed of each. Pure.

Read from the wire and not from this version's model: a cluster may run another version, and a field that it
does not have is a figure that is not shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import INVALIDATING

Wire = Mapping[str, Any]
MOST = 1e15
"""Nothing that was measured is beyond it, in any unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One closed-loop level. Times in milliseconds; None is not known or does not rest on enough requests."""

    concurrency: int
    tokens_per_second: float
    ci_percent: float | None = None
    requests_per_second: float | None = None
    requests: int | None = None
    ttft_p50: float | None = None
    ttft_p95: float | None = None
    tpot_p50: float | None = None
    tpot_p95: float | None = None
    end_to_end_p50: float | None = None
    slo_met: bool | None = None
    steady: bool = True
    flags: tuple[str, ...] = ()

    @property
    def provisional(self) -> bool:
        """Something other than the engine moved it."""
        return not self.steady or bool(INVALIDATING & set(self.flags))

    @property
    def why(self) -> tuple[str, ...]:
        """The flags that are to be explained."""
        return tuple(sorted({*self.flags, *([] if self.steady else ["NotSteady"])}))


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleStream:
    tokens_per_second: float | None = None
    ci_percent: float | None = None
    requests: int | None = None
    ttft_p50: float | None = None
    ttft_p95: float | None = None
    prefill_tokens_per_second: float | None = None
    stalls: int = 0
    stalled_percent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    concurrency: int
    tokens_per_second: float | None = None
    ci_percent: float | None = None
    requests_per_second: float | None = None
    boundary: str = ""
    basis: str = ""
    verified: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """Requests that were sent at a rate of their own."""

    requests_per_second: float
    ttft_p50: float | None = None
    ttft_p95: float | None = None
    kept_percent: float | None = None
    """Of them, those that kept the SLO."""
    least_kept_percent: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How well the model foresees a text; less perplexity is better."""

    perplexity: float
    tokens: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How far clean runs of the same fingerprint agree, this one among them."""

    clean_runs: int
    agreeing_runs: int
    spread_percent: float | None = None
    """From the lowest throughput to the highest, in percent of their mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One measurement."""

    state: str = ""
    message: str = ""
    observed_time: str = ""
    probe_seconds: int | None = None
    engine: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    single: SingleStream | None = None
    capacity: Capacity | None = None
    saturation: tuple[int, float] | None = None
    """(streams, tokens per second) of the steady level with the highest throughput."""
    arrivals: Arrivals | None = None
    quality: Quality | None = None
    history: History | None = None
    points: tuple[Point, ...] = ()
    """By rising concurrency."""
    flags: tuple[str, ...] = ()
    slo: ServiceLevel = ServiceLevel()
    """What was asked for; zeros where nothing was."""

    @property
    def provisional(self) -> bool:
        """Something other than the engine moved the figures."""
        return bool(INVALIDATING & set(self.flags))

    def doubts(self, point: Point) -> bool:
        """Whether one level is provisional: what moved the whole may have moved any of them."""
        return point.provisional or self.provisional

    @property
    def why(self) -> tuple[str, ...]:
        """Every flag, of the whole and of its levels, once."""
        return tuple(sorted({*self.flags, *(flag for point in self.points for flag in point.why)}))


def figures(entry: Wire, slo: ServiceLevel) -> Figures:
    """``entry``: one of ``status.measurements``. ``slo``: what its ``spec.slo`` asks for."""
    workload: Wire = entry.get("workload") or {}
    saturation: Wire = entry.get("saturation") or {}
    most = _number(saturation, "outputTokensPerSecond")
    return Figures(
        state=entry.get("state", ""),
        message=entry.get("message", ""),
        observed_time=entry.get("observedTime", ""),
        probe_seconds=entry.get("probeSeconds"),
        engine=entry.get("engine", ""),
        input_tokens=workload.get("inputTokens"),
        output_tokens=workload.get("outputTokens"),
        single=_single(entry.get("singleStream") or {}),
        capacity=_capacity(entry.get("capacity") or {}),
        saturation=(saturation["concurrency"], most) if most and "concurrency" in saturation else None,
        arrivals=_arrivals(entry.get("latency") or {}, entry.get("goodput") or {}),
        quality=_quality(entry.get("quality") or {}),
        history=_history(entry.get("history") or {}),
        points=tuple(
            sorted(
                (point for item in entry.get("curve") or () if (point := _point(item))),
                key=lambda point: point.concurrency,
            )
        ),
        flags=tuple(entry.get("flags") or ()),
        slo=slo,
    )


def _number(found: Wire, key: str) -> float | None:
    """Decimals are strings on the wire; what is no number, or none of this world, is not known."""
    try:
        value = float(found[key])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return value if abs(value) <= MOST else None


def _single(found: Wire) -> SingleStream | None:
    if not found:
        return None
    return SingleStream(
        tokens_per_second=_number(found, "decodeTokensPerSecond"),
        ci_percent=_number(found, "decodeCiPercent"),
        requests=found.get("requests"),
        ttft_p50=_number(found, "ttftMillisecondsP50"),
        ttft_p95=_number(found, "ttftMillisecondsP95"),
        prefill_tokens_per_second=_number(found, "prefillTokensPerSecond"),
        stalls=found.get("stalls", 0),
        stalled_percent=_number(found, "stalledPercent"),
    )


def _capacity(found: Wire) -> Capacity | None:
    if "concurrency" not in found:
        return None
    return Capacity(
        concurrency=found["concurrency"],
        tokens_per_second=_number(found, "outputTokensPerSecond"),
        ci_percent=_number(found, "ciPercent"),
        requests_per_second=_number(found, "requestsPerSecond"),
        boundary=found.get("boundary", ""),
        basis=found.get("basis", ""),
        verified=found.get("verified"),
    )


def _arrivals(latency: Wire, goodput: Wire) -> Arrivals | None:
    rate = _number(latency, "offeredRequestsPerSecond")
    if not latency.get("openLoop") or rate is None:
        return None
    return Arrivals(
        requests_per_second=rate,
        ttft_p50=_number(latency, "ttftMillisecondsP50"),
        ttft_p95=_number(latency, "ttftMillisecondsP95"),
        kept_percent=_number(goodput, "compliancePercent"),
        least_kept_percent=_number(goodput, "compliancePercentLower95"),
    )


def _quality(found: Wire) -> Quality | None:
    perplexity = _number(found, "perplexity")
    if perplexity is None:
        return None
    return Quality(perplexity=perplexity, tokens=found.get("tokens"), text=found.get("text", ""))


def _history(found: Wire) -> History | None:
    """None of one run: it agrees with itself."""
    runs = found.get("cleanRuns") or 0
    if runs < 2:
        return None
    return History(
        clean_runs=runs,
        agreeing_runs=found.get("agreeingRuns") or 0,
        spread_percent=_number(found, "spreadPercent"),
    )


def _point(found: Wire) -> Point | None:
    """None without a throughput: there is nothing to show."""
    rate = _number(found, "outputTokensPerSecond")
    if rate is None:
        return None
    return Point(
        concurrency=found["concurrency"],
        tokens_per_second=rate,
        ci_percent=_number(found, "ciPercent"),
        requests_per_second=_number(found, "requestsPerSecond"),
        requests=found.get("requests"),
        ttft_p50=_number(found, "ttftMillisecondsP50"),
        ttft_p95=_number(found, "ttftMillisecondsP95"),
        tpot_p50=_number(found, "tpotMillisecondsP50"),
        tpot_p95=_number(found, "tpotMillisecondsP95"),
        end_to_end_p50=_number(found, "endToEndMillisecondsP50"),
        slo_met=found.get("sloMet"),
        steady=found.get("steady", True),
        flags=tuple(found.get("flags") or ()),
    )
