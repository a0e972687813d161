"""Conditions: how one is set, and that the contract names all there is."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tacho_contract.failure import FAILURE_KINDS, Escalation, FailureClass, failure_kind
from tacho_contract.units import format_time
from tacho_operator.api.conditions import (
    ConditionType,
    Reason,
    find_condition,
    remove_condition,
    set_condition,
)
from tacho_operator.api.crd.schema import WAITING
from tacho_operator.api.status.status import Condition
from tools.crd import failures_page
from tools.troubleshooting import ANY_FAILURE, CONDITION_SYMPTOMS, POD_SYMPTOMS, condition_rows

REPOSITORY = Path(__file__).parents[3]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
READY = ConditionType.READY


def ready(
    conditions: list[Condition], *, status: str, minutes: int, reason: str = "Serving"
) -> list[Condition]:
    judged = Condition(
        type=str(READY),
        status=status,
        reason=str(reason),
        message=f"after {minutes} minutes",
        observed_generation=minutes,
        last_transition_time=format_time(NOON + timedelta(minutes=minutes)),
    )
    return set_condition(conditions, judged)


def test_a_time_that_the_api_server_refuses_is_not_kept() -> None:
    restored = ready([], status="True", minutes=0)[0].model_copy(update={"last_transition_time": "noon"})
    (found,) = ready([restored], status="True", minutes=1)
    assert found.last_transition_time == "2026-11-20T12:01:00Z"


def test_the_time_moves_only_with_the_status() -> None:
    first = ready([], status="False", minutes=0, reason=Reason.LOADING)
    second = ready(first, status="False", minutes=1, reason=Reason.MEASURING)
    third = ready(second, status="True", minutes=2)
    assert [c.last_transition_time for c in (first[0], second[0], third[0])] == [
        *["2026-11-20T12:00:00Z"] * 2,
        "2026-11-20T12:02:00Z",
    ]
    assert (second[0].reason, second[0].observed_generation) == ("Measuring", 1)
    assert type(second[0].reason) is type(second[0].type) is str


def test_a_condition_keeps_its_place_and_the_old_list_is_untouched() -> None:
    waiting = [Condition.model_validate(WAITING), Condition.model_validate({**WAITING, "type": "Planned"})]
    changed = ready(waiting, status="True", minutes=1)
    assert [c.type for c in changed] == ["Ready", "Planned"]
    assert waiting[0].reason == Reason.WAITING_FOR_OPERATOR
    assert changed[0].last_transition_time == "2026-11-20T12:01:00Z"


def test_conditions_are_found_and_removed() -> None:
    conditions = ready([], status="True", minutes=0)
    assert find_condition(conditions, READY) is conditions[0]
    assert find_condition(conditions, ConditionType.STALLED) is None
    assert remove_condition(conditions, READY) == []


def test_the_page_names_every_type_and_every_reason() -> None:
    rows = condition_rows()
    assert list(dict.fromkeys(row.kind for row in rows)) == list(ConditionType)
    assert {row.reason for row in rows} == {*map(str, Reason), ANY_FAILURE}
    assert len(Reason) <= 45
    assert len({(row.kind, row.status, row.reason) for row in rows}) == len(rows)
    assert [row for row in rows if not (row.meaning.endswith(".") and row.next_step.endswith("."))] == []


def test_each_class_is_under_one_symptom() -> None:
    assert sorted(itertools.chain(*POD_SYMPTOMS.values())) == sorted(FailureClass)


def test_each_type_is_under_one_symptom_or_is_told_by_ready() -> None:
    told = {"Ready", "Stalled", "Planned"}
    assert sorted([*itertools.chain(*CONDITION_SYMPTOMS.values()), *told]) == sorted(ConditionType)


def test_every_class_has_a_row_and_a_next_step() -> None:
    assert list(FAILURE_KINDS) == list(FailureClass)
    assert all(kind.meaning and kind.next_step for kind in FAILURE_KINDS.values())
    assert f"{FailureClass.DOES_NOT_FIT}" == "DoesNotFit" == str(FailureClass.DOES_NOT_FIT)


def test_an_unknown_class_still_gets_advice() -> None:
    assert failure_kind("DoesNotFit") is FAILURE_KINDS[FailureClass.DOES_NOT_FIT]
    assert "log" in failure_kind("OfALaterVersion").next_step


def test_the_page_has_every_class_that_can_occur_with_both_properties() -> None:
    page = failures_page()
    for name, kind in FAILURE_KINDS.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
        again, person = row.strip("| ").split(" | ")[-2:]
        assert again == ("yes" if kind.tries_again else "no")
        assert (person == "yes", person == "no") == (
            kind.needs_user_action,
            not kind.user_action_needed(Escalation),
        )


def test_classes_and_reasons_do_not_share_words() -> None:
    assert not {str(name) for name in FailureClass} & {str(name) for name in Reason}
