"""The rollout as a table: what is, what is wanted, what is done next."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from tacho_contract.times import format_time
from tacho_operator.core.rollout.steps import SETTLE_SECONDS, Rollout, Serving, decide_rollout

from .builders import NOW

LONG_AGO = format_time(NOW - timedelta(hours=1))
JUST_NOW = format_time(NOW - timedelta(seconds=3))
KNOWN = ("a", "b", "c")


def step(
    wanted: str,
    serving: Serving,
    *,
    replicas: int = 1,
    ready: dict[str, int] | None = None,
    deployments: dict[str, int] | None = None,
) -> Rollout:
    return decide_rollout(
        wanted=wanted,
        known=KNOWN,
        replicas=replicas,
        ready=ready or {},
        deployments=deployments or {},
        serving=serving,
        now=NOW,
    )


NOBODY = Serving()
ON_A = Serving(active="a", selected="a", switched_time=LONG_AGO, exists=True)
TOGETHER = Serving(active="a", selected="", switched_time=LONG_AGO, exists=True)
TURNED_TO_B = Serving(active="b", selected="b", switched_time=JUST_NOW, exists=True)

# wanted, serving, replicas, ready, deployments -> active, selected, sizes, dropped
ROWS = {
    "first starts": ("a", NOBODY, 1, {}, {}, "", "a", {"a": 1}, ()),
    "first of three starts alone": ("a", NOBODY, 3, {}, {}, "", "a", {"a": 1}, ()),
    "first is ready, the others follow": ("a", NOBODY, 3, {"a": 1}, {"a": 1}, "a", "a", {"a": 3}, ()),
    "nothing wanted yet": ("", NOBODY, 1, {}, {}, "", "", {}, ()),
    "a broken first one is replaced at once": (
        "b",
        Serving(selected="a", exists=True),
        1,
        {},
        {"a": 1},
        "",
        "b",
        {"b": 1},
        ("a",),
    ),
    "steady": ("a", ON_A, 2, {"a": 2}, {"a": 2}, "a", "a", {"a": 2}, ()),
    "scaled up": ("a", ON_A, 5, {"a": 2}, {"a": 2}, "a", "a", {"a": 5}, ()),
    "scaled to zero": ("a", ON_A, 0, {"a": 2}, {"a": 2}, "a", "a", {"a": 0}, ()),
    "active lost its pods": ("a", ON_A, 2, {}, {"a": 2}, "a", "a", {"a": 2}, ()),
    "candidate starts with one": ("b", ON_A, 3, {"a": 3}, {"a": 3}, "a", "a", {"a": 3, "b": 1}, ()),
    "candidate not ready": ("b", ON_A, 1, {"a": 1}, {"a": 1, "b": 1}, "a", "a", {"a": 1, "b": 1}, ()),
    "single candidate ready: turn": (
        "b",
        ON_A,
        1,
        {"a": 1, "b": 1},
        {"a": 1, "b": 1},
        "b",
        "b",
        {"b": 1},
        (),
    ),
    "first of three ready: together": (
        "b",
        ON_A,
        3,
        {"a": 3, "b": 1},
        {"a": 3, "b": 1},
        "a",
        "",
        {"a": 2, "b": 3},
        (),
    ),
    "second of three ready": (
        "b",
        TOGETHER,
        3,
        {"a": 2, "b": 2},
        {"a": 2, "b": 3},
        "a",
        "",
        {"a": 1, "b": 3},
        (),
    ),
    "all ready: turn": ("b", TOGETHER, 3, {"a": 1, "b": 3}, {"a": 1, "b": 3}, "b", "b", {"b": 3}, ()),
    "turned, old one drains": (
        "b",
        TURNED_TO_B,
        1,
        {"a": 1, "b": 1},
        {"a": 1, "b": 1},
        "b",
        "b",
        {"b": 1},
        (),
    ),
    "settled, old one goes": (
        "b",
        Serving(active="b", selected="b", switched_time=LONG_AGO, exists=True),
        1,
        {"a": 1, "b": 1},
        {"a": 1, "b": 1},
        "b",
        "b",
        {"b": 1},
        ("a",),
    ),
    "reverted while the candidate was pending": (
        "a",
        ON_A,
        1,
        {"a": 1},
        {"a": 1, "b": 1},
        "a",
        "a",
        {"a": 1},
        ("b",),
    ),
    "reverted in the middle": (
        "a",
        TOGETHER,
        3,
        {"a": 1, "b": 2},
        {"a": 1, "b": 3},
        "a",
        "",
        {"a": 3, "b": 2},
        (),
    ),
    "changed once more while pending": (
        "c",
        ON_A,
        1,
        {"a": 1},
        {"a": 1, "b": 1},
        "a",
        "a",
        {"a": 1, "c": 1},
        ("b",),
    ),
    "no plan for the change: the old one goes on": (
        "",
        ON_A,
        2,
        {"a": 2},
        {"a": 2, "b": 1},
        "a",
        "a",
        {"a": 2},
        ("b",),
    ),
    "no plan for the change while two serve together": (
        "",
        TOGETHER,
        4,
        {"a": 1, "b": 3},
        {"a": 1, "b": 4},
        "a",
        "",
        {"a": 4, "b": 3},
        (),
    ),
    "a third revision while two serve together": (
        "c",
        TOGETHER,
        4,
        {"a": 1, "b": 3},
        {"a": 1, "b": 4},
        "a",
        "",
        {"a": 4, "b": 3, "c": 1},
        (),
    ),
    "change while scaled to zero": ("b", ON_A, 0, {}, {"a": 0}, "b", "b", {"b": 0}, ()),
    "active revision's record cannot be read, and there is no plan": (
        "",
        Serving(active="gone", selected="gone", exists=True),
        2,
        {"gone": 2},
        {"gone": 2},
        "gone",
        "gone",
        {},
        (),
    ),
    "active revision's record cannot be read, and another one starts": (
        "b",
        Serving(active="gone", selected="gone", exists=True),
        2,
        {"gone": 2},
        {"gone": 2},
        "gone",
        "gone",
        {"b": 1},
        (),
    ),
    "what took over from it": (
        "b",
        Serving(active="gone", selected="gone", exists=True),
        1,
        {"gone": 1, "b": 1},
        {"gone": 1, "b": 1},
        "b",
        "b",
        {"b": 1},
        (),
    ),
    "active revision's record is gone": (
        "b",
        Serving(active="gone", selected="gone", exists=True),
        1,
        {},
        {},
        "",
        "b",
        {"b": 1},
        (),
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_next_step(row: str) -> None:
    wanted, serving, replicas, ready, deployments, active, selected, sizes, dropped = ROWS[row]
    found = step(wanted, serving, replicas=replicas, ready=ready, deployments=deployments)
    assert (found.active, found.selected, dict(found.replicas), found.drop) == (
        active,
        selected,
        sizes,
        dropped,
    ), found.reason


def test_old_pods_outlive_the_turn_by_the_time_to_settle() -> None:
    turned = step("b", ON_A, ready={"a": 1, "b": 1}, deployments={"a": 1, "b": 1})
    assert turned.switched_time == format_time(NOW)
    assert turned.look_again_seconds == SETTLE_SECONDS
    waiting = step("b", TURNED_TO_B, ready={"a": 1, "b": 1}, deployments={"a": 1, "b": 1})
    assert waiting.look_again_seconds == SETTLE_SECONDS - 3
    assert waiting.settling


COUNTS = st.dictionaries(st.sampled_from(KNOWN), st.integers(0, 4), max_size=3)


@given(
    wanted=st.sampled_from(("", *KNOWN)),
    active=st.sampled_from(("", "gone", *KNOWN)),
    selected=st.sampled_from(("", *KNOWN)),
    replicas=st.integers(0, 4),
    deployments=COUNTS,
    ready=COUNTS,
    switched=st.sampled_from(("", LONG_AGO, JUST_NOW)),
)
def test_no_step_takes_away_who_serves(
    wanted: str,
    active: str,
    selected: str,
    replicas: int,
    deployments: dict[str, int],
    ready: dict[str, int],
    switched: str,
) -> None:
    serving = Serving(active=active, selected=selected, switched_time=switched, exists=True)
    have = {name: min(ready.get(name, 0), size) for name, size in deployments.items()}
    found = decide_rollout(
        wanted=wanted,
        known=KNOWN,
        replicas=replicas,
        ready=have,
        deployments=deployments,
        serving=serving,
        now=NOW,
    )
    assert not set(found.drop) & set(found.replicas)
    assert set(found.drop) <= set(deployments)
    assert found.active not in found.drop
    assert all(0 <= size <= replicas for size in found.replicas.values())
    if found.selected:
        assert found.selected in found.replicas
    # The Service turns away from a serving revision only to one that serves with all its replicas.
    if active in KNOWN and have.get(active, 0) and replicas and found.selected not in ("", active):
        assert have.get(found.selected, 0) >= replicas
    # While two revisions serve together there are never fewer pods than replicas asked for.
    if found.candidate and not found.selected:
        kept = sum(min(found.replicas.get(name, 0), count) for name, count in have.items())
        assert kept >= min(replicas, sum(have.get(name, 0) for name in found.replicas))
