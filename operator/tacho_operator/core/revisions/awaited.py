"""What ends for all at once that wait for it: a hub that was down and answers again.

Whoever failed at it together tries again spread out, so that a hub that comes back is not asked by thousands;
when the first gets through, that is news for all the others.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from tacho_contract.failure import FailureClass
from tacho_operator.core.types import Waiting

AWAITED = frozenset({FailureClass.HUB_UNREACHABLE.value})
"""The reasons that Ready gives."""
NEWS = timedelta(seconds=60)
"""That one waits no longer is told so often: when it ends for thousands, the first of them speaks for all."""
TRIES_PER_SECOND = 1.0
"""Of all together that wait for the same: a hub that is down for thousands is not asked by each every few
seconds, nor every few minutes."""


def ceased(before: str, now: str) -> str:
    """Of two reasons of one resource, the one that it awaited and awaits no longer; "" where none."""
    return before if before in AWAITED and now != before else ""


def is_news(told: datetime | None, now: datetime) -> bool:
    """Whether the others are to hear that one waits no longer; ``told``: when they last did."""
    return told is None or now - told >= NEWS


def pause_seconds(alone: float, waiting: Waiting, since: datetime, *, apart: float) -> float:
    """After a failure at ``since`` that may end by itself, for whose end all of ``waiting`` wait: ``alone``
    is the pause of one that fails alone.

    They failed together and are spread over as much time again as they take, by ``apart`` in [0, 1). Once one
    of them waits no longer each tries as if it were alone, and so does one that fails before there can be
    news again: the hub has answered a moment ago, and nobody would tell it.
    """
    if waiting.freed is not None and waiting.freed > since - NEWS:
        return alone
    return max(alone, (0.5 + apart) * waiting.count / TRIES_PER_SECOND)
