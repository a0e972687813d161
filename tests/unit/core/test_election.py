"""Leader election as pure turns: never two leaders, and never none for long."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_operator.core.election import (
    LEASE_SECONDS,
    RENEW_DEADLINE_SECONDS,
    RETRY_SECONDS,
    Candidate,
    address_of,
    holder_of,
    new_lease,
    released,
    turn,
)

EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)
LEASE = new_lease("tacho-system", "tacho")
DURATIONS = st.sampled_from([0.0, 0.0, 0.01, 0.5, 9.0, 14.0, 22.0, 40.0])
"""Of the way of a request or of its answer; 40 s is also a process that was stopped meanwhile."""


def taken(identity: str, at: float = 0.0, lease: dict[str, Any] | None = None) -> dict[str, Any]:
    """The Lease after that candidate took or renewed it."""
    candidate = Candidate(identity=identity, address=f"{identity}:9401")
    write = turn(candidate, lease or LEASE, at, EPOCH + timedelta(seconds=at)).write
    assert write is not None
    return write


@dataclass
class World:
    """A Lease with optimistic locking, and candidates with slow requests, lost answers and clocks apart."""

    draw: Any
    candidates: list[Candidate]
    clocks: list[float]
    lease: dict[str, Any] = field(default_factory=lambda: LEASE)
    version: int = 0
    events: list[Any] = field(default_factory=list)
    order: Any = field(default_factory=itertools.count)

    def later(self, now: float, action: Any) -> None:
        heapq.heappush(self.events, (now, next(self.order), action))

    def read(self, index: int, now: float) -> None:
        began = now + self.clocks[index]
        done = turn(self.candidates[index], self.lease, began, EPOCH + timedelta(seconds=now))
        self.candidates[index] = done.candidate
        after = now + self.draw(DURATIONS)
        if done.write is None:
            self.later(now + done.wait_seconds, lambda at: self.read(index, at))
        else:
            seen = self.version
            self.later(after, lambda at: self.commit(index, done.write, seen, began, at))

    def commit(self, index: int, write: Any, seen: int, began: float, now: float) -> None:
        accepted = seen == self.version
        if accepted:
            self.lease, self.version = write, self.version + 1
        answered = accepted and self.draw(st.integers(0, 4)) > 0
        back = now + self.draw(DURATIONS)
        self.later(back, lambda at: self.answer(index, began, answered, at))

    def answer(self, index: int, began: float, answered: bool, now: float) -> None:
        if answered:
            self.candidates[index] = self.candidates[index].renewed(began)
        self.later(now + RETRY_SECONDS, lambda at: self.read(index, at))

    def leaders(self, now: float) -> list[str]:
        known = zip(self.candidates, self.clocks, strict=True)
        return [one.identity for one, clock in known if one.leads(now + clock)]


@given(st.data(), st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=3))
def test_who_leads_holds_the_lease_whatever_is_slow_or_lost(data: Any, clocks: list[float]) -> None:
    world = World(data.draw, [Candidate(identity=f"pod-{index}") for index in range(len(clocks))], clocks)
    for index in range(len(clocks)):
        world.later(data.draw(DURATIONS), lambda at, index=index: world.read(index, at))
    for _ in range(60):
        now, _, action = heapq.heappop(world.events)
        action(now)
        assert set(world.leaders(now)) <= {holder_of(world.lease)}


@given(st.floats(0.0, LEASE_SECONDS * 2))
def test_a_standby_takes_over_when_it_has_seen_no_renewal_for_the_leases_duration(waited: float) -> None:
    lease = taken("a")
    first = turn(Candidate(identity="b"), lease, 100.0, EPOCH)
    assert first.write is None
    second = turn(first.candidate, lease, 100.0 + waited, EPOCH)
    assert (second.write is not None) == (waited >= LEASE_SECONDS)
    if second.write is None:
        assert second.wait_seconds == pytest.approx(min(RETRY_SECONDS, LEASE_SECONDS - waited))
    else:
        assert second.write["spec"]["leaseTransitions"] == lease["spec"]["leaseTransitions"] + 1
        assert address_of(second.write) == "", "no longer the former leader's"


def test_a_renewal_starts_the_standbys_wait_anew() -> None:
    first = turn(Candidate(identity="b"), taken("a"), 0.0, EPOCH)
    renewed = taken("a", 14.0, taken("a"))
    assert turn(first.candidate, renewed, 16.0, EPOCH).write is None


def test_what_is_released_or_ones_own_is_taken_at_once() -> None:
    held = taken("a")
    assert held["spec"]["leaseTransitions"] == 1
    again = taken("a", 30.0, held)
    assert again["spec"]["acquireTime"] == held["spec"]["acquireTime"], "the same pod, started anew"
    assert again["spec"]["leaseTransitions"] == 1
    free = released(held, EPOCH)
    assert (holder_of(free), address_of(free), address_of(held)) == ("", "", "a:9401")
    assert holder_of(taken("b", 1.0, free)) == "b"


def test_an_edited_count_of_transitions_keeps_nobody_from_leading() -> None:
    edited = taken("a", lease={**LEASE, "spec": {"leaseTransitions": 2**31 - 1}})
    assert edited["spec"]["leaseTransitions"] == 2**31 - 1, "the API server refuses more"


def test_a_leader_ends_before_its_lease_may_be_taken() -> None:
    leader = Candidate(identity="a").renewed(100.0)
    assert leader.leads(109.9)
    assert not leader.leads(100.0 + RENEW_DEADLINE_SECONDS)
    assert RENEW_DEADLINE_SECONDS < LEASE_SECONDS
