"""Each way of scaling against sums done by hand from what its project publishes."""

from __future__ import annotations

import pytest

from tacho_simulate.policies import (
    POLICIES,
    PolicyError,
    aibrix,
    hpa,
    kaito,
    kubeai,
    policy_of,
    production_stack,
    wva,
)
from tacho_simulate.policy import PodMetrics, PolicyView, SimulatedPolicy
from tacho_simulate.tuning import TRIED, best, tuned
from tests.unit.simulate.policy_views import SETTING, metrics, view
from tests.unit.simulate.worlds import poisson, setting_of

OURS = {"tacho", "static", "greedy"}
OTHERS = sorted(set(POLICIES) - OURS)


def walk(policy: SimulatedPolicy, views: list[PolicyView]) -> list[int]:
    return [policy.decide(item).replicas for item in views]


@pytest.mark.parametrize("name", OTHERS)
def test_each_says_who_it_is_and_keeps_the_bounds(name: str) -> None:
    policy = POLICIES[name](SETTING)
    assert policy.name == name
    assert policy.period_seconds > 0
    flooded = metrics(running=16, waiting=900, kv_cache_usage=1.0)
    replicas = 1
    for number in range(200):
        # Choices may be out of bounds only where whoever carries them out bounds them.
        replicas = policy.decide(view(15.0 * number, [flooded] * replicas)).replicas
        assert 0 <= replicas <= SETTING.max_replicas


@pytest.mark.parametrize("name", [name for name in OTHERS if not name.startswith("production-stack")])
def test_without_figures_replicas_stay(name: str) -> None:
    policy = POLICIES[name](SETTING)
    before = policy.decide(view(0.0, [metrics(running=8, kv_cache_usage=0.5)])).replicas
    seen = walk(policy, [view(15.0 * number, [None] * before) for number in range(1, 20)])
    assert set(seen) == {before}


class TestHpa:
    def test_a_queue_of_twice_the_target_doubles(self) -> None:
        policy = hpa.on_queue(SETTING, target=5.0)
        assert policy.decide(view(0.0, [metrics(waiting=10)] * 2)).replicas == 4

    def test_half_a_cache_is_the_target(self) -> None:
        policy = hpa.on_kv_cache(SETTING)
        assert policy.decide(view(0.0, [metrics(kv_cache_usage=0.75)] * 2)).replicas == 3

    def test_requests_that_wait_are_in_the_pod_too(self) -> None:
        policy = hpa.on_concurrency(SETTING, target=10.0)
        assert policy.decide(view(0.0, [metrics(running=8, waiting=12)])).replicas == 2


class TestKubeAI:
    def test_the_mean_of_ten_minutes(self) -> None:
        """60 looks of 10 s: a step from 10 to 70 with a target of 10 adds a replica each 10 looks."""
        policy = kubeai.KubeAI(SETTING, target=10.0)
        assert policy.decide(view(0.0, [metrics(running=10)])).replicas == 1
        # The mean after n more looks is 10 + n.
        seen = walk(policy, [view(10.0 * n, [metrics(running=70)]) for n in range(1, 61)])
        assert (seen[0], seen[9], seen[10], seen[59]) == (2, 2, 3, 7)

    def test_fewer_after_three_looks_that_agree(self) -> None:
        policy = kubeai.KubeAI(SETTING, target=10.0, window_seconds=10.0)
        busy, idle = metrics(running=40), metrics()
        assert policy.decide(view(0.0, [busy])).replicas == 4
        seen = walk(policy, [view(10.0 * n, [idle] * 4) for n in range(1, 5)])
        assert seen == [4, 4, 4, 1]


