"""All validation rules of an LLMDeployment: those of the model, of the service and of the pod template."""

from __future__ import annotations

from tacho_operator.api.rules.model import MODEL_RULES
from tacho_operator.api.rules.pod_template import POD_TEMPLATE_RULES
from tacho_operator.api.rules.rule import Rule
from tacho_operator.api.rules.service import SERVICE_RULES

RULES: tuple[Rule, ...] = (*MODEL_RULES, *SERVICE_RULES, *POD_TEMPLATE_RULES)
