"""Whole runs: nothing is lost, time does not go back, the same seed gives the same, and faults cost."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from benchmarks.autoscaling.concurrent_prefill import ConcurrentPrefill, ReservingPrefill
from tacho_simulate.performance_model import PerformanceModel
from tacho_simulate.policies import POLICIES
from tacho_simulate.policy import PolicyDecision, PolicyView, Setting
from tacho_simulate.result import Result
from tacho_simulate.run import Faults, simulate
from tacho_simulate.trace import Trace
from tests.properties import examples
from tests.unit.simulate.worlds import MODEL, poisson, setting_of

OWN = ("tacho", "static", "greedy")


class Follows:
    """Does what a function of the time says, and keeps what it saw."""

    name, source, period_seconds = "follows", "", 10.0

    def __init__(self, replicas: Callable[[float], int]) -> None:
        self._replicas = replicas
        self.views: list[PolicyView] = []

    def decide(self, view: PolicyView) -> PolicyDecision:
        self.views.append(view)
        return PolicyDecision(replicas=self._replicas(view.now_seconds), reason="as told")


def run(trace: Trace, replicas: Callable[[float], int], seed: int = 0, **changes: object) -> Result:
    faults = changes.pop("faults", Faults())
    assert isinstance(faults, Faults)
    return simulate(trace, setting_of(**changes), lambda _: Follows(replicas), seed=seed, faults=faults)


laws = st.builds(
    PerformanceModel,
    steps=st.sampled_from([((1, 0.01),), ((1, 0.01), (64, 0.03)), ((1, 0.005), (8, 0.02), (64, 0.2))]),
    prefill_tokens_per_second=st.sampled_from([500.0, 20_000.0]),
    step_tokens=st.sampled_from([64, 2048]),
    max_num_seqs=st.integers(1, 64),
    kv_cache_tokens=st.sampled_from([300, 5_000, 10**9]),
    ttft_fixed_seconds=st.sampled_from([0.0, 0.02]),
    ttft_late=st.sampled_from([(), ((8, 0.04),)]),
    replica=st.sampled_from([None, ConcurrentPrefill, ReservingPrefill]),
)
traces = st.builds(
    lambda rows: Trace(
        "drawn", tuple(sorted(row[0] for row in rows)), *zip(*(r[1:] for r in rows), strict=True)
    ),
    st.lists(
        st.tuples(st.floats(0, 300), st.integers(0, 2000), st.integers(1, 300)), min_size=1, max_size=60
    ),
)


@examples(1.5)
@given(trace=traces, model=laws, policy=st.sampled_from(OWN[:2]), seed=st.integers(0, 3))
def test_every_request_ends_once_and_after_it_came(
    trace: Trace, model: PerformanceModel, policy: str, seed: int
) -> None:
    setting = setting_of(model=model)
    found = simulate(trace, setting, POLICIES[policy], seed=seed)
    assert found.requests == len(trace)
    assert 0 <= found.unfinished <= len(trace)
    assert 0 <= found.slo_attainment <= 1 - found.unfinished / len(trace) + 1e-9
    if found.ttft_seconds and found.e2e_seconds:
        least = model.ttft_fixed_seconds + min(trace.input_tokens) / model.prefill_tokens_per_second
        assert found.ttft_seconds.p50 >= least - 1e-9
        assert found.e2e_seconds.p99 >= found.ttft_seconds.p50
    assert all(earlier.time_seconds <= later.time_seconds for earlier, later in pairwise(found.trajectory))
    assert all(setting.min_replicas <= moment.desired <= setting.max_replicas for moment in found.trajectory)
    hours = trace.duration_seconds / 3600
    assert setting.min_replicas * hours - 1e-9 <= found.gpu_hours <= setting.max_replicas * hours + 1e-9


@examples(0.6)
@given(trace=traces, model=laws)
def test_looking_changes_nothing(trace: Trace, model: PerformanceModel) -> None:
    """How often a policy looks is no matter for the requests."""
    seldom = simulate(trace, setting_of(model=model), POLICIES["static"], seed=1)
    often = run(trace, lambda _: 1, seed=1, model=model)
    assert often.unfinished == seldom.unfinished
    assert often.preemptions == seldom.preemptions
    assert often.e2e_seconds == pytest.approx(seldom.e2e_seconds, rel=1e-6)
    assert often.ttft_seconds == pytest.approx(seldom.ttft_seconds, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("policy", OWN)
def test_same_seed_same_result_and_another_seed_another(policy: str) -> None:
    trace = poisson(8.0, 200.0)
    setting = setting_of(min_replicas=2)
    first, again, other = (simulate(trace, setting, POLICIES[policy], seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert first.e2e_seconds != other.e2e_seconds


def test_more_replicas_keep_more_on_the_mean() -> None:
    model = dataclasses.replace(MODEL, step_tokens=512)
    kept = []
    for replicas in (1, 2, 3, 4, 6, 8):
        runs = [
            simulate(
                poisson(24.0, 150.0, seed=seed),
                setting_of(model=model, initial_replicas=replicas),
                POLICIES["static"],
                seed=seed,
            )
            for seed in range(3)
        ]
        kept.append(math.fsum(item.slo_attainment for item in runs))
    assert kept == sorted(kept)
    assert kept[0] < 0.5 * kept[-1]


def test_replicas_come_after_their_start_and_go_at_once() -> None:
    trace = poisson(2.0, 600.0)
    found = run(trace, lambda now: 3 if 100 <= now < 300 else 1)
    assert [tuple(moment) for moment in found.trajectory] == [
        (0.0, 1, 1),
        (100.0, 3, 1),
        (160.0, 3, 3),
        (300.0, 1, 1),
    ]
    assert [decided[:3] for decided in found.decisions] == [(100.0, 1, 3), (300.0, 3, 1)]
    assert found.unfinished == 0
    # Two more for 200 s, and what they had to finish.
    least = (trace.duration_seconds + 400) / 3600
    assert least <= found.gpu_hours < least + 2 * 10 / 3600


def test_a_pod_that_goes_while_it_starts_never_serves() -> None:
    found = run(poisson(2.0, 600.0), lambda now: 3 if 100 <= now < 130 else 1)
    assert [tuple(moment) for moment in found.trajectory] == [(0.0, 1, 1), (100.0, 3, 1), (130.0, 1, 1)]
    assert found.unfinished == 0


def test_requests_go_to_the_pods_that_they_are_dealt_to_where_those_serve() -> None:
    """All to the second: it is slow, and then gone."""
    trace = Trace("dealt", tuple(map(float, range(100))), (10,) * 100, (10,) * 100)
    slow = Faults(stragglers=((1, 20.0),))

    def slowest(dealt: tuple[int, ...]) -> list[float]:
        found = simulate(
            trace,
            setting_of(initial_replicas=2),
            lambda _: Follows(lambda now: 2),
            seed=0,
            faults=slow,
            assigned_pods=dealt,
        )
        assert found.tpot_seconds is not None
        return [found.tpot_seconds.p50, found.tpot_seconds.p95]

    normal, tired = slowest((0,) * 100), slowest((1,) * 100)
    assert tired == pytest.approx([20 * item for item in normal], rel=0.05)
    assert slowest((7,) * 100) == slowest(())


def test_the_least_loaded_pod_gets_the_next_request() -> None:
    trace = Trace("two pods", (0.0, *(0.5 + at for at in range(8))), (10,) * 9, (2000, *(1,) * 8))
    one_at_a_time = dataclasses.replace(MODEL, max_num_seqs=1)
    least, chance = (
        run(trace, lambda _: 2, model=one_at_a_time, initial_replicas=2, routing=routing)
        for routing in ("least-loaded", "random")
    )
    assert least.ttft_seconds is not None
    assert chance.ttft_seconds is not None
    assert least.ttft_seconds.p99 < 0.1
    assert chance.ttft_seconds.p99 > 1


def test_least_loaded_routing_keeps_more_than_random() -> None:
    trace = poisson(30.0, 300.0)
    least, chance = (
        run(trace, lambda _: 3, initial_replicas=3, routing=routing) for routing in ("least-loaded", "random")
    )
    assert chance.slo_attainment < least.slo_attainment


def test_a_pod_that_is_told_to_go_has_120_s_to_end() -> None:
    slow = PerformanceModel(steps=((1, 1.0),), prefill_tokens_per_second=1000.0)
    trace = Trace("long", (0.0, 1.0, 500.0), (10, 10, 10), (400, 50, 1))
    found = simulate(
        trace,
        setting_of(model=slow, initial_replicas=2),
        lambda _: Follows(lambda now: 1),
        seed=0,
    )
    assert found.unfinished == 1
    assert found.gpu_hours == pytest.approx((500 + 10 + 120) / 3600, abs=2e-3)


def test_what_nobody_is_ready_for_waits() -> None:
    trace = poisson(1.0, 100.0)
    found = run(trace, lambda _: 1, faults=Faults(failing=((20.0, 0),)))
    lost = found.unfinished
    assert 0 < lost < 20
    assert found.ttft_seconds is not None
    assert found.ttft_seconds.p99 > 50  # came just after the crash, 60 s before the pod was back


def test_a_pod_that_hangs_answers_nothing_until_it_is_restarted() -> None:
    trace = poisson(1.0, 600.0)
    policy = Follows(lambda _: 1)
    faults = Faults(hanging=((100.0, 0),), hang_seconds=60.0)
    found = simulate(trace, setting_of(), lambda _: policy, seed=0, faults=faults)
    told = {view.now_seconds: view.pods[0].metrics for view in policy.views if view.pods[0].metrics}
    assert told[110.0].generation_tokens_total == told[150.0].generation_tokens_total
    assert told[150.0].waiting > told[110.0].waiting
    assert 160.0 not in told
    assert told[230.0].generation_tokens_total < told[150.0].generation_tokens_total
    assert found.unfinished >= 40


def test_a_pod_that_stood_still_goes_on_with_what_it_had() -> None:
    trace = poisson(1.0, 600.0)
    policy = Follows(lambda _: 1)
    faults = Faults(hanging=((100.0, None),), hang_seconds=60.0, hang_resumes=True)
    found = simulate(trace, setting_of(), lambda _: policy, seed=0, faults=faults)
    told = {view.now_seconds: view.pods[0].metrics for view in policy.views if view.pods[0].metrics}
    assert told[110.0].generation_tokens_total == told[150.0].generation_tokens_total
    assert told[170.0].generation_tokens_total > told[150.0].generation_tokens_total
    assert found.unfinished == 0


def test_lost_metrics_are_unknown_and_not_zero() -> None:
    policy = Follows(lambda _: 1)
    faults = Faults(metrics_outages=((50.0, 100.0),))
    simulate(poisson(1.0, 200.0), setting_of(), lambda _: policy, seed=0, faults=faults)
    lost = [view.now_seconds for view in policy.views if view.pods[0].metrics is None]
    assert lost == [50.0, 60.0, 70.0, 80.0, 90.0]


def test_a_look_that_nobody_answers_takes_its_time() -> None:
    policy = Follows(lambda _: 1)
    faults = Faults(metrics_outages=((50.0, 100.0),), unanswered_seconds=25.0)
    simulate(poisson(1.0, 200.0), setting_of(), lambda _: policy, seed=0, faults=faults)
    assert [view.now_seconds for view in policy.views][3:9] == [40.0, 50.0, 75.0, 100.0, 110.0, 120.0]


def test_looks_begin_when_they_are_told_to_and_the_first_pods_tell_their_starts() -> None:
    policy = Follows(lambda _: 2)
    setting = setting_of(first_decision_seconds=3.0, initial_start_seconds=70.0)
    found = simulate(poisson(1.0, 200.0), setting, lambda _: policy, seed=0)
    assert [view.now_seconds for view in policy.views[:3]] == [3.0, 13.0, 23.0]
    first = policy.views[0].pods[0]
    assert first.ready_seconds is not None
    assert first.ready_seconds - first.created_seconds == 70.0
    assert [pod.begun for pod in policy.views[-1].pods] == [0, 1]
    assert found.gpu_hours == pytest.approx((2 * found.duration_seconds - 3.0) / 3600, rel=1e-3)


def test_who_was_killed_decides_nothing_and_remembers_nothing() -> None:
    made: list[Follows] = []

    def make(_: Setting) -> Follows:
        made.append(Follows(lambda _: 1))
        return made[-1]

    faults = Faults(scaler_outages=((50.0, 80.0),))
    simulate(poisson(1.0, 200.0), setting_of(), make, seed=0, faults=faults)
    looks = [[view.now_seconds for view in policy.views] for policy in made if policy.views]
    assert [(times[0], times[-1]) for times in looks[:1]] == [(10.0, 40.0)]
    assert looks[1][0] == 90.0
    assert len(looks) == 2


def test_who_was_killed_between_two_decisions_begins_anew_with_what_outlives_it() -> None:
    class Lasting(Follows):
        def restarted(self, now: float) -> Lasting:
            begun.append(now)
            return Lasting(lambda _: 2)

    begun: list[float] = []
    faults = Faults(scaler_outages=((51.0, 54.0),))
    found = simulate(poisson(1.0, 200.0), setting_of(), lambda _: Lasting(lambda _: 1), seed=0, faults=faults)
    assert begun == [54.0]
    assert [(item.time_seconds, item.after) for item in found.decisions] == [(64.0, 2)]


@pytest.mark.parametrize(("replica", "first_tokens"), [(None, 1), (ConcurrentPrefill, 3)])
def test_a_replica_that_computes_prompts_beside_its_steps_does_so_while_it_hangs(
    replica: type[ConcurrentPrefill] | None, first_tokens: int
) -> None:
    """For as many requests as it has places: none of them goes on."""
    model = dataclasses.replace(MODEL, replica=replica, max_num_seqs=3)
    trace = Trace("five", (9.5, 11.0, 12.0, 13.0, 14.0), (10,) * 5, (1000,) * 5)
    policy = Follows(lambda _: 1)
    faults = Faults(hanging=((10.0, 0),), hang_seconds=60.0, hang_resumes=True)
    found = simulate(trace, setting_of(model=model), lambda _: policy, seed=0, faults=faults)
    seen = {view.now_seconds: view.pods[0].metrics for view in policy.views}
    before, after = seen[20.0], seen[60.0]
    assert before
    assert after
    assert before.first_tokens_total == after.first_tokens_total == first_tokens
    assert before.generation_tokens_total == after.generation_tokens_total
    assert (after.running, after.waiting) == (first_tokens, 5 - first_tokens)
    assert found.unfinished == 0


def test_stragglers_and_starts_that_were_measured() -> None:
    trace = poisson(4.0, 400.0)
    plain = run(trace, lambda _: 2)
    slow = run(trace, lambda _: 2, faults=Faults(stragglers=((1, 3.0),)))
    assert plain.tpot_seconds
    assert slow.tpot_seconds
    assert slow.tpot_seconds.p95 > 2 * plain.tpot_seconds.p95
    measured = run(trace, lambda _: 4, faults=Faults(cold_start_seconds=(30.0, 90.0)))
    assert {moment.time_seconds for moment in measured.trajectory} <= {0.0, 10.0, 40.0, 100.0}
    ordered = run(
        trace, lambda _: 4, faults=Faults(cold_start_seconds=(30.0, 50.0, 90.0), starts_in_order=True)
    )
    assert [tuple(moment) for moment in ordered.trajectory] == [
        (0.0, 1, 1), (10.0, 4, 1), (40.0, 4, 2), (60.0, 4, 3), (100.0, 4, 4),
    ]  # fmt: skip


def test_counters_are_those_of_the_requests() -> None:
    policy = Follows(lambda _: 1)
    early = poisson(1.0, 50.0)
    trace = Trace("t", (*early.time_seconds, 200.0), (*early.input_tokens, 1), (*early.output_tokens, 1))
    simulate(trace, setting_of(), lambda _: policy, seed=0)
    last = next(view for view in policy.views if view.now_seconds >= 80)
    told = last.pods[0].metrics
    assert told is not None
    assert told.requests_total == told.first_tokens_total == last.arrivals_total == len(early)
    assert told.prompt_tokens_total == last.arrived_input_tokens == sum(early.input_tokens)
    assert told.generation_tokens_total == last.arrived_output_tokens == sum(early.output_tokens)
    assert (told.running, told.waiting, told.kv_cache_usage) == (0, 0, 0.0)


@pytest.mark.parametrize("policy", ["tacho", "greedy"])
def test_what_scales_keeps_the_level_with_fewer_gpu_hours_than_the_most(policy: str) -> None:
    trace = poisson(12.0, 900.0)
    setting = setting_of(min_replicas=2, initial_replicas=4)
    found = simulate(trace, setting, POLICIES[policy], seed=0)
    assert found.slo_attainment > 0.95
    assert found.gpu_hours < setting.max_replicas * trace.duration_seconds / 3600


def test_settings_are_what_they_say() -> None:
    """The registry's factories give a policy that is made for one run."""
    for name in OWN:
        one, two = POLICIES[name](setting_of()), POLICIES[name](setting_of())
        assert (one.name, two.name, one.period_seconds > 0) == (name, name, True)
    assert isinstance(setting_of(), Setting)
