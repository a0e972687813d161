"""The OpenAPI schema of an LLMDeployment, made from the types and the rules, and the condition of a new
one."""

from __future__ import annotations

from functools import cache

from tacho_operator.api import API_VERSION, KIND
from tacho_operator.api.crd.schema import Schema, structural
from tacho_operator.api.rules.rule import Rule
from tacho_operator.api.status.status import EPOCH, LLMDeploymentStatus
from tacho_operator.api.types import LLMDeploymentSpec

WAITING = {
    "type": "Ready",
    "status": "Unknown",
    "reason": "WaitingForOperator",
    "message": (
        "No operator has reconciled this resource yet; if this lasts, check that the tacho operator runs."
    ),
    "lastTransitionTime": EPOCH,
}
"""The initial condition of a resource: without it, kstatus and `helm --wait` treat an empty status as
done."""


@cache
def resource_schema(rules: tuple[Rule, ...]) -> Schema:
    """The structural schema of a whole LLMDeployment, with its rules. It is cached: callers must not change
    it."""
    spec, status = structural(LLMDeploymentSpec), structural(LLMDeploymentStatus)
    spec["properties"]["replicas"]["default"] = 1  # GET /scale answers 500 without it
    status["default"] = {"conditions": [WAITING]}
    schema: Schema = {
        "type": "object",
        "description": "LLMDeployment is an LLM server that tacho plans, launches and measures.",
        "properties": {
            "apiVersion": {"type": "string", "description": f"Version of the API: {API_VERSION}."},
            "kind": {"type": "string", "description": f"Kind of the object: {KIND}."},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
        "required": ["spec"],
    }
    for rule in rules:
        rendered = {"rule": rule.cel, "message": rule.message}
        at(schema, rule.path).setdefault("x-kubernetes-validations", []).append(rendered)
    return schema


def at(schema: Schema, path: str) -> Schema:
    """The part of a schema at a path like `spec.engine.env[]`; KeyError where the schema has no such path."""
    node = schema
    for step in path.replace("[]", ".[]").split(".") if path else ():
        node = node["items"] if step == "[]" else node["properties"][step]
    return node
