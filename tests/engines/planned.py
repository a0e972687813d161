"""What the runtime is told to run a manifest on this machine, by the engines' own interpreter."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tacho_operator.api.types import LLMDeployment
from tacho_operator.cli.inputs.model import inspect_model
from tacho_operator.cli.inputs.this_machine import this_machine
from tacho_operator.cli.run.setup import LOCAL, Here, LocalSetup, local_setup
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan
from tests.engines.serving import ROOT, free_port


def planned(
    example: str, folder: Path, *, claim: Path, python: Path, changes: Mapping[str, Mapping[str, Any]]
) -> tuple[LocalSetup, ModelPlan]:
    """``example`` with ``changes`` in its spec, as ``tacho run`` would plan and start it; ``folder`` is the
    run's own, ``claim`` stands in for the claim named models, ``python`` has the engine."""
    manifest = yaml.safe_load((ROOT / "examples" / example).read_text())
    for field, change in changes.items():
        manifest["spec"][field] = {**manifest["spec"].get(field, {}), **change}
    resource, claims = LLMDeployment.read(manifest), {"models": claim}
    facts = inspect_model(resource, claims)
    plan = plan_model(resource.spec, facts, nodes=(this_machine(),), history=(), config=LOCAL)
    assert isinstance(plan, ModelPlan), plan
    here = Here(scratch=folder, host="127.0.0.1", engine_port=free_port(), runtime_port=free_port())
    setup = local_setup(resource, plan, claims, here)
    entrypoint = (str(python), *setup.runtime.entrypoint[1:])
    return dataclasses.replace(setup, runtime=dataclasses.replace(setup.runtime, entrypoint=entrypoint)), plan