class TestAIBrix:
    def test_apa_within_its_tolerance_and_rates(self) -> None:
        assert aibrix.apa(4, 0.54, 0.5) == 4
        assert aibrix.apa(4, 0.6, 0.5) == 5
        assert aibrix.apa(4, 2.0, 0.5) == 8  # not more than double
        assert aibrix.apa(4, 0.4, 0.5) == 4  # ceil(3.2)
        assert aibrix.apa(5, 0.01, 0.5) == 2  # not fewer than half

    def test_kpa_divides_what_it_observed(self) -> None:
        assert kpa_total(4, 45.0) == 5
        assert kpa_total(4, 10.5) == 4  # within 10 % of the target, as if that were of all pods
        assert kpa_total(2, 100.0) == 4

    def test_kpa_on_means_of_pods_knows_no_more_than_a_few(self) -> None:
        """A cache that is full in each of six pods asks for ceil(1.0 / 0.5) = 2, paced to half: 3."""
        assert aibrix.kpa(6, 1.0, 1.0, 0.5) == 3

    def test_in_panic_the_larger_of_both_windows_counts(self) -> None:
        assert aibrix.kpa(4, 20.0, 60.0, 10.0) == 6
        assert aibrix.kpa(4, 20.0, 39.0, 10.0) == 2

    def test_windows_hold_180_seconds_of_means(self) -> None:
        policy = aibrix.make_apa(SETTING)
        half, full = metrics(kv_cache_usage=0.5), metrics(kv_cache_usage=1.0)
        for number in range(19):
            assert policy.decide(view(10.0 * number, [half] * 2)).replicas == 2
        # (18 x 0.5 + 1.0) / 19 = 0.526, then (17 x 0.5 + 2.0) / 19 = 0.553: 10.5 % above.
        assert walk(policy, [view(190.0, [full] * 2), view(200.0, [full] * 2)]) == [2, 3]


def kpa_total(have: int, total: float) -> int:
    return aibrix.kpa(have, total, total, 10.0)


class TestKaito:
    def test_one_more_after_a_minute_then_one_in_five(self) -> None:
        policy = kaito.Kaito(SETTING)
        calm, full = metrics(waiting=5), metrics(waiting=58)
        assert policy.decide(view(0.0, [calm])).replicas == 1
        seen = walk(policy, [view(15.0 * n, [full]) for n in range(1, 5)])
        assert seen == [1, 1, 1, 2]
        # Then both are ready, and both still have too many.
        later = walk(policy, [view(60.0 + 15.0 * n, [full] * 2) for n in range(1, 21)])
        assert later == [2] * 19 + [3]

    def test_none_more_before_all_are_ready(self) -> None:
        policy = kaito.Kaito(SETTING)
        seen = walk(policy, [view(15.0 * n, [metrics(waiting=58)], starting=1) for n in range(20)])
        assert set(seen) == {2}


class TestProductionStack:
    def test_requests_that_wait_over_the_threshold(self) -> None:
        policy = production_stack.Chart(SETTING)
        assert policy.decide(view(0.0, [metrics(waiting=11)])).replicas == 3

    def test_a_series_that_is_gone_is_nothing(self) -> None:
        policy = production_stack.Chart(SETTING)
        assert policy.decide(view(0.0, [metrics(waiting=10)] * 2)).replicas == 4
        seen = walk(policy, [view(15.0 * n, [None] * 4) for n in range(1, 21)])
        assert (seen[0], seen[-1]) == (4, 1)

    def test_the_operator_counts_tokens_a_second_and_adds_one_a_minute(self) -> None:
        policy = production_stack.Operator(SETTING)
        first = view(0.0, [metrics(running=1)], arrivals=1)
        # 450 tokens a second over 100 a replica: 5, one a minute.
        later = [view(15.0 * n, [metrics(running=1, generation=6750.0 * n)], arrivals=n) for n in (1, 2)]
        assert walk(policy, [first, *later]) == [1, 2, 1]

    def test_the_operator_keeps_what_there_is_while_anything_comes(self) -> None:
        coming = [view(15.0 * n, [metrics()] * 3, arrivals=n + 1) for n in range(60)]
        assert set(walk(production_stack.Operator(SETTING), coming)) == {3}
        assert min(walk(production_stack.Operator(SETTING, keepalive=False), coming)) == 2


