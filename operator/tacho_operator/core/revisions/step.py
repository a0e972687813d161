"""From spec to a revision: known already, else inspected, planned, and frozen at its birth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from tacho_contract.failure import FailureClass
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core import names, problems as problem
from tacho_operator.core.planner.plan import launchable, plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tacho_operator.core.pods.claims import missing_claim
from tacho_operator.core.pods.view import views
from tacho_operator.core.problems import Problem
from tacho_operator.core.revisions import frozen
from tacho_operator.core.revisions.frozen import Revision
from tacho_operator.core.revisions.identity import identity_hash
from tacho_operator.core.revisions.inspection import Inspection, facts_key, inspect
from tacho_operator.core.revisions.refit import failures_of, length_that_fits, refitted_name, shortened
from tacho_operator.core.revisions.screening import screen
from tacho_operator.core.types import Config, Manifest, Observed


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """What there is of a plan for the present spec."""

    revision: Revision | None = None
    """Frozen, or about to be."""
    plan: ModelPlan | None = None
    """Also of a plan that cannot be launched."""
    failure: PlanFailure | None = None
    problem: Problem | None = None
    """Why there is no plan, or why it cannot be launched."""
    inspection: Inspection | None = None
    """None: no inspection was needed."""
    apply: tuple[Manifest, ...] = ()

    @property
    def wanted(self) -> str:
        """The revision that spec asks for; "" while it has no plan."""
        return self.revision.name if self.revision else ""


def wanted_revision(resource: LLMDeployment) -> str:
    """The name of the revision that the present spec asks for."""
    meta = resource.metadata
    return names.revision_name(meta.name, identity_hash(resource.spec, meta.name, meta.annotations))


def _unreadable_record(observed: Observed, own: str) -> Problem | None:
    """A record of the wanted revision that cannot be read: planned again, its pods could change under it."""
    existing = {item["metadata"]["name"] for item in observed.revisions}
    wanted = next((name for name in (refitted_name(own), own) if name in existing), None)
    if wanted is None:
        return None
    return Problem(
        reason=FailureClass.INVALID_CONFIG,
        message=f"ControllerRevision {wanted} exists but this version of the operator cannot read it; what "
        "serves goes on. Upgrade the operator, or delete that ControllerRevision to have it planned anew.",
    )


def _next_number(revisions: Mapping[str, Revision]) -> int:
    return 1 + max((item.number for item in revisions.values()), default=0)


def _refit(
    observed: Observed,
    config: Config,
    revisions: Mapping[str, Revision],
    known: Revision,
    length: int,
    now: datetime,
) -> Planning:
    """The same spec planned with the length that the engine names; ``known`` stays where that is no plan."""
    resource = observed.resource
    as_it_is = Planning(revision=known, plan=known.plan)
    inspection = inspect(observed, config, now)
    if inspection.facts is None:
        return replace(as_it_is, inspection=inspection)
    spec = shortened(resource.spec, known.plan, length)
    planned = plan_model(
        spec, inspection.facts, nodes=observed.nodes, history=observed.history, config=config
    )
    if isinstance(planned, PlanFailure) or launchable(planned) is not None:
        return as_it_is
    asked = known.plan.max_model_len
    why = f"Planned again: the engine of {known.name} had room for {length} of {asked} tokens."
    planned = replace(planned, message=f"{planned.message} {why}")
    manifest = frozen.birth(
        resource,
        planned,
        inspection.facts,
        facts_key=facts_key(resource),
        number=_next_number(revisions),
        config=config,
        name=refitted_name(known.name),
    )
    return Planning(revision=frozen.read(manifest), plan=planned, inspection=inspection, apply=(manifest,))


def plan_step(
    observed: Observed, config: Config, revisions: Mapping[str, Revision], now: datetime
) -> Planning:
    """A frozen revision is never planned again, whatever the operator, catalog or history say by now; only
    its own engine can say that it has less room than was planned (refit.py)."""
    resource = observed.resource
    own = wanted_revision(resource)
    if (refitted := revisions.get(refitted_name(own))) is not None:
        return Planning(revision=refitted, plan=refitted.plan)
    if (known := revisions.get(own)) is not None:
        failures = failures_of(views(observed.pods, names.ROLE_SERVER), own)
        if (length := length_that_fits(resource.spec, known.plan, failures)) is not None:
            return _refit(observed, config, revisions, known, length, now)
        return Planning(revision=known, plan=known.plan)
    if (unreadable := _unreadable_record(observed, own)) is not None:
        return Planning(problem=unreadable)
    if missing_claim(resource, observed.claims) is not None:
        return Planning()
    if (refused := screen(resource.spec)) is not None:
        return Planning(problem=refused)
    inspection = inspect(observed, config, now)
    if inspection.facts is None:
        return Planning(inspection=inspection)
    planned = plan_model(
        resource.spec, inspection.facts, nodes=observed.nodes, history=observed.history, config=config
    )
    if isinstance(planned, PlanFailure):
        failed = problem.from_failure(planned.failure)
        return Planning(failure=planned, problem=failed, inspection=inspection)
    if (failure := launchable(planned)) is not None:
        return Planning(plan=planned, problem=problem.from_failure(failure), inspection=inspection)
    manifest = frozen.birth(
        resource,
        planned,
        inspection.facts,
        facts_key=facts_key(resource),
        number=_next_number(revisions),
        config=config,
    )
    return Planning(revision=frozen.read(manifest), plan=planned, inspection=inspection, apply=(manifest,))
