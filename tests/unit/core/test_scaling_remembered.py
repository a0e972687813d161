"""What status remembers of scaling: it outlives a process, and a user who writes there breaks no bound."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings, strategies as st

from tacho_contract.units import format_time
from tacho_operator.api.status.status import AutoscalingStatus, ScalingBurst
from tacho_operator.core.autoscaling.algorithm.tuning import MAX_TOKENS, MIN_CORRECTION, MIX_REQUESTS
from tacho_operator.core.autoscaling.algorithm.types import Correction, Mix, Point, State
from tacho_operator.core.autoscaling.status_view import scaled as shown
from tacho_operator.core.autoscaling.target import (
    UNBOUNDED,
    restored,
    target_of,
)
from tacho_operator.core.names import REVISION_LABEL
from tacho_operator.core.types import Scaled
from tests.unit.autoscaling.fleet import CAPACITY, Fleet
from tests.unit.core.scaling import idle, rising, scaled, told
from tools.harness.world import world_of


def test_what_was_decided_and_learned_outlives_a_process() -> None:
    world = scaled(rising)
    previous = world.observed().resource.status.autoscaling
    state = restored(previous)
    assert [(item.before, item.after) for item in state.changes] == [(1, 5)]
    assert state.fingerprint == "f"
    assert [item.cause for item in state.changes] == ["Work"]
    assert state.watched_since is None
    assert restored(None) == State()
    jumped = AutoscalingStatus.model_validate({"capacityCorrectionPercent": 1})
    assert restored(jumped).correction.factor == MIN_CORRECTION


def test_what_no_scaler_writes_is_bounded_or_left_out() -> None:
    sizes = (0, 1, UNBOUNDED.most, UNBOUNDED.most + 1)
    bursts = [{"endTime": "2026-01-01T00:00:00Z", "replicas": size} for size in sizes]
    lengths = {"inputTokens": 10**15, "outputTokens": 10**15, "speedPercent": 100}
    none = {"refusedAbove": 0, "refusedTime": "2026-01-01T00:00:00Z"}
    found = restored(AutoscalingStatus.model_validate({"bursts": bursts, **lengths, **none}))
    assert found.refused is None, "quota of no pod would scale what serves to zero"
    assert [item.load for item in found.bursts] == [1, UNBOUNDED.most]
    assert found.mix is not None
    assert found.mix.prompt_tokens == found.mix.output_tokens == found.mix.requests * MAX_TOKENS


def test_a_refusal_and_the_correction_outlive_a_process() -> None:
    refused, correction = Point(1_700_000_000.0, 3), Correction(factor=0.81)
    fleet = idle()
    state = dataclasses.replace(fleet.state, refused=refused, correction=correction)
    written = shown(
        fleet.decisions[-1], state, bounds=fleet.policy.bounds, problems=(), victims=(), previous=None
    )
    found = restored(written.autoscaling)
    assert (found.refused, found.correction, found.fingerprint) == (refused, correction, "f")


def test_a_later_refusal_of_as_many_replicas_outlives_a_process() -> None:
    fleet = idle()

    def written(refused_seconds: float, previous: Scaled | None) -> Scaled:
        state = dataclasses.replace(fleet.state, refused=Point(refused_seconds, 3))
        bounds = fleet.policy.bounds
        return shown(fleet.decisions[-1], state, bounds=bounds, problems=(), victims=(), previous=previous)

    first = written(1_700_000_000.0, None)
    assert written(1_700_000_010.0, first) is first, "the same refusal, a sample later"
    again = restored(written(1_700_000_700.0, first).autoscaling)
    assert again.refused == Point(1_700_000_700.0, 3)


def pulses(now: float) -> float:
    return 6.0 if now % 900 < 120 else 0.5


def replaced(fleet: Fleet) -> None:
    """The next process, which knows what status says of the first."""
    document = told(fleet).autoscaling.to_wire()
    fleet.state = restored(AutoscalingStatus.model_validate(document))


@pytest.mark.parametrize("stops_at", [1000, 1500, 2300])
def test_the_next_burst_is_predicted_after_a_restart_as_without(stops_at: int) -> None:
    first, second = Fleet(replicas=4), Fleet(replicas=4)
    for fleet in (first, second):
        fleet.run(pulses, stops_at)
    replaced(second)
    assert all(fleet.run(pulses, 2650 - stops_at) for fleet in (first, second))
    for one, other in zip(first.state.bursts, second.state.bursts, strict=True):
        assert other.load == pytest.approx(one.load, abs=0.001)
        assert other.end_seconds == pytest.approx(one.end_seconds, abs=30), "the load's window is shorter"
        assert other.begin_seconds == pytest.approx(one.begin_seconds, abs=60)
    assert second.sizes[-1] == first.sizes[-1] > 1
    assert "earlier bursts filled them" in second.decisions[-1].reason


def test_bursts_expire_though_no_process_has_seen_it() -> None:
    fleet = Fleet(replicas=4)
    fleet.run(pulses, 2300)
    assert len(fleet.state.bursts) == 2
    replaced(fleet)
    fleet.now += 5400
    fleet.run(lambda _: 0.5, 80)
    assert fleet.state.bursts == ()


@pytest.mark.parametrize(("in_service", "speed"), [(1.5, 1.5), (9.0, 2.0), (0.1, 0.5)])
def test_lengths_and_speed_in_service_outlive_a_process(in_service: float, speed: float) -> None:
    fleet = idle()
    fleet.state = dataclasses.replace(fleet.state, mix=Mix(50.0, 15_000.0, 1234.0), speed=in_service)
    fleet.look()
    replaced(fleet)
    found = fleet.state.mix
    assert found is not None
    assert (found.prompt_tokens / found.requests, fleet.state.speed) == pytest.approx((300, speed))
    assert found.output_tokens / found.requests == pytest.approx(1234 / 50, abs=0.001)
    assert found.requests == MIX_REQUESTS, "the next minutes' requests outweigh them"


def test_bursts_are_written_as_they_begin_and_end_and_not_while_they_last() -> None:
    fleet = idle(seconds=400)
    shown = told(fleet)
    for demand, seconds, is_new in ((8.0, 100, True), (8.0, 100, False), (0.1, 400, True), (0.1, 100, False)):
        fleet.run(lambda _, demand=demand: demand, seconds)
        now = told(fleet, previous=shown)
        assert (now.autoscaling.bursts != shown.autoscaling.bursts or now is not shown) is is_new
        shown = now


AGO = st.integers(-(10**9), 10**9)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(AGO, AGO, st.floats(0, 1e300)), max_size=3),
    st.none() | st.floats(0, 1e300),
    st.none() | st.integers(0, 2**31 - 1),
    st.none() | st.floats(0, 1e300),
    st.none() | st.floats(0, 1e300),
)
def test_whatever_a_user_writes_there_replicas_stay_within_their_bounds(
    bursts: list[tuple[int, int, float]],
    low: float | None,
    speed: int | None,
    prompt: float | None,
    output: float | None,
) -> None:
    now = 1_700_000_000
    began = datetime.fromtimestamp(now, timezone.utc)
    listed = [
        ScalingBurst(
            begin_time=format_time(began + timedelta(seconds=before)),
            end_time=format_time(began + timedelta(seconds=ago)),
            replicas=value,
        )
        for before, ago, value in bursts
    ]
    edited = AutoscalingStatus(
        bursts=listed, low_replicas=low, speed_percent=speed, input_tokens=prompt, output_tokens=output
    )
    fleet = idle(seconds=20)
    fleet.now, fleet.state = float(now), restored(edited)
    fleet.capacity = dataclasses.replace(CAPACITY, fingerprint="", gap_r2=1.0)
    fleet.run(lambda _: 1.0, 30)
    assert max(fleet.sizes) <= fleet.policy.bounds.most


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        ('pods "smol-1" is forbidden: exceeded quota: q', 1),
        ('admission webhook "w.example.com" denied the request: no', 1),
        ('Internal error occurred: failed calling webhook "w.example.com": connection refused', None),
        ('Operation cannot be fulfilled on resourcequotas "q": the object has been modified', None),
        ('pods "smol-1" is forbidden: status unknown for quota: q, resources: pods', None),
        ('replicasets.apps "smol-1" is forbidden: status unknown for quota: q', None),
        ('pods "smol-1" is forbidden: not yet ready to handle request', None),
        ("the server is currently unable to handle the request", None),
        ("etcdserver: leader changed", None),
        ("Timeout: request did not complete within requested timeout", None),
        ('Post "https://10.0.0.1:443/api/v1/namespaces/a/pods": dial tcp: connection refused', None),
        ('pods "smol-1" is forbidden: maximum cpu usage per Pod is 1. Internal error occurred: no', 1),
    ],
)
def test_an_error_that_may_pass_is_no_limit_of_the_replicas(message: str, limit: int | None) -> None:
    """A webhook was away for seconds while pods were evicted: one replica of five stayed for ten minutes."""
    world = world_of()
    (name,) = world.names("Deployment")
    world.objects["ReplicaSet", f"{name}-1"] = {
        "kind": "ReplicaSet",
        "metadata": {"name": f"{name}-1", "labels": {REVISION_LABEL: name}},
        "status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": message}]},
    }
    assert target_of(world.observed()).refused_above == limit
