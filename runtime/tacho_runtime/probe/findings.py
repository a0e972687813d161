"""What a probe has found so far, so that one that is cut still has it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tacho_contract.measurement import Quality
from tacho_runtime.probe.asking.counters import Counters
from tacho_runtime.probe.asking.prompts import CHANCE_TOKENS
from tacho_runtime.probe.asking.streams import Stream
from tacho_runtime.probe.gaps import Decode
from tacho_runtime.probe.knee import Tried
from tacho_runtime.probe.levels import LevelResult
from tacho_runtime.probe.openloop import OpenResult
from tacho_runtime.probe.ports import Trace
from tacho_runtime.probe.search import Shape


class Prompt(NamedTuple):
    """A request sent alone with one token of output."""

    tokens: float
    milliseconds: float


@dataclass(slots=True)
class Findings:
    shape: Shape | None = None
    cold_first_request_milliseconds: float | None = None
    single: tuple[Stream, ...] = ()
    single_flags: tuple[str, ...] | None = None
    """None: its attempt has not ended."""
    single_loss_percent: float = 0.0
    """What it may have lost to others, too little to make it provisional."""
    drift_percent: float = 0.0
    """By how much one stream's rate at other moments of the probe differed from that of the beginning, where
    that is more than chance and too little to make it provisional: another minute differs as much."""
    looks: list[Decode] = field(default_factory=list)
    """One stream between levels, undisturbed."""
    looks_begun: int = 0
    stood: str = ""
    """How often it stood still, in words, where that was much."""
    prompts: list[Prompt] = field(default_factory=list)
    results: dict[int, LevelResult] = field(default_factory=dict)
    """By concurrency. One that is not founded breaks the service level: it tells no rate, and where the edge
    lies all the same."""
    opened: list[OpenResult] = field(default_factory=list)
    """At the first rate, and at the lower one where that was too much."""
    boundary: str = ""
    search_ended: str = ""
    """Why nothing more was tried, in words; "": the search did not come to its end."""
    levels_missing: bool = False
    notes: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    """Those of the whole probe."""
    failure: str = ""
    out_of_time: bool = False
    before: Counters = field(default_factory=Counters)
    after: Counters = field(default_factory=Counters)
    highest_kv_usage: float | None = None
    takes: int = 0
    """Requests that the engine was seen to take at a time while others waited; 0: none waited."""
    causes: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    """What the machine did meanwhile, and during what of the probe."""
    short: bool = False
    """Some answer ended before the length it was asked for."""
    same_tokens: int = 0
    """Tokens with which every prompt begins, so that a cache may well know them."""
    requests: int = 0
    """Those whose answers were read."""
    cached_tokens: int = 0
    """Of prompts, beyond those."""
    quality: Quality | None = None

    def disturbed(self, cause: str, during: str) -> None:
        """The same cause is told once, with all that it disturbed."""
        kind = re.sub(r"[\d.]+", "#", cause)
        _, phases = self.causes.setdefault(kind, (cause, []))
        if during not in phases:
            phases.append(during)

    def disturbances(self) -> tuple[str, ...]:
        return tuple(f"{cause} (during {', '.join(phases)})" for cause, phases in self.causes.values())

    def keep(self, result: LevelResult) -> None:
        """The result of its level; a disturbed one does not replace an undisturbed one."""
        former = self.results.get(result.point.concurrency)
        if former is None or result.clean or not former.clean:
            self.results[result.point.concurrency] = result

    def result(self, concurrency: int) -> LevelResult | None:
        return self.results.get(concurrency)

    @property
    def rated(self) -> dict[int, LevelResult]:
        """Those that tell a rate."""
        return {level: result for level, result in self.results.items() if result.founded}

    def tried(self) -> tuple[Tried, ...]:
        return tuple(
            Tried(
                concurrency=level,
                output_tokens_per_second=result.point.output_tokens_per_second
                if result.founded
                else math.nan,
                strain=result.strain,
            )
            for level, result in sorted(self.results.items())
        )

    def saw(self, trace: Trace) -> None:
        """What a loop's streams and readings tell beside its figures."""
        self.note_streams(trace.streams)
        usages = [
            one.counters.kv_cache_usage for one in trace.readings if one.counters.kv_cache_usage is not None
        ]
        if usages:
            self.highest_kv_usage = max(
                usages if self.highest_kv_usage is None else (self.highest_kv_usage, *usages)
            )

    def note_streams(self, streams: Sequence[Stream]) -> None:
        self.short = self.short or any(one.finish_reason not in ("", "length") for one in streams)
        self.note_prompts(streams)

    def note_prompts(self, streams: Sequence[Stream]) -> None:
        """What a cache knew of them."""
        self.requests += len(streams)
        self.cached_tokens += sum(max(0, one.cached_tokens - self.known_tokens) for one in streams)

    @property
    def known_tokens(self) -> int:
        """Tokens of a prompt that a cache may know without having been asked the same before."""
        return self.same_tokens + CHANCE_TOKENS
