"""From spec to a revision. An existing one is used; else spec is checked, the model inspected and planned,
and a revision created.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from tacho_contract.failure import FailureClass
from tacho_contract.units import clipped
from tacho_contract.uri import FileUri
from tacho_operator.api.rules.deny_list import refused_arguments, refused_hub_variables, refused_variables
from tacho_operator.api.types import LLMDeployment, LLMDeploymentSpec
from tacho_operator.core import problems as problem
from tacho_operator.core.manifests.environment import VARIABLE_LIMIT_BYTES, too_long_variable
from tacho_operator.core.planner.inputs import nodes_read, plan_inputs
from tacho_operator.core.planner.plan import fails_for_any_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure, PlanResult
from tacho_operator.core.pods.claims import missing_claim
from tacho_operator.core.pods.view import named
from tacho_operator.core.problems import Problem
from tacho_operator.core.revisions import controller_revision
from tacho_operator.core.revisions.controller_revision import Revision
from tacho_operator.core.revisions.identity import desired_revision_name
from tacho_operator.core.revisions.inspection import Inspection, facts_key, inspect, known_facts
from tacho_operator.core.revisions.next_gpu import needs_another_gpu
from tacho_operator.core.types import Config, Manifest, Observed, PlanInputs

PLAN_PENDING = "The model is known; its plan is being made."


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """The plan and the revision of the present spec, or the problem or missing step on the way to them."""

    revision: Revision | None = None
    """The spec's revision: it exists, or this decision creates it. None: it cannot be created yet."""
    plan: ModelPlan | None = None
    """The plan; set also where it cannot be launched."""
    failure: PlanFailure | None = None
    problem: Problem | None = None
    """Why planning failed, or why the plan cannot be launched."""
    inspection: Inspection | None = None
    """The inspection of the model; None: no inspection was needed."""
    pending_plan: PlanInputs | None = None
    """The plan that is still to be made; None: none is."""
    apply: tuple[Manifest, ...] = ()

    @property
    def desired_revision(self) -> str:
        """The name of the spec's revision; "" while it has no plan."""
        return self.revision.name if self.revision else ""


def _unreadable_record(observed: Observed, own: str) -> Problem | None:
    """The problem of a ControllerRevision that exists for the spec but cannot be decoded. A new plan in its
    place could change running pods.
    """
    if named(observed.revisions, own) is None:
        return None
    return Problem(
        reason=FailureClass.INVALID_CONFIG,
        what=f"ControllerRevision {own} is damaged, or of a version that this operator cannot read.",
        next_step="Restore it, upgrade the operator, or delete it to plan again.",
    )


def _freeze(
    resource: LLMDeployment,
    plan: ModelPlan,
    inspection: Inspection,
    revisions: Mapping[str, Revision],
    config: Config,
) -> Planning:
    """The plan, with a new revision for it, or the problem because of which its pods could not start."""
    assert inspection.facts is not None
    manifest = controller_revision.new_revision(
        resource,
        plan,
        inspection.facts,
        facts_key=facts_key(resource),
        number=1 + max((item.number for item in revisions.values()), default=0),
        config=config,
    )
    if (too_long := too_long_variable(manifest["data"]["podTemplate"])) is not None:
        return Planning(plan=plan, problem=_too_long(*too_long), inspection=inspection)
    return Planning(
        revision=controller_revision.read(manifest), plan=plan, inspection=inspection, apply=(manifest,)
    )


def _too_long(name: str, size_bytes: int) -> Problem:
    return Problem(
        reason=FailureClass.INVALID_CONFIG,
        what=f"The pod's settings take {size_bytes} bytes in its variable {name}, and Linux starts no process"
        f" with more than {VARIABLE_LIMIT_BYTES}.",
        next_step="Shorten engine.custom.command and engine.extraArgs, or name fewer files in model.files; a"
        " character beyond ASCII takes 6 or 12 bytes.",
    )


def plan_step(
    observed: Observed,
    config: Config,
    revisions: Mapping[str, Revision],
    now: datetime,
    planned: PlanResult | None,
) -> Planning:
    """The revision of the present spec, or the next step towards it.

    An existing revision is not planned again, even if operator, GPU data or measurements change.
    ``planned``: the plan that the first call requested; None: not made yet.
    """
    resource = observed.resource
    own = desired_revision_name(resource)
    if (known := controller_revision.newest_of(revisions, own)) is not None:
        next_gpu = _next_gpu(observed, config, known, revisions, now, planned)
        return next_gpu or Planning(revision=known, plan=known.plan)
    if (unreadable := _unreadable_record(observed, own)) is not None:
        return Planning(problem=unreadable)
    if missing_claim(resource, observed.claims) is not None:
        return Planning()
    if (refused := screen(resource.spec)) is not None:
        return Planning(problem=refused)
    inspection = inspect(observed, config, now)
    if inspection.facts is None:
        nodes = nodes_read(resource.spec, observed.nodes, config)
        if (early := fails_for_any_model(resource.spec, nodes, config)) is not None:
            return Planning(failure=early, problem=problem.from_failure(early.failure))
        return Planning(inspection=inspection)
    if planned is None:
        pending_plan = plan_inputs(resource.spec, inspection.facts, observed, config)
        return Planning(inspection=inspection, pending_plan=pending_plan)
    if isinstance(planned, PlanFailure):
        failed = problem.from_failure(planned.failure)
        return Planning(failure=planned, problem=failed, inspection=inspection)
    return _freeze(resource, planned, inspection, revisions, config)


def _next_gpu(
    observed: Observed,
    config: Config,
    known: Revision,
    revisions: Mapping[str, Revision],
    now: datetime,
    planned: PlanResult | None,
) -> Planning | None:
    """The plan of ``known``'s spec for another kind of GPU; None: the revision stays."""
    facts = known_facts(observed)
    if facts is None or not needs_another_gpu(observed, known, now):
        return None
    if planned is None:
        tried = (*known.plan.tried_gpus, known.plan.gpu_kind)
        inputs = plan_inputs(observed.resource.spec, facts, observed, config, tried)
        return Planning(revision=known, plan=known.plan, pending_plan=inputs)
    if isinstance(planned, PlanFailure) or planned.gpu_kind == known.plan.gpu_kind:
        return None
    inspection = Inspection(facts=facts, reason="The model is known.")
    return _freeze(observed.resource, planned, inspection, revisions, config)


def screen(spec: LLMDeploymentSpec) -> Problem | None:
    """The problem of the first setting in spec that tacho refuses (model path, engine argument, environment
    variable); None: all are allowed.

    A refused spec makes no revision, so that no refused setting reaches a pod.
    """
    if isinstance(spec.model.source, FileUri):  # an older CustomResourceDefinition accepted it
        return Problem(
            reason=FailureClass.INVALID_CONFIG,
            what=f"model.uri {spec.model.uri} cannot be served in a cluster.",
            next_step="Use hf://owner/name or pvc://claim/path.",
        )
    engine, hub = spec.engine, spec.model.hub
    lists = (
        ("engine.extraArgs", refused_arguments(engine.extra_args if engine else ())),
        ("engine.env", refused_variables((item.name, item.value) for item in (engine.env if engine else ()))),
        (
            "model.hub.env",
            refused_hub_variables((item.name, item.value or "") for item in (hub.env if hub else ())),
        ),
    )
    refused = [f"{path}[{item.index}]: {item.message}" for path, refusals in lists for item in refusals]
    if not refused:
        return None
    return Problem(
        reason=FailureClass.INVALID_CONFIG,
        what=clipped("; ".join(refused)),
        next_step="Remove it from the spec.",
    )
