"""From a resource to all that follows from it: what the API says, the plan, the pod, the command line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from tacho_contract import codec
from tacho_contract.launch import RuntimeConfig
from tacho_contract.model import FULL, ModelFacts
from tacho_engines.registry import ENGINES, runtime_adapter
from tacho_operator.api.rules.offline import validate_offline
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.autoscaling.target import desired_replicas
from tacho_operator.core.manifests.objects import network_policy
from tacho_operator.core.manifests.pod_template import pod_template, runtime_config
from tacho_operator.core.measurement.cost import price_of
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tacho_operator.core.revisions.identity import live_config
from tacho_operator.core.revisions.inspection import inspect_config
from tacho_operator.core.revisions.next_gpu import gpu_timeout_seconds
from tacho_operator.core.rollout.reading import schedule_timeout_seconds
from tacho_operator.core.types import NodeFacts, Observed
from tools.harness.resources import CONFIG


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a resource: reasons against it, or what is made of it."""

    refusals: tuple[str, ...] = ()
    parts: dict[str, Any] = field(default_factory=dict)
    """By place: plan, manifest, flag (the command line), environment, operator, compared (what of the model
    the runtime reads whole), and probe (whom it asks for, and where)."""
    plan: ModelPlan | None = None
    config: RuntimeConfig | None = None


def rendered(spec: dict[str, Any], facts: ModelFacts, nodes: tuple[NodeFacts, ...]) -> Outcome:
    """The API's rules first, then the plan, then what is started."""
    document = {
        "apiVersion": "tacho.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "smol", "namespace": "ml", "uid": "uid"},
        "spec": spec,
    }
    if problems := validate_offline(document, cluster=True):
        return Outcome(refusals=tuple(str(problem) for problem in problems))
    resource = LLMDeployment.read(document)
    if inspect_config(resource).verification == FULL:
        facts = replace(facts, files=replace(facts.files, content_digest="of every byte"))
    plan = plan_model(resource.spec, facts, nodes=nodes, history=(), config=CONFIG)
    if isinstance(plan, PlanFailure):
        return Outcome(refusals=(f"{plan.failure.message} {plan.failure.next_step}",))
    config = runtime_config(resource, plan, "smol-1", "key")
    template = pod_template(resource, plan, revision="smol-1", plan_key="key", config=CONFIG)
    command: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    health = ""
    if plan.engine in ENGINES:
        adapter = runtime_adapter(plan.engine)
        command = adapter.command(config, config.model.path or "/models/m")
        environment = dict(adapter.environment(config))
        health = adapter.health_path(config)
    said = json.loads(codec.dumps(plan))
    said.pop("contentDigest")
    parts = {
        "compared": config.model.content_digest,
        "plan": {name: value for name, value in said.items() if name not in ("message", "alternatives")},
        "manifest": _without_config(template),
        "flag": command,
        "environment": environment,
        "probe": (config.served_name, health),
        "operator": (
            codec.dumps(live_config(resource.spec)),
            desired_replicas(Observed(resource=resource, raw=document)),
            price_of(resource.spec.cost, plan.gpu_product, {}),
            network_policy(resource, CONFIG),
            schedule_timeout_seconds(resource),
            gpu_timeout_seconds(resource.spec),
        ),
    }
    return Outcome(parts=parts, plan=plan, config=config)


def _without_config(template: dict[str, Any]) -> dict[str, Any]:
    """A pod without its RuntimeConfig: what stands only there may reach nothing."""
    found: dict[str, Any] = json.loads(json.dumps(template))
    for container in found["spec"]["containers"]:
        container["env"] = [v for v in container["env"] if v["name"] != "TACHO_RUNTIME_CONFIG"]
    return found