class TestWVA:
    def test_room_by_flags(self) -> None:
        # 8192 x 256 / (1024 + 256) = 1638 steady, 256 of them fit: 256 x (1024 + 128).
        assert wva.by_flags(1024.0, 256.0, 8192, 256) == 294912
        assert wva.by_flags(1024.0, 0.0, 8192, 256) == 0

    def test_more_by_what_starts_too_fewer_by_what_serves(self) -> None:
        # 1700 / 0.85 = 2000 tokens, of which 2 x 500 have room: 2 more.
        assert wva.desired(2, ready=2, kv_tokens=500.0, demand=1700.0, up=0.85, down=0.70) == 4
        assert wva.desired(4, ready=2, kv_tokens=500.0, demand=1700.0, up=0.85, down=0.70) == 4
        # 4 x 500 - 700 / 0.70 = 1000 to spare: 2 fewer.
        assert wva.desired(4, ready=4, kv_tokens=500.0, demand=700.0, up=0.85, down=0.70) == 2
        assert wva.desired(3, ready=3, kv_tokens=500.0, demand=0.0, up=0.85, down=0.70) == 1

    def test_what_a_full_queue_shows_is_remembered(self) -> None:
        policy = wva.WVA(SETTING, rules="sample")

        def pod(now: float, usage: float, waiting: int) -> PodMetrics:
            return metrics(
                running=4,
                waiting=waiting,
                kv_cache_usage=usage,
                prompt=100.0 * now,
                generation=50.0 * now,
                requests=now,
            )

        # Full at 4000 tokens with 10 waiting of 100 each: 5000 / 0.85 - 4000 = 1882 tokens, one more.
        # Two minutes later 3600 / 0.85 - 4000, as remembered; by its flags it would have room for 2000.
        views = [view(now, [pod(now, usage, waiting)]) for now, usage, waiting in LOADS]
        assert walk(policy, views) == [1, 2, 2]


LOADS = ((0.0, 0.1, 0), (30.0, 0.4, 10), (120.0, 0.36, 0))


class TestParameters:
    def test_a_parameter_is_set(self) -> None:
        factory, setting = policy_of("hpa-queue:target=2.5", SETTING)
        seen = view(0.0, [metrics(waiting=5)] * 2)
        assert setting == SETTING
        assert (
            factory(SETTING).decide(seen).replicas
            == hpa.on_queue(SETTING, target=2.5).decide(seen).replicas
            == 4
        )

    def test_several_parameters_of_other_types(self) -> None:
        factory, _ = policy_of("aibrix-kpa:target=10:metric=requests:total=true", SETTING)
        assert factory(SETTING).decide(view(0.0, [metrics(running=60)])).replicas == 2

    def test_static_counts_change_the_setting(self) -> None:
        factory, setting = policy_of("static-12", SETTING)
        assert (setting.initial_replicas, setting.max_replicas) == (12, max(12, SETTING.max_replicas))
        assert factory(setting).decide(view(0.0, [])).replicas == 12

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("hpa", "unknown"),
            ("static-0", "unknown"),
            ("hpa-queue:size=3", "has no parameter 'size'; it takes target"),
            ("greedy:target=3", "it takes no parameters"),
            ("hpa-queue:target=soon", "a number above 0 is expected"),
            ("hpa-queue:target=0", "a number above 0 is expected"),
            ("hpa-queue:target=nan", "a number above 0 is expected"),
            ("aibrix-apa:metric=queue", "takes kv-cache or requests"),
            ("production-stack-operator:keepalive=no", "takes true or false"),
        ],
    )
    def test_what_is_wrong_is_named(self, text: str, problem: str) -> None:
        with pytest.raises(PolicyError, match=problem):
            policy_of(text, SETTING)

    @pytest.mark.parametrize("name", TRIED)
    def test_every_value_that_tuning_tries_is_taken(self, name: str) -> None:
        for values in TRIED[name]:
            assert policy_of(f"{name}:{values}", SETTING)[0](SETTING).name == name


def test_tuning_takes_the_cheapest_that_keeps_the_slo_else_the_best() -> None:
    trace = poisson(4.0, 300.0)
    text, results = tuned("hpa-concurrency", trace, setting_of(), seed=1)
    assert next(iter(results)) == "hpa-concurrency"
    enough = {each: item for each, item in results.items() if item.slo_attainment >= 0.99}
    assert results[text].gpu_hours == min(item.gpu_hours for item in enough.values())
    poor = {each: item for each, item in results.items() if item.slo_attainment < 0.99}
    if poor:
        assert poor[best(poor)].slo_attainment == max(item.slo_attainment for item in poor.values())
