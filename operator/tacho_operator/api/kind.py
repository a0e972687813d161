"""The resource's API group, kind and plural name. Light to import: commands that only need the name skip the
types."""

from __future__ import annotations

GROUP = "tacho.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "LLMDeployment"
PLURAL = "llmdeployments"
SINGULAR = "llmdeployment"
SHORT_NAME = "llmd"
CATEGORY = "tacho"
