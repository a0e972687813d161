"""Switches and variables that load code are refused in every spelling, before anything is started."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tacho_operator.core.reconcile import decide
from tacho_operator.core.revisions.planning import screen
from tacho_operator.core.types import Observed
from tools.harness.resources import (
    CLAIM_SPEC,
    CONFIG,
    FILES,
    HUB_SPEC,
    NOW,
    changed,
    facts,
    raw_resource,
    resource,
)
from tools.harness.world import MOCK_SPEC, World


def with_engine(**engine: Any) -> dict[str, Any]:
    return {**CLAIM_SPEC, "engine": {"name": "llamacpp", **engine}}


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        (with_engine(extraArgs=["--trust_remote_code"]), "engine.extraArgs[0]: --trust-remote-code"),
        (with_engine(extraArgs=["--threads", "2", "--Trust-Remote-Code=true"]), "engine.extraArgs[2]"),
        (with_engine(extraArgs=["--trust-rem"]), "--trust-remote-code"),
        (with_engine(env=[{"name": "LD_PRELOAD", "value": "x"}]), "engine.env[0]: LD_PRELOAD"),
        (
            {
                **HUB_SPEC,
                "model": {**HUB_SPEC["model"], "hub": {"env": [{"name": "PYTHONPATH", "value": "x"}]}},
            },
            "model.hub.env[0]: PYTHONPATH",
        ),
        (
            changed(
                HUB_SPEC,
                model={
                    **HUB_SPEC["model"],
                    "hub": {"env": [{"name": "HF_ENDPOINT", "value": "http://hub.example"}]},
                },
            ),
            "model.hub.env[0]: HF_ENDPOINT is refused: its value must begin with https://",
        ),
    ],
)
def test_refused_spellings_stall_and_start_nothing(spec: dict[str, Any], names: str) -> None:
    refused = screen(resource(spec).spec)
    assert refused is not None
    assert names in refused.message
    decision = decide(Observed(resource=resource(spec), raw=raw_resource(spec)), CONFIG, NOW)
    assert not [item for item in decision.apply if item["kind"] in ("Pod", "Deployment")]
    assert decision.status is not None
    conditions = {item.type: item for item in decision.status.conditions}
    assert (conditions["Stalled"].status, conditions["Stalled"].reason) == ("True", "InvalidConfig")


def test_a_folder_of_this_machine_is_no_model_of_a_cluster() -> None:
    """The CRD refuses it; one that was stored under an older CRD is told of."""
    found = screen(resource({**CLAIM_SPEC, "model": {"uri": "file:///models/x"}}).spec)
    assert found is not None
    assert (found.reason, "cannot be served in a cluster" in found.message) == ("InvalidConfig", True)


def test_ordinary_arguments_pass() -> None:
    assert screen(resource(changed(CLAIM_SPEC, engine=None)).spec) is None
    assert screen(resource(with_engine(extraArgs=["--threads", "2"])).spec) is None
    assert screen(resource(HUB_SPEC).spec) is None


@pytest.mark.parametrize(
    ("words", "globs", "names"),
    [
        (["\u00e9" * 1024] * 24, (), "TACHO_RUNTIME_CONFIG"),
        (["$" * 1024] * 64, (), ""),
        (
            ["a" * 1024] * 16,
            tuple(f"{number:04}{'a' * 250}" for number in range(480)),
            "TACHO_RUNTIME_CONFIG",
        ),
    ],
    ids=["arguments", "dollars that the kubelet takes back", "files"],
)
def test_settings_that_linux_starts_no_process_with_are_named(
    words: list[str], globs: tuple[str, ...], names: str
) -> None:
    """The pod's own error is that of its image's command: "argument list too long"."""
    custom = {"command": [*words, "$(TACHO_MODEL_PATH)"][:64], "port": 8000}
    world = World(changed(MOCK_SPEC, engine={**MOCK_SPEC["engine"], "custom": custom}))
    world.settle()
    world.inspected(facts(files=replace(FILES, globs=globs or FILES.globs)))
    world.settle()
    stalled = world.condition("Stalled")
    assert bool(world.names("ControllerRevision")) == (not names)
    assert (stalled["status"], stalled["reason"] == "InvalidConfig") == (str(bool(names)), bool(names))
    assert f"{names}, and Linux starts no process" in stalled["message"] or not names
