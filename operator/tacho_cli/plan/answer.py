"""Runs ``tacho plan``: reads the manifest, inspects the model, plans, prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tacho_cli.inputs import document
from tacho_cli.inputs.kubectl import KubectlTarget
from tacho_cli.inputs.model import claim_directories, cluster_form, inspect_model
from tacho_cli.output import Format, print_document, say
from tacho_cli.plan import hardware, screen as plan_screen
from tacho_cli.plan.hardware import Hardware
from tacho_cli.problems import CommandError, ExitCode, describe, failure_document, no_plan_code
from tacho_cli.status.rows import resource_name
from tacho_contract.failure import Failure
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.planner.plan import launchable, plan_model
from tacho_operator.core.planner.probe_budget import probe_budget
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tacho_operator.core.revisions.identity import desired_revision_name
from tacho_operator.core.status.build import failure_status, plan_status
from tacho_operator.core.types import Config, Manifest


def answer(
    file: str,
    name: str,
    claims: Sequence[str],
    *,
    gpu: str,
    nodes_file: str,
    cluster: KubectlTarget,
    output: Format,
) -> int:
    """Prints the plan, or why planning failed; returns the exit code. Raises CommandError for bad input.

    ``cluster``: the cluster whose nodes are planned for; not read where the options name none.
    """
    raw = document.read(file, name)
    if gpu:
        raw = hardware.override_gpu(raw, gpu)
    _, resource = document.typed(raw, file)
    folders = claim_directories(list(claims))
    target = None if cluster == KubectlTarget() else cluster
    if target and not target.namespace:
        target = replace(target, namespace=resource.metadata.namespace)
    found = hardware.choose(resource.spec, gpu=gpu, nodes_file=nodes_file, target=target)
    for note in found.notes:
        say(note)
    try:
        facts = inspect_model(resource, folders)
    except CommandError as error:
        if error.failure and output in ("json", "yaml"):
            print_document(_document(error.failure, {}), output)
        raise
    plan = plan_model(
        resource.spec, facts, nodes=found.nodes, history=found.history, config=Config(tacho_image="")
    )
    if isinstance(plan, PlanFailure):
        return _refused(plan, resource, found, output)
    return _fitting(plan, resource, found, output)


def _fitting(plan: ModelPlan, resource: LLMDeployment, found: Hardware, output: Format) -> int:
    if output == "name":
        print(resource_name(resource.metadata.name))
    elif output in ("table", "wide"):
        budget = probe_budget(resource.spec, plan)
        plan_screen.show_plan(resource.metadata.name, plan, found.source, budget, wide=output == "wide")
    else:
        revision = desired_revision_name(cluster_form(resource))
        print_document(plan_status(plan, resource.spec, revision).to_wire(), output)
    if refusal := launchable(plan):
        say(f"it fits, but cannot be started yet: {refusal.failure_class}: {refusal.message}")
        say(f"  -> {refusal.next_step}")
    return ExitCode.OK


def _refused(plan: PlanFailure, resource: LLMDeployment, found: Hardware, output: Format) -> int:
    if output == "name":
        for line in describe(plan.failure):
            say(line)
    elif output in ("table", "wide"):
        plan_screen.show_refusal(resource.metadata.name, plan, found.source, wide=output == "wide")
    else:
        print_document(_document(plan.failure, failure_status(plan).to_wire()), output)
    return no_plan_code(plan.failure)


def _document(failure: Failure, view: Manifest) -> Manifest:
    """A failure as JSON, with ``predicted`` only where memory was computed."""
    details = {"details": failure.details} if failure.details else {}
    predicted = {"predicted": view["predicted"]} if "predicted" in view else {}
    reported = {**failure_document(failure), **details}
    return {"failure": reported, **predicted, "alternatives": view.get("alternatives", [])}
