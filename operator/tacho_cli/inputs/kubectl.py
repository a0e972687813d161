"""Reads objects of a cluster through ``kubectl``, so that the user's own login and rights
apply."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from typing import Any

from tacho_cli.problems import CommandError
from tacho_operator.api import GROUP, PLURAL

REQUEST_SECONDS = 20
"""Timeout in seconds of each kubectl request, so that a command does not hang."""
RESOURCE = f"{PLURAL}.{GROUP}"
"""Full name of the resource type, as another project may use the same short name."""
UNREACHABLE = re.compile(
    r"connection (to the server \S+ was )?(refused|reset)|connection lost|\bEOF\b|did not answer"
    r"|i/o timeout|timed out|handshake timeout|Client\.Timeout|deadline exceeded"
    r"|no route to host|network is unreachable|no such host"
    r"|\((ServiceUnavailable|Timeout|ServerTimeout|TooManyRequests)\)|etcdserver:"
)
"""Matches kubectl's errors for an API server that cannot be reached at present."""
NEXT_STEPS = (
    (re.compile(r"localhost:8080"), "No cluster is named: set KUBECONFIG, or use --kubeconfig FILE."),
    (
        re.compile(r"getting credentials"),
        "Install the login program that the kubeconfig names, or log in again.",
    ),
    (UNREACHABLE, "Check that the cluster runs and answers this machine; --context names another."),
    (re.compile(r"context .*(not found|does not exist)"), "kubectl config get-contexts lists the contexts."),
    (re.compile(r"have a resource type"), "Install the chart, or name another cluster with --context."),
    (re.compile(r"\(NotFound\)"), "tacho status -A lists all; -n NAMESPACE names another namespace."),
    (re.compile(r"\(Forbidden\)"), "Ask for the role view or edit in that namespace."),
    (re.compile(r"\(Unauthorized\)|must be logged in"), "Log in again: the API server refuses you."),
)
ARROW = "\n  -> "
_CLIENT_LOG = re.compile(r"[EWIF]\d{4} \d\d:\d\d:\d\d")
"""Matches the beginning of log lines that kubectl's client library prints before the error itself."""
_ERROR = re.compile(r"error\b|unable to |the connection to ", re.IGNORECASE)
"""Matches the beginning of that error; advice of many lines may follow."""
LINES_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class KubectlTarget:
    """A cluster and namespace, as kubectl's options name them; "" leaves the choice to the kubeconfig."""

    context: str = ""
    kubeconfig: str = ""
    namespace: str = ""
    everywhere: bool = False
    """Whether objects are listed in all namespaces."""

    def described(self) -> str:
        return f"context {self.context}" if self.context else "the current cluster"


def kubectl(
    target: KubectlTarget, *command: str, advice: str = "install it", output: str = "json"
) -> subprocess.CompletedProcess[str]:
    """The ended kubectl process with its output. Raises CommandError where kubectl could not be run.

    ``advice``: what to do where kubectl is not installed. ``output``: "" for a command that has no formats.
    """
    options = {"context": target.context, "kubeconfig": target.kubeconfig, "namespace": target.namespace}
    given = [f"--{option}={value}" for option, value in options.items() if value]
    form = ("-o", output) if output else ()
    try:
        return subprocess.run(
            ["kubectl", *given, f"--request-timeout={REQUEST_SECONDS}s", *command, *form],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=REQUEST_SECONDS * 3,
            check=False,
        )
    except FileNotFoundError:
        raise CommandError(f"kubectl is needed to read the cluster and is not installed: {advice}") from None
    except subprocess.TimeoutExpired:
        raise CommandError("kubectl did not answer: check the context and the network") from None


def parsed(text: str) -> dict[str, Any]:
    """The JSON document that kubectl printed. Raises CommandError."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise CommandError("kubectl did not print JSON: try kubectl get nodes -o json by hand")
    return document


def last_lines(text: str) -> list[str]:
    """The error in kubectl's error output, else its last lines, without its library's log."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _CLIENT_LOG.match(line)]
    begins = [number for number, line in enumerate(lines) if _ERROR.match(line)]
    found = lines[begins[-1] :][:LINES_SHOWN] if begins else lines[-LINES_SHOWN:]
    return found or ["kubectl gave no reason"]


def refused(what: str, text: str) -> CommandError:
    """The error of a failed kubectl: ``what`` failed, the reason in its output ``text``, a next step."""
    words = "\n".join(last_lines(text))
    steps = (f"{ARROW}{step}" for pattern, step in NEXT_STEPS if pattern.search(words))
    return CommandError(f"{what}\n{words}{next(steps, '')}")


def deployment(target: KubectlTarget, name: str) -> dict[str, Any]:
    """The LLMDeployment, as the API server has it. Raises CommandError."""
    return _answered(target, "get", RESOURCE, name)


def deployments(target: KubectlTarget) -> list[dict[str, Any]]:
    """The LLMDeployments of the namespace, or of all. Raises CommandError."""
    everywhere = ("--all-namespaces",) if target.everywhere else ()
    return _items(_answered(target, "get", RESOURCE, *everywhere))


def listed(target: KubectlTarget, kind: str, selector: str) -> list[dict[str, Any]]:
    """The objects of a kind with the labels of ``selector``. Raises CommandError."""
    return _items(_answered(target, "get", kind, "--selector", selector))


def _items(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The items of a List; kubectl prints a single object without a List, and no object as an empty text."""
    if "items" in document:
        return list(document["items"])
    return [document] if document else []


def _answered(target: KubectlTarget, *command: str) -> dict[str, Any]:
    done = kubectl(target, *command)
    if done.returncode:
        raise refused(f"kubectl {' '.join(command)} failed:", done.stderr)
    return parsed(done.stdout or "{}")
