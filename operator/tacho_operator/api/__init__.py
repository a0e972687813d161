"""The contract with the user: the types of `LLMDeployment`, its rules, its conditions, and here its name.

Light to import: commands that only need the name skip the types.
"""

GROUP = "tacho.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "LLMDeployment"
PLURAL = "llmdeployments"
SINGULAR = "llmdeployment"
SHORT_NAME = "llmd"
CATEGORY = "tacho"
