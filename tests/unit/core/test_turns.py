"""Probe pods are bounded in the cluster, and no namespace's line holds up another."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, strategies as st

from tacho_operator.core.measurement.due import Place, next_turns
from tools.harness.world import World

places = st.tuples(st.sampled_from("abcd"), st.integers(0, 9).map(str))


@given(st.lists(places, unique=True), st.dictionaries(places, st.booleans(), max_size=8), st.integers(1, 6))
def test_no_more_than_the_limit_and_the_emptiest_namespace_first(
    waiting: list[Place], measuring: dict[Place, bool], limit: int
) -> None:
    waiting = [place for place in waiting if place not in measuring]
    found = next_turns(waiting, measuring, limit)
    assert set(found) <= set(waiting)
    busy = Counter(namespace for namespace, _ in (*measuring, *found))
    taken = sum(measuring.values()) + len(found)

    def is_full(namespace: str) -> bool:
        own = sum(place[0] == namespace and not everywhere for place, everywhere in measuring.items())
        return taken + own >= limit

    left = [place for place in waiting if place not in found]
    assert all(is_full(namespace) for namespace, _ in left), "none waits without need"
    assert not found or taken <= limit
    for namespace, _ in left if found and all(measuring.values()) else ():
        assert busy[namespace] >= busy[found[-1][0]] - 1, "no other got a turn that was this one's"
    for namespace in "abcd":
        mine = [place for place in waiting if place[0] == namespace]
        granted = [place for place in found if place[0] == namespace]
        assert granted == mine[: len(granted)], "first come, first served"


def test_a_restored_backup_of_one_namespace_holds_up_no_other() -> None:
    many = [("many", str(number)) for number in range(1500)]
    waiting, measuring = [*many[8:], ("honest", "own")], dict.fromkeys(many[:8], True)
    assert next_turns(waiting, measuring, 8) == ()
    del measuring[many[0]]
    assert next_turns(waiting, measuring, 8) == (("honest", "own"),)


def test_long_probe_pods_count_against_their_own_namespace_alone() -> None:
    many = [("many", str(number)) for number in range(20)]
    honest = [("honest", str(number)) for number in range(20)]
    measuring = dict.fromkeys(many[:8], False)
    assert next_turns(many[8:], measuring, 8) == ()
    assert next_turns([*many[8:], *honest], measuring, 8) == tuple(honest[:8])


def test_who_waits_for_a_turn_says_so_and_starts_nothing() -> None:
    world = World()
    world.come_up()
    world.probe_turn = False
    world.change(workload={"inputTokens": 900, "outputTokens": 10})
    decision = world.reconcile(1)
    assert decision.awaits_probe_turn
    assert not world.pods("probe")
    assert world.brief("Measured") == ("False", "MeasurementStale")
    assert "A probe pod waits for its turn" in world.condition("Measured")["message"]
    world.probe_turn = True
    assert not world.reconcile(1).awaits_probe_turn
    assert world.pods("probe")
    assert "waits for its turn" not in world.condition("Measured")["message"]
