"""What the CRD cannot catch in every spelling: above all switches and variables that open doors."""

from __future__ import annotations

from tacho_contract.failure import FailureClass
from tacho_contract.units import clipped
from tacho_contract.uri import FileUri
from tacho_operator.api.rules.deny_list import refused_arguments, refused_variables
from tacho_operator.api.types import LLMDeploymentSpec
from tacho_operator.core.problems import Problem


def screen(spec: LLMDeploymentSpec) -> Problem | None:
    """The first refusals of extraArgs and environments, normalised; None where there is none.

    No revision is born from a refused spec, so nothing that is refused here ever reaches a pod.
    """
    if isinstance(spec.model.source, FileUri):  # an older CustomResourceDefinition let it in
        return Problem(
            reason=FailureClass.INVALID_CONFIG,
            message=f"model.uri {spec.model.uri} cannot be served in a cluster. Use hf://owner/name or "
            "pvc://claim/path.",
        )
    engine, hub = spec.engine, spec.model.hub
    lists = (
        ("engine.extraArgs", refused_arguments(engine.extra_args if engine else ())),
        ("engine.env", refused_variables(item.name for item in (engine.env if engine else ()))),
        ("model.hub.env", refused_variables(item.name for item in (hub.env if hub else ()))),
    )
    said = [f"{path}[{item.index}]: {item.message}" for path, refusals in lists for item in refusals]
    if not said:
        return None
    return Problem(
        reason=FailureClass.INVALID_CONFIG,
        message=clipped("; ".join(said) + ". Remove it from the spec."),
    )
