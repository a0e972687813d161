"""All validation rules of an LLMDeployment: those of the model, of the service, and the feature gates."""

from __future__ import annotations

from tacho_operator.api.rules.model import MODEL_RULES
from tacho_operator.api.rules.pod_template import POD_TEMPLATE_RULES
from tacho_operator.api.rules.rule import Rule
from tacho_operator.api.rules.service import GATES, SERVICE_RULES

PERMANENT: tuple[Rule, ...] = (*MODEL_RULES, *SERVICE_RULES, *POD_TEMPLATE_RULES)
"""The rules that hold in every version."""
RULES: tuple[Rule, ...] = (*PERMANENT, *GATES)
"""The permanent rules and those that refuse fields which have no effect yet."""
