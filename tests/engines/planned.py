"""What the runtime is told to run a manifest on this machine, by the engines' own interpreter."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tacho_cli.inputs.model import inspect_model
from tacho_cli.inputs.this_machine import this_machine
from tacho_cli.run.setup import LOCAL, LocalSetup, RunOptions, local_setup
from tacho_contract.launch import RuntimeConfig
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.types import ModelPlan
from tests.engines.serving import ROOT
from tests.unit.runtime.running import Running
from tools.cluster.ports import free_port


def planned(
    example: str, folder: Path, *, claim: Path, python: Path, changes: Mapping[str, Mapping[str, Any]]
) -> tuple[LocalSetup, ModelPlan]:
    """``example`` with ``changes`` in its spec, as ``tacho run`` would plan and start it; ``folder`` is the
    run's own, ``claim`` stands in for the claim named models, ``python`` has the engine."""
    manifest = changed(example, changes)
    resource, claims = LLMDeployment.read(manifest), {"models": claim}
    facts = inspect_model(resource, claims)
    plan = plan_model(resource.spec, facts, nodes=(this_machine(),), history=(), config=LOCAL)
    assert isinstance(plan, ModelPlan), plan
    order = RunOptions(file=example, port=free_port(), report_port=free_port())
    setup = local_setup(resource, plan, claims, order, folder)
    entrypoint = (str(python), *setup.runtime.entrypoint[1:])
    return dataclasses.replace(setup, runtime=dataclasses.replace(setup.runtime, entrypoint=entrypoint)), plan


def changed(example: str, changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The manifest of ``example`` with ``changes`` in its spec."""
    manifest: dict[str, Any] = yaml.safe_load((ROOT / "examples" / example).read_text())
    for field, change in changes.items():
        manifest["spec"][field] = {**manifest["spec"].get(field, {}), **change}
    return manifest


def tacho(python: Path) -> list[str]:
    """The command of that name, by the interpreter that has the engines."""
    # The operator's own packages come after the engines', which are the ones to be run.
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    start = f"import sys; sys.path.append({ours!r}); from tacho_cli.main import main; sys.exit(main())"
    return [str(python), "-c", start]


def variables() -> dict[str, str]:
    """Of the command: the tree's packages on its path, the hub out of reach."""
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT / 'runtime'}", "HF_HUB_OFFLINE": "1"}


@contextlib.contextmanager
def run_by_tacho(
    manifest: Mapping[str, Any], config: RuntimeConfig, folder: Path, *, claim: Path, python: Path
) -> Iterator[Running]:
    """``tacho run`` of ``manifest``, ready, at the ports of ``config``, which is what it is planned as."""
    file, log = folder / "llmd.yaml", folder / "log"
    file.write_text(yaml.safe_dump(dict(manifest)))
    words = ["run", "-f", str(file), "--pvc", f"models={claim}", "--log", str(log)]
    ports = ["--port", str(config.engine_port), "--report-port", str(config.runtime_port)]
    log.touch()
    process = subprocess.Popen([*tacho(python), *words, *ports], env=variables())
    started = Running(config, process, log, patience_seconds=600)
    try:
        started.until_ready()
        yield started
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(100)


def run_to_status(manifest: dict[str, Any], python: Path, model: Path, folder: Path) -> dict[str, Any]:
    """The status that ``tacho run --once`` prints for ``manifest``, by the interpreter that has the engines;
    ``model`` stands in the claim named models as its folder, ``folder`` is the run's own."""
    (folder / "models").mkdir()
    name = manifest["spec"]["model"]["uri"].removeprefix("pvc://models/")
    (folder / "models" / name).symlink_to(model)
    file, log = folder / "llmd.yaml", folder / "engine.log"
    file.write_text(yaml.safe_dump(manifest))
    words = ["run", "-f", str(file), "--pvc", f"models={folder / 'models'}", "--once", "-o", "yaml"]
    ports = ["--port", str(free_port()), "--report-port", str(free_port())]
    done = subprocess.run(
        [*tacho(python), *words, *ports, "--log", str(log)],
        env=variables(),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:] + log.read_text()[-3000:]
    status: dict[str, Any] = yaml.safe_load(done.stdout)["status"]
    return status
