"""Of a namespace the oldest resources are held, and what has a revision, whatever order they come in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_operator.core.places import Rank, ResourceOrder, rank, reports_full
from tacho_operator.core.status.undecided import StoredResource, namespace_full, undecided_status
from tools.harness.resources import CLAIM_SPEC, NOW, raw_resource

RANKS = st.builds(Rank, st.booleans(), st.sampled_from("123"), st.uuids().map(str))


def held(ranks: dict[str, Rank], limit: int) -> set[str]:
    """By definition."""
    first = sorted(ranks, key=lambda name: (ranks[name], name))[:limit]
    return {*first, *(name for name, rank in ranks.items() if not rank.is_new)}


@given(st.dictionaries(st.text("abcdef", min_size=1), RANKS, max_size=12), st.integers(1, 6), st.randoms())
def test_which_are_held_depends_on_no_order(ranks: dict[str, Rank], limit: int, random: Any) -> None:
    places, names = ResourceOrder(limit), list(ranks)
    random.shuffle(names)
    lost = {loser for name in names if (loser := places.take(name, ranks[name])) is not None}
    assert set(places) == held(ranks, limit)
    assert lost == set(ranks) - set(places), "each that has no place is named"
    assert all(places.take(name, ranks[name]) is None for name in places), "what is repeated changes nothing"


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.one_of(st.none(), RANKS)), max_size=30),
    st.integers(1, 4),
)
def test_changes_and_deletions_leave_room_for_the_next(
    changes: list[tuple[str, Rank | None]], limit: int
) -> None:
    """A revision that is lost, a resource made anew under its name: there is one place a name."""
    places = ResourceOrder(limit)
    there: dict[str, Rank] = {}
    for name, change in changes:
        if change is None:
            places.leave(name)
            there.pop(name, None)
        else:
            there[name] = change
            loser = places.take(name, change)
            there.pop(loser or "", None)
        assert set(places) == set(there)
        assert len(places) <= max(limit, sum(not rank.is_new for rank in there.values()))


def test_a_flood_displaces_nothing_that_is_older_or_has_a_revision() -> None:
    old = raw_resource(CLAIM_SPEC, uid="b", creationTimestamp="2026-01-01T00:00:00Z")
    young = raw_resource(CLAIM_SPEC, uid="a", creationTimestamp="2026-01-02T00:00:00Z")
    served = {**young, "status": {"revisions": [{"name": "r"}]}}
    places = ResourceOrder(1)
    assert places.take("young", rank(young)) is None
    assert places.take("old", rank(old)) == "young"
    assert places.take("young", rank(young)) == "young"
    assert places.take("young", rank(served)) == "old", "the limit was lowered, or the clock of its creation"
    assert places.take("other", rank(served)._replace(uid="c")) is None
    assert len(places) == 2


def test_what_its_status_says() -> None:
    raw = raw_resource(CLAIM_SPEC, generation=2)
    assert not reports_full(raw)
    status = undecided_status(StoredResource(raw=raw), namespace_full(1000), NOW).to_wire()
    found = {item["type"]: (item["status"], item["reason"]) for item in status["conditions"]}
    assert found["Stalled"] == ("True", "NamespaceFull")
    assert found["Ready"] == ("False", "NamespaceFull")
    assert found["Reconciling"] == ("False", "Failed"), "as kstatus reads it"
    assert reports_full({**raw, "status": status})
    later = {**raw, "metadata": {**raw["metadata"], "generation": 3}}
    assert not reports_full({**later, "status": status}), "of that spec it says nothing"


@pytest.mark.parametrize("status", [None, [], "x", {"conditions": 5}, {"conditions": [None, 1, {}]}])
def test_a_status_of_an_old_definition(status: Any) -> None:
    raw = {**raw_resource(CLAIM_SPEC), "status": status}
    assert not reports_full(raw)
    assert rank(raw).is_new
