"""``tacho run``: the plan, the runtime and the probe on this machine, without Kubernetes."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from tacho_operator.cli.document import load
from tacho_operator.cli.local_model import claim_directories, describe, inspect_model
from tacho_operator.cli.local_run import LocalPod
from tacho_operator.cli.local_setup import LOCAL, LocalSetup, local_setup
from tacho_operator.cli.local_status import local_status
from tacho_operator.cli.problems import EXIT_DOES_NOT_FIT, EXIT_FAILED, EXIT_INTERRUPTED, CommandError
from tacho_operator.cli.screen import Format, show_status
from tacho_operator.cli.this_machine import this_machine
from tacho_operator.core.model import Manifest, ModelPlan, PlanFailure
from tacho_operator.core.planning import launchable, plan_model
from tacho_runtime.contract import RUNTIME_PORT, ModelFacts

T = TypeVar("T")


def _say(line: str) -> None:
    print(f"tacho: {line}", file=sys.stderr, flush=True)


def run(
    file: Annotated[str, typer.Option("--file", "-f", help="Manifest with the LLMDeployment; - is stdin.")],
    pvc: Annotated[
        list[str] | None, typer.Option(help="CLAIM=DIR: a folder that stands in for a claim.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print the status and exit; else serve on.")] = False,
    output: Annotated[
        Format, typer.Option("--output", "-o", help="How the status is printed.")
    ] = Format.table,
    name: Annotated[str, typer.Option(help="Which LLMDeployment, where the file holds several.")] = "",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Port of the OpenAI API.")] = None,
    report_port: Annotated[int, typer.Option(help="Port of /report, /load and /metrics.")] = RUNTIME_PORT,
) -> int:
    """Serve and measure a model on this machine, from the same manifest a cluster takes."""
    raw, resource = load(file, name)
    claims = claim_directories(pvc or [])
    _say(f"inspecting {resource.spec.model.uri}")
    facts = inspect_model(resource, claims)
    plan = plan_model(resource.spec, facts, nodes=(this_machine(),), history=(), config=LOCAL)
    if isinstance(plan, PlanFailure):
        raise CommandError(*describe(plan.failure), code=EXIT_DOES_NOT_FIT)
    refusal = launchable(plan)
    if refusal:
        raise CommandError(*describe(refusal), code=EXIT_FAILED)
    _say(plan.message)
    with tempfile.TemporaryDirectory(prefix="tacho-run-") as scratch:
        setup = local_setup(
            resource,
            plan,
            claims,
            scratch=Path(scratch),
            host=host,
            engine_port=port,
            runtime_port=report_port,
        )
        return asyncio.run(_serve(raw, facts, setup, plan, Path(scratch), once=once, output=output))


async def _serve(
    raw: Manifest,
    facts: ModelFacts,
    setup: LocalSetup,
    plan: ModelPlan,
    scratch: Path,
    *,
    once: bool,
    output: Format,
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    pod = LocalPod(setup, scratch, _say)
    async with pod.running():
        report = await _unless(stop, pod.until_ready())
        if report is None:
            return EXIT_INTERRUPTED
        show_status(raw, local_status(raw, setup, plan, facts, report), output)
        if once:
            return 0
        where = f"http://{setup.runtime.bind_host}:{setup.runtime.engine_port}/v1"
        _say(f"serving {setup.runtime.served_name} at {where}; Ctrl-C ends it")
        await _unless(stop, pod.until_dead())
        _say("stopping")
    return 0


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of ``work``, or None when ``stop`` came first; then the work is cancelled."""
    task = asyncio.create_task(work)
    waiter = asyncio.create_task(stop.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        waiter.cancel()
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None
