"""Runs ``tacho logs``: prints the last lines of pods that are not ready, with the class of each failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from tacho_cli.inputs.kubectl import KubectlTarget, deployment, kubectl, last_lines, listed
from tacho_cli.output import Format, console, print_document, say
from tacho_cli.problems import CommandError, ExitCode, describe, failure_document
from tacho_contract.failure import FAILURE_KINDS, FailedError, Failure, FailureClass
from tacho_contract.text import visible
from tacho_engines.base import Exit
from tacho_engines.registry import runtime_adapter
from tacho_operator.core import names
from tacho_operator.core.pods.view import ContainerView, PodView, Termination
from tacho_operator.core.problems import parse_failure
from tacho_operator.core.types import Manifest


def line_class(engine: str, line: str) -> str:
    """The failure class that the line shows; "" where it shows none."""
    try:
        adapter = runtime_adapter(engine)
    except FailedError:
        return ""
    if not adapter.names_cause(line):
        return ""
    found = adapter.classify(Exit(code=1), [line]).failure_class
    return "" if found == FailureClass.ENGINE_CRASHED else str(found)


def ended_with(end: Termination, lines: Sequence[tuple[str, str]]) -> Failure | None:
    """The failure that the runtime reported, else the one that the last lines show.

    ``lines``: (failure class or "", line). None: exit code 0, or a line is the failure already, as last lines
    of the runtime's own programs are.
    """
    if reported := parse_failure(end.message):
        return reported
    if not end.exit_code or any(line.partition(":")[0] in FAILURE_KINDS for _, line in lines):
        return None
    shown = next((found for found, _ in reversed(lines) if found), FailureClass.ENGINE_CRASHED)
    if end.reason == "OOMKilled":
        shown = FailureClass.HOST_OUT_OF_MEMORY
    what = f"the container ended with exit code {end.exit_code}"
    return FailedError.of(FailureClass(shown), what).failure


MOST_PODS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerLog:
    """The last lines of one container's log."""

    pod: str
    container: str
    node: str = ""
    restarts: int = 0
    failure: Failure | None = None
    """Why the container last ended; None: it has not ended, or with exit code 0."""
    lines: tuple[tuple[str, str], ...] = ()
    """(failure class or "", line) of each log line."""

    def to_wire(self) -> Manifest:
        lines = [{"class": found, "text": line} if found else {"text": line} for found, line in self.lines]
        wire: Manifest = {"pod": self.pod, "container": self.container, "restarts": self.restarts}
        if self.node:
            wire["node"] = self.node
        if self.failure:
            wire["failure"] = failure_document(self.failure)
        return {**wire, "lines": lines}


def execute(target: KubectlTarget, name: str, *, tail: int, output: Format) -> int:
    """Prints the logs. Raises CommandError where they cannot be read."""
    resource = deployment(target, name)
    engine = str((((resource.get("status") or {}).get("plan") or {}).get("engine") or {}).get("name", ""))
    pods = [PodView(item) for item in listed(target, "pods", f"{names.DEPLOYMENT_LABEL}={name}")]
    chosen = troubled(pods)
    if not chosen:
        raise CommandError(f"{name} has no pods; tacho status {name} has the reason")
    if output == "name":
        for pod, _ in chosen:
            print(f"pod/{pod.name}")
        return ExitCode.OK
    found = [_read_log(target, pod, container, engine, tail) for pod, container in chosen]
    if output in ("json", "yaml"):
        print_document({"logs": [item.to_wire() for item in found]}, output)
        return ExitCode.OK
    for item in found:
        _show(item, wide=output == "wide")
    return ExitCode.OK


def troubled(pods: list[PodView]) -> list[tuple[PodView, str]]:
    """(pod, container) of the pods that are not ready, newest first, else of the newest pod."""
    live = [
        pod
        for pod in pods
        if not pod.terminating and pod.phase != "Succeeded" and pod.role != names.ROLE_AVOID
    ]
    newest = sorted(live, key=lambda pod: pod.age_order, reverse=True)
    waiting = [pod for pod in newest if not pod.ready]
    return [(pod, _container(pod)) for pod in (waiting or newest[:1])[:MOST_PODS]]


def _container(pod: PodView) -> str:
    """The container whose log is shown: the first that failed, else the engine, else the first."""
    found = list(pod.containers())
    failed = next((item for item in found if item.terminated and item.terminated.exit_code), None)
    engine = pod.container(names.ENGINE_CONTAINER)
    chosen: ContainerView | None = failed or engine or next(iter(found), None)
    return chosen.name if chosen else names.ENGINE_CONTAINER


def _read_log(target: KubectlTarget, pod: PodView, container: str, engine: str, tail: int) -> ContainerLog:
    """The log of a container's present run, or of its previous run while it waits for a restart."""
    view = pod.container(container)
    waits = bool(view and view.waiting_reason and view.restarts)
    previous = ("--previous",) if waits else ()
    options = ("-c", container, f"--tail={tail}", *previous)
    done = kubectl(target, "logs", pod.name, *options, output="")
    if done.returncode:
        say(f"{pod.name} {container}: {last_lines(done.stderr)[-1]}")
    shown = map(visible, done.stdout.splitlines())
    lines = tuple((line_class(engine, line), line) for line in shown)
    return ContainerLog(
        pod=pod.name,
        container=container,
        node=pod.node,
        restarts=view.restarts if view else 0,
        failure=ended_with(view.terminated, lines) if view and view.terminated else None,
        lines=lines,
    )


def _show(log: ContainerLog, *, wide: bool) -> None:
    """Prints the log of one container under a heading, with its node where ``wide``."""
    screen = console()
    restarts = f", restarts {log.restarts}" if log.restarts else ""
    node = f" on {visible(log.node or 'no node')}" if wide else ""
    screen.print(Text(f"{log.pod} {log.container}{node}{restarts}", style="bold"))
    for found, line in log.lines:
        screen.print(_marked(found, line), soft_wrap=True)
    if log.failure:
        for line in describe(log.failure)[:2]:
            screen.print(Text(line, style="red"), soft_wrap=True)


def _marked(found: str, line: str) -> Text:
    return Text.assemble((f"{found}: ", "red"), line) if found else Text(line)
