"""Turns the options --workload, --slo and --budget into a probe's settings. Pure; bounds and defaults are the
API's."""

from __future__ import annotations

import re
from typing import TypeVar

from pydantic import ValidationError

from tacho_cli.problems import CommandError
from tacho_contract.launch import LiveConfig, ProbeSettings, ServiceLevel
from tacho_contract.measurement import Workload
from tacho_operator.api.base import ApiModel
from tacho_operator.api.spec.service import ProbeSpec, SloSpec, WorkloadSpec
from tacho_operator.core.revisions.identity import probe_config

MILLISECONDS = {"ms": 1.0, "s": 1000.0}
SECONDS = {"s": 1.0, "m": 60.0}
MAX_CONCURRENCY = 4096
MAX_LEVELS = 16
ModelT = TypeVar("ModelT", bound=ApiModel)


def live_config(workload: str, slo: str, budget: str) -> LiveConfig:
    """The probe's settings that the options give; "" leaves a field at the default of a spec. Raises
    CommandError."""
    return probe_config(_workload(workload), _service_level(slo), _settings(budget))


def given_levels(text: str) -> tuple[int, ...]:
    """The numbers of streams that --levels lists, ascending; () where it is absent. Raises CommandError."""
    if not text:
        return ()
    found = [int(part) for part in text.split(",") if re.fullmatch(" *[0-9]{1,9} *", part)]
    if len(found) != text.count(",") + 1 or not all(1 <= one <= MAX_CONCURRENCY for one in found):
        raise _usage("--levels", text, f"numbers of streams from 1 to {MAX_CONCURRENCY}, e.g. 16,64,128")
    if len(found) > MAX_LEVELS:
        raise _usage("--levels", text, f"at most {MAX_LEVELS} levels")
    return tuple(sorted(set(found)))


def _workload(text: str) -> Workload:
    if not text:
        return Workload()
    found = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", text)
    if found is None:
        raise _usage("--workload", text, "INPUT:OUTPUT tokens are expected, e.g. 512:200")
    given = {"inputTokens": int(found[1]), "outputTokens": int(found[2])}
    return Workload(**_within_bounds(WorkloadSpec, given, "--workload", text))


def _service_level(text: str) -> ServiceLevel:
    if not text:
        return ServiceLevel()
    expected = "ttft=500ms, tpot=50ms or both with a comma are expected, and p=95 for the share of requests"
    given: dict[str, int] = {}
    keys = {"ttft": "ttftMilliseconds", "tpot": "tpotMilliseconds", "p": "percentile"}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name not in keys or keys[name] in given:
            raise _usage("--slo", text, expected)
        number = int(value) if name == "p" and re.fullmatch("[0-9]{1,9}", value) else milliseconds(value)
        if number is None:
            raise _usage("--slo", text, expected)
        given[keys[name]] = number
    if given.keys() == {"percentile"}:
        raise _usage("--slo", text, expected)
    return ServiceLevel(**_within_bounds(SloSpec, given, "--slo", text))


def _settings(text: str) -> ProbeSettings:
    """The probe's settings for --budget; it ends at twice the budget in any case."""
    if not text:
        return ProbeSettings()
    budget = _duration(text, SECONDS)
    if budget is None:
        raise _usage("--budget", text, "whole seconds or minutes are expected, e.g. 45s or 2m")
    given = {"budgetSeconds": budget, "timeoutSeconds": 2 * budget}
    read = _within_bounds(ProbeSpec, given, "--budget", text)
    return ProbeSettings(budget_seconds=read["budget_seconds"], timeout_seconds=read["timeout_seconds"])


def milliseconds(text: str) -> int | None:
    """A duration such as 500ms or 2s in milliseconds; None: not a whole number of these."""
    return _duration(text, MILLISECONDS)


def _duration(text: str, units: dict[str, float]) -> int | None:
    """A duration in the base unit (factor 1 in ``units``); None: not a whole number of these."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([a-z]+)", text)
    if found is None or found[2] not in units:
        return None
    value = float(found[1]) * units[found[2]]
    return round(value) if abs(value - round(value)) < 1e-9 else None


def _within_bounds(model: type[ModelT], given: dict[str, int], option: str, text: str) -> dict[str, int]:
    """The fields in ``given``, checked with ``model``. Raises CommandError for what the API would refuse."""
    try:
        read: dict[str, int] = model.model_validate(given).model_dump(exclude_none=True)
        return read
    except ValidationError as error:
        problem = error.errors()[0]
        raise _usage(option, text, f"{problem['loc'][0]}: {problem['msg']}") from None


def _usage(option: str, text: str, expected: str) -> CommandError:
    return CommandError(f"{option} {text}: {expected}")
