"""The two ConfigMaps: what may change under running pods, and what is known of the model."""

from __future__ import annotations

from collections.abc import Mapping

from tacho_contract import codec
from tacho_contract.launch import LiveConfig
from tacho_contract.pod import LIVE_FILE
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.manifests.metadata import child
from tacho_operator.core.names import facts_config_name, live_config_name
from tacho_operator.core.types import Manifest

LIVE_KEY = LIVE_FILE.rpartition("/")[2]


def live_config_map(
    resource: LLMDeployment, live: LiveConfig, notes: Mapping[str, str] | None = None
) -> Manifest:
    """Workload, SLO, probe and startup timeout: mounted, so that a change restarts nothing.

    ``notes`` are what the operator keeps for itself, by annotation; empty ones are left out.
    """
    kept = {key: text for key, text in sorted((notes or {}).items()) if text}
    name = live_config_name(resource.metadata.name)
    manifest = child(resource, "v1", "ConfigMap", name, annotations=kept or None)
    manifest["data"] = {LIVE_KEY: codec.dumps(live)}
    return manifest


def facts_config_map(resource: LLMDeployment, packed: Mapping[str, str]) -> Manifest:
    """Inspection results (zlib + base64) by the key of the question they answer."""
    manifest = child(resource, "v1", "ConfigMap", facts_config_name(resource.metadata.name))
    manifest["data"] = dict(sorted(packed.items()))
    return manifest
