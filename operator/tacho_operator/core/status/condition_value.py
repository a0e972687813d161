"""Status, reason and message of a condition.

A message has at most OWN_LIMIT_CHARS characters of tacho's text: figure, reason, next step. A quotation may
follow, MESSAGE_LIMIT_CHARS in all. Longer texts are in status.plan, status.revisions and status.measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from tacho_contract.units import clipped
from tacho_operator.api.status.status import ConditionStatus
from tacho_operator.core.problems import DETAILS, Problem, with_full_stop

OWN_LIMIT_CHARS = 160
STEP_LIMIT_CHARS = 100
MESSAGE_LIMIT_CHARS = 512


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
        """The condition for ``problem``. If its text is too long for the message, the whole text follows as
        the quotation.
        """
        too_long = len(prefix) + len(problem.what) + 1 + len(problem.next_step) > OWN_LIMIT_CHARS
        quotation = problem.quotation or (problem.message if too_long else "")
        return cls(status, problem.reason, prefix + problem.what, problem.next_step, quotation)

    @property
    def message(self) -> str:
        return condition_message(self.what, self.next_step, self.quotation)


def condition_message(what: str, next_step: str = "", quotation: str = "") -> str:
    """A condition's message within both length limits. The next step keeps STEP_LIMIT_CHARS in any case."""
    what, _, quoted = what.partition(DETAILS)
    what = with_full_stop(what)
    step = _shortened(with_full_stop(next_step), max(STEP_LIMIT_CHARS, OWN_LIMIT_CHARS - len(what) - 1))
    limit = OWN_LIMIT_CHARS - (len(step) + 1 if step else 0)
    own = " ".join(filter(None, (_shortened(what, limit), step)))
    quotation = " ".join((quotation or quoted).split())
    return clipped(f"{own}{DETAILS}{quotation}", MESSAGE_LIMIT_CHARS) if quotation else own


def _shortened(text: str, limit: int) -> str:
    """``text`` cut to ``limit`` characters, after a sentence or word if half of it stays, else in a name."""
    if len(text) <= limit:
        return text
    sentences = text[: limit + 1].rfind(". ")
    if sentences + 1 >= limit // 2:
        return text[: sentences + 1]
    words = text[: limit - 1].rpartition(" ")[0].rstrip()
    if words.count("(") > words.count(")") and words.rindex("(") > limit // 2:
        words = words[: words.rindex("(")].rstrip()
    if len(words) < limit // 2 and not words.endswith("."):
        words = text[: limit - 1]
    return words if words.endswith(".") else f"{words}…"
