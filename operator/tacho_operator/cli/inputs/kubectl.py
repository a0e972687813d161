"""A cluster by ``kubectl``, so that the person's own login and rights apply."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from tacho_operator.api.kind import GROUP, PLURAL
from tacho_operator.cli.output.problems import CommandError

REQUEST_SECONDS = 20
"""Given to each request; a cluster that is gone must not hang the command."""
RESOURCE = f"{PLURAL}.{GROUP}"
"""By its whole name: another project may have taken the short one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A cluster as kubectl's options name it; "" leaves the choice to the kubeconfig."""

    context: str = ""
    kubeconfig: str = ""
    namespace: str = ""

    def described(self) -> str:
        return f"context {self.context}" if self.context else "the current cluster"


def kubectl(target: Target, *command: str, missing: str = "install it") -> subprocess.CompletedProcess[str]:
    """How it ended, with what it printed. Raises CommandError where it could not be run.

    ``missing``: what to do where there is none.
    """
    options = {"context": target.context, "kubeconfig": target.kubeconfig, "namespace": target.namespace}
    given = [f"--{option}={value}" for option, value in options.items() if value]
    try:
        return subprocess.run(
            ["kubectl", *given, f"--request-timeout={REQUEST_SECONDS}s", *command, "-o", "json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=REQUEST_SECONDS * 3,
            check=False,
        )
    except FileNotFoundError:
        raise CommandError(
            f"kubectl is not installed, and it is what speaks to the cluster: {missing}"
        ) from None
    except subprocess.TimeoutExpired:
        raise CommandError("kubectl did not answer: check the context and the network") from None


def parsed(text: str) -> dict[str, Any]:
    """What it printed. Raises CommandError."""
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise CommandError("kubectl did not print JSON: try kubectl get nodes -o json by hand")
    return document


def last_lines(text: str) -> list[str]:
    """Of what it complained."""
    return [line.strip() for line in text.strip().splitlines()[-3:]] or ["it gave no reason"]


def deployment(target: Target, name: str) -> dict[str, Any]:
    """The LLMDeployment, as the API server has it. Raises CommandError."""
    return _answered(target, "get", RESOURCE, name)


def annotated(target: Target, name: str, annotation: str, value: str) -> dict[str, Any]:
    """The LLMDeployment with this annotation. Raises CommandError."""
    return _answered(target, "annotate", RESOURCE, name, f"{annotation}={value}", "--overwrite")


def found(target: Target, *objects: str) -> list[dict[str, Any]]:
    """Those of ``KIND/NAME`` that there are. Raises CommandError."""
    return _items(_answered(target, "get", *objects, "--ignore-not-found"))


def listed(target: Target, kind: str, selector: str) -> list[dict[str, Any]]:
    """What carries these labels. Raises CommandError."""
    return _items(_answered(target, "get", kind, "--selector", selector))


def _items(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Of a List; a single object is printed by itself, and of none nothing."""
    if "items" in document:
        return list(document["items"])
    return [document] if document else []


def _answered(target: Target, *command: str) -> dict[str, Any]:
    done = kubectl(target, *command)
    if done.returncode:
        raise CommandError(f"kubectl {' '.join(command)} failed:", *last_lines(done.stderr))
    return parsed(done.stdout or "{}")
