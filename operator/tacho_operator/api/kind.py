"""What the resource is called. Light: a command that only asks for it need not know its types."""

from __future__ import annotations

GROUP = "tacho.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "LLMDeployment"
PLURAL = "llmdeployments"
SINGULAR = "llmdeployment"
SHORT_NAME = "llmd"
CATEGORY = "tacho"
