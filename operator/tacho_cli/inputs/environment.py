"""Environment variables of the children of a local command: the same as in a pod's containers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from tacho_cli.output.problems import CommandError
from tacho_contract.uri import HubUri
from tacho_operator.api.spec.sources import EnvVar, ModelSpec
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.manifests.environment import RESERVED_PREFIX

HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH")
"""Only inspecting and fetching may see them: the engine runs the model's code."""


def hub_environment(model: ModelSpec) -> dict[str, str]:
    """Environment variables to inspect and fetch the model, added to the caller's own. Raises
    CommandError."""
    return _values("spec.model.hub.env", model.hub.env if model.hub else ())


def engine_environment(resource: LLMDeployment, caller: Mapping[str, str]) -> dict[str, str]:
    """Everything the runtime and its engine see: the caller's without the hub's tokens, then spec's own."""
    own = {name: value for name, value in caller.items() if name not in HUB_TOKENS}
    engine = resource.spec.engine
    if isinstance(resource.spec.model.source, HubUri):
        own["HF_HUB_OFFLINE"] = "1"
    return {**own, **_values("spec.engine.env", engine.env if engine else ())}


def _values(place: str, variables: Iterable[EnvVar]) -> dict[str, str]:
    """Literal values; one that a cluster takes from a Secret comes from the caller's environment."""
    found: dict[str, str] = {}
    for index, item in enumerate(variables):
        if item.name.startswith(RESERVED_PREFIX):
            continue
        if item.value_from is None:
            found[item.name] = item.value or ""
        elif item.name in os.environ:
            found[item.name] = os.environ[item.name]
        else:
            raise CommandError(
                f"{place}[{index}]: {item.name} comes from the cluster; here, set it in your environment"
            )
    return found
