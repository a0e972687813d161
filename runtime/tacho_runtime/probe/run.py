"""The probe from the first request to the report."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from random import Random

from tacho_runtime import contract
from tacho_runtime.probe.target import ProbeTarget


def utc_now() -> datetime:
    """The wall clock; only ever used to date the result."""
    return datetime.now(timezone.utc)


async def run_probe(
    target: ProbeTarget,
    live: contract.LiveConfig,
    *,
    plan_key: str,
    now: Callable[[], datetime] = utc_now,
    rng: Random | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> contract.Measurement:
    """Measures ``target`` within ``live.probe.budget_seconds``; never later than ``timeout_seconds``.

    Never raises but CancelledError (after which no request is left running): what goes wrong is the
    measurement's ``state`` (Partial with what was found, Failed with nothing) and ``message``.
    ``progress`` gets a few words at each phase.
    """
    raise NotImplementedError
