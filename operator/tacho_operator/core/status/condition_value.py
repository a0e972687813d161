"""Status, reason and message of a condition.

A message has figure, reason and next step, and may have a quotation. Longer texts are in status.plan,
status.revisions and status.measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from tacho_contract.units import clipped
from tacho_operator.api.status.status import ConditionStatus
from tacho_operator.core.problems import DETAILS, Problem, with_full_stop

MESSAGE_LIMIT_CHARS = 1024


@dataclass(frozen=True, slots=True)
class ConditionValue:
    """Status, reason and message of one condition."""

    status: ConditionStatus
    reason: str
    what: str
    next_step: str = ""
    quotation: str = ""

    @classmethod
    def of(cls, status: ConditionStatus, problem: Problem, prefix: str = "") -> Self:
        """The condition for ``problem``."""
        return cls(status, problem.reason, prefix + problem.what, problem.next_step, problem.quotation)

    @property
    def message(self) -> str:
        return condition_message(self.what, self.next_step, self.quotation)


def condition_message(what: str, next_step: str = "", quotation: str = "") -> str:
    """A condition's message. What is too long loses its end."""
    what, _, quoted = what.partition(DETAILS)
    own = " ".join(filter(None, (with_full_stop(what), with_full_stop(next_step))))
    quotation = " ".join((quotation or quoted).split())
    return clipped(f"{own}{DETAILS}{quotation}" if quotation else own, MESSAGE_LIMIT_CHARS)
