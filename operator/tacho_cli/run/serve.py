"""Runs ``tacho run``: plans, starts the engine, prints the status, serves."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from tacho_cli.inputs import document
from tacho_cli.inputs.child import leaving_nothing
from tacho_cli.inputs.model import claim_directories, inspect_model
from tacho_cli.inputs.this_machine import this_machine
from tacho_cli.output import Format, print_document, say
from tacho_cli.problems import CommandError, ExitCode, failed, no_plan_code
from tacho_cli.run.pod import LocalPod
from tacho_cli.run.setup import LOCAL, LocalSetup, RunOptions, local_setup, require_engine
from tacho_cli.run.snapshot import local_status
from tacho_cli.status.rows import resource_name
from tacho_cli.status.screen import show_status
from tacho_contract.launch import local_url
from tacho_operator.core.planner.plan import launchable, plan_model
from tacho_operator.core.planner.types import ModelPlan, PlanFailure
from tacho_operator.core.types import Manifest

T = TypeVar("T")


def execute(order: RunOptions) -> int:
    """Serves and measures; returns the exit code. Raises CommandError."""
    raw, resource = document.typed(document.read(order.file, order.name), order.file)
    claims = claim_directories(list(order.claims))
    require_engine(resource.spec.engine.name if resource.spec.engine else None)
    if order.log:
        require_appendable(order.log)
    say(f"inspecting {resource.spec.model.uri}")
    facts = inspect_model(resource, claims)
    plan = plan_model(resource.spec, facts, nodes=(this_machine(),), history=(), config=LOCAL)
    if isinstance(plan, PlanFailure):
        raise failed(plan.failure, no_plan_code(plan.failure))
    if refusal := launchable(plan):
        raise failed(refusal, ExitCode.FAILED)
    require_engine(plan.engine)
    say(plan.message)
    with tempfile.TemporaryDirectory(prefix="tacho-run-") as scratch, leaving_nothing():
        setup = local_setup(resource, plan, claims, order, Path(scratch))
        return asyncio.run(_serve(order, raw, setup, plan, Path(scratch)))


def require_appendable(file: str) -> None:
    """Raises CommandError where ``file`` cannot be written."""
    try:
        with open(file, "ab"):
            pass
    except OSError as error:
        raise CommandError(f"--log {file}: {error.strerror}") from None


async def _serve(order: RunOptions, raw: Manifest, setup: LocalSetup, plan: ModelPlan, scratch: Path) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    pod = LocalPod(setup, scratch, say, log=Path(order.log) if order.log else None)
    async with pod.running():
        report = await _unless(stop, pod.until_ready())
        if report is None:
            say("interrupted: stopping")
            return ExitCode.INTERRUPTED
        print_status(raw, local_status(setup, plan, report).to_wire(), order.output)
        if order.once:
            return 0
        where = local_url(order.host, setup.runtime.engine_port)
        say(f"serving {setup.runtime.served_name} at {where}/v1; Ctrl-C ends it")
        await _unless(stop, pod.until_exit())
        say("stopping")
    return 0


def print_status(raw: Manifest, status: Manifest, output: Format) -> None:
    if output == "name":
        print(resource_name(raw["metadata"]["name"]), flush=True)
    elif output in ("table", "wide"):
        show_status(raw, status, wide=output == "wide")
    else:
        metadata = {key: raw["metadata"][key] for key in ("name", "namespace")}
        print_document({**raw, "metadata": metadata, "status": status}, output)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of ``work``; None: ``stop`` was set before, and ``work`` was cancelled."""
    task = asyncio.create_task(work)
    waiter = asyncio.create_task(stop.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        waiter.cancel()
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None
