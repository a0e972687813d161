"""The options of ``tacho probe`` as what a probe is asked. Pure; bounds and defaults are those of the API."""

from __future__ import annotations

import re
from typing import TypeVar

from pydantic import ValidationError

from tacho_contract.launch import LiveConfig, ProbeSettings, ServiceLevel
from tacho_contract.measurement import Workload
from tacho_operator.api.base import ApiModel
from tacho_operator.api.types import ProbeSpec, SloSpec, WorkloadSpec
from tacho_operator.cli.output.problems import EXIT_PROBE_USAGE, CommandError
from tacho_operator.core.revisions.keys import asked

MILLISECONDS = {"ms": 1.0, "s": 1000.0}
SECONDS = {"s": 1.0, "m": 60.0}
WORDS = {
    "inputTokens": "tokens of the prompt",
    "outputTokens": "tokens of the answer",
    "ttftMilliseconds": "ttft in milliseconds",
    "tpotMilliseconds": "tpot in milliseconds",
    "percentile": "p",
    "budgetSeconds": "seconds",
    "timeoutSeconds": "twice its seconds, at which it ends",
}
"""The API's fields, for whoever has none before him."""
ModelT = TypeVar("ModelT", bound=ApiModel)


def question(workload: str, slo: str, budget: str) -> LiveConfig:
    """What the options say; "" leaves it as in a spec that says nothing. Raises CommandError."""
    return asked(_workload(workload), _service_level(slo), _settings(budget))


def _workload(text: str) -> Workload:
    if not text:
        return Workload()
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if found is None:
        raise _usage("--workload", text, "INPUT:OUTPUT tokens are wanted, e.g. 512:200")
    given = {"inputTokens": int(found[1]), "outputTokens": int(found[2])}
    return Workload(**_within_bounds(WorkloadSpec, given, "--workload", text))


def _service_level(text: str) -> ServiceLevel:
    if not text:
        return ServiceLevel()
    wanted = "ttft=500ms, tpot=50ms or both with a comma are wanted, and p=95 for the share of requests"
    given: dict[str, int] = {}
    keys = {"ttft": "ttftMilliseconds", "tpot": "tpotMilliseconds", "p": "percentile"}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name not in keys or keys[name] in given:
            raise _usage("--slo", text, wanted)
        number = int(value) if name == "p" and value.isdigit() else _duration(value, MILLISECONDS)
        if number is None:
            raise _usage("--slo", text, wanted)
        given[keys[name]] = number
    if given.keys() == {"percentile"}:
        raise _usage("--slo", text, wanted)
    return ServiceLevel(**_within_bounds(SloSpec, given, "--slo", text))


def _settings(text: str) -> ProbeSettings:
    """Whatever happens, it ends at twice the budget, as it does by default."""
    if not text:
        return ProbeSettings()
    budget = _duration(text, SECONDS)
    if budget is None:
        raise _usage("--budget", text, "whole seconds or minutes are wanted, e.g. 45s or 2m")
    given = {"budgetSeconds": budget, "timeoutSeconds": 2 * budget}
    read = _within_bounds(ProbeSpec, given, "--budget", text)
    return ProbeSettings(budget_seconds=read["budget_seconds"], timeout_seconds=read["timeout_seconds"])


def _duration(text: str, units: dict[str, float]) -> int | None:
    """In the unit that counts 1; None where it is not a whole number of them."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]+)", text)
    if found is None or found[2] not in units:
        return None
    value = float(found[1]) * units[found[2]]
    return round(value) if abs(value - round(value)) < 1e-9 else None


def _within_bounds(model: type[ModelT], given: dict[str, int], option: str, text: str) -> dict[str, int]:
    """The fields that were given. Raises CommandError for what the API would refuse."""
    try:
        read: dict[str, int] = model.model_validate(given).model_dump(exclude_none=True)
        return read
    except ValidationError as error:
        problem = error.errors()[0]
        field = str(problem["loc"][0])
        raise _usage(option, text, f"{WORDS.get(field, field)}: {problem['msg']}") from None


def _usage(option: str, text: str, wanted: str) -> CommandError:
    return CommandError(f"{option} {text}: {wanted}", code=EXIT_PROBE_USAGE)
