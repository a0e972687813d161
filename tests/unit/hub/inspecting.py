"""What the tests of inspection share."""

from __future__ import annotations

from tacho_contract.failure import Failure
from tacho_contract.model import InspectConfig, ModelFacts
from tacho_runtime.hub.inspect import inspect


def facts_of(config: InspectConfig, token: str = "") -> ModelFacts:
    result = inspect(config, token)
    assert result.facts is not None, result.failure
    return result.facts


def failure_of(config: InspectConfig, token: str = "") -> Failure:
    result = inspect(config, token)
    assert result.failure is not None
    assert result.failure.next_step
    return result.failure
