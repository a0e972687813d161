"""Requests that are added at the end are judged as those of the beginning are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from tacho_runtime.probe.asking.streams import Stream
from tacho_runtime.probe.findings import Findings
from tacho_runtime.probe.phases import closing
from tests.fakes.virtual_engine import VirtualEngine, VirtualLaw
from tests.unit.probe.probing import bench_of

FIRST = 3
PAUSE_NS = 300_000_000
LAW = VirtualLaw(tokens_per_step=3)
"""Its rate is not known within 2 % after a few requests."""


class LaterOtherwise(VirtualEngine):
    """All but its first requests are answered in another way, from the second of the end on."""

    asked, somebody_elses = 0, 0.0
    way: Callable[[Stream], Stream] = staticmethod(lambda stream: stream)

    async def ask(self, input_tokens: int, output_tokens: int, timeout_seconds: float) -> Stream:
        stream = await super().ask(input_tokens, output_tokens, timeout_seconds)
        self.asked += 1
        if self.asked <= FIRST + 1:
            return stream
        self._generated += self.somebody_elses
        return self.way(stream)


def failed(stream: Stream) -> Stream:
    return replace(stream, failed=1)


def stalled(stream: Stream) -> Stream:
    """It stands still after half of its tokens."""
    half = len(stream.tokens) // 2
    later = tuple((stamp_ns + PAUSE_NS, count) for stamp_ns, count in stream.tokens[half:])
    return replace(stream, tokens=(*stream.tokens[:half], *later))


async def looked_at(engine: LaterOtherwise) -> Findings:
    """After a clean beginning."""
    findings = Findings(single_flags=())
    findings.single = tuple([await engine.ask(512, 200, 60) for _ in range(FIRST)])
    await closing.last_look(bench_of(engine, findings, seconds=30.0))
    return findings


@pytest.mark.parametrize(
    ("way", "flags", "stood"),
    [
        (LaterOtherwise.way, (), False),
        (failed, ("NotSteady",), False),
        (stalled, ("NotSteady",), True),
    ],
    ids=["alike", "failed", "stalled"],
)
async def test_what_the_engine_does_wrong_at_the_end_is_told(
    way: Callable[[Stream], Stream], flags: tuple[str, ...], stood: bool
) -> None:
    engine = LaterOtherwise(LAW, Random(1))
    engine.way = way
    findings = await looked_at(engine)
    assert len(findings.single) == engine.asked > FIRST + 2
    assert findings.single_flags == flags
    assert ("one stream stood still" in findings.stood) == stood
    result = findings.result(1)
    assert result is not None
    assert result.point.flags == flags


async def test_requests_beside_somebody_elses_are_left_out() -> None:
    engine = LaterOtherwise(LAW, Random(1))
    engine.somebody_elses = 300.0
    findings = await looked_at(engine)
    assert engine.asked > FIRST + 2
    assert len(findings.single) == FIRST
    assert "tokens for somebody else" in " ".join(findings.notes)
    assert (findings.single_flags, findings.flags) == ((), set())
