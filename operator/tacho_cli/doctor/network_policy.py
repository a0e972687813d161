"""Tests whether the cluster enforces NetworkPolicies: two pods, and a policy that admits one of two ports."""

from __future__ import annotations

import json
import signal
import time
import uuid
from collections.abc import Callable
from typing import Any

from tacho_cli.doctor.findings import Facts, Finding, Result, UnreadError
from tacho_cli.inputs.kubectl import KubectlTarget, kubectl, last_lines, parsed
from tacho_cli.output import say
from tacho_cli.problems import CommandError
from tacho_operator.core.types import Manifest

CHECK = "network policy"
PYTHON = "/opt/tacho/venv/bin/python"
"""Path of Python in the operator's image."""
OPEN_PORT, CLOSED_PORT = 18080, 18081
SAMPLE_INTERVAL_SECONDS = 1.0
SETTLE_SECONDS = 30
"""Seconds in which a new policy must take effect on a node."""
PATIENCE_SECONDS = 120.0
"""Seconds to wait for both pods to run and end; their image may have to be pulled."""
ENFORCED, NOT_ENFORCED, UNREACHABLE = 10, 11, 12
"""Exit codes of the client pod: the policy is enforced, it is not, no port could be reached."""
LABEL = "tacho.dev/network-policy-trial"
SERVER = f"""
import socket, time
dual = {{"family": socket.AF_INET6, "dualstack_ipv6": True}} if socket.has_dualstack_ipv6() else {{}}
servers = [socket.create_server(("", port), **dual) for port in ({CLOSED_PORT}, {OPEN_PORT})]
time.sleep(600)
"""
CLIENT = f"""
import socket, sys, time
def reaches(port):
    try:
        socket.create_connection((sys.argv[1], port), timeout=2).close()
        return True
    except OSError:
        return False
end, reached = time.monotonic() + float(sys.argv[2]), False
while time.monotonic() < end:
    reached = reached or reaches({OPEN_PORT})
    if reached and not reaches({CLOSED_PORT}) and reaches({OPEN_PORT}):
        sys.exit({ENFORCED})
    time.sleep(1)
sys.exit({NOT_ENFORCED} if reached else {UNREACHABLE})
"""
"""Python program of the client pod, with the arguments ADDRESS and SECONDS: how long it waits for the policy
to close the port.
"""
OUTCOMES: dict[int, Result] = {
    ENFORCED: ("ok", "This cluster enforces NetworkPolicies.", ""),
    NOT_ENFORCED: (
        "fail",
        "This cluster does not enforce NetworkPolicies: any pod reaches the engines' ports.",
        "Use a network plugin that does, such as Calico or Cilium.",
    ),
    UNREACHABLE: ("unknown", "The two pods did not reach each other at all.", "Check the cluster's network."),
}


def network_policy(target: KubectlTarget, facts: Facts) -> Finding:
    """Runs the test in the cluster and returns its finding. Both pods and the policy are deleted in any
    case."""
    image = operator_image(facts)
    if not image:
        return _unknown("The trial needs the operator's image, and no operator was found.")
    trial = uuid.uuid4().hex[:10]
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    try:
        return _tried(target, trial, image)
    except CommandError as error:
        return _unknown(str(error))
    finally:
        selector = ("--selector", f"{LABEL}={trial}")
        kinds, quick = "pods,networkpolicies", ("--wait=false", "--grace-period=0", "--ignore-not-found")
        done = kubectl(target, "delete", kinds, *selector, *quick, output="")
        if done.returncode:
            say(f"delete {kinds} with {LABEL}={trial} by hand: {' '.join(last_lines(done.stderr))}")
        signal.signal(signal.SIGTERM, former)


def operator_image(facts: Facts) -> str:
    """The image of an installed operator, which has a Python; "" without one."""
    operators = facts.objects.get("deployments")
    if operators is None or isinstance(operators, UnreadError) or not operators:
        return ""
    return str(operators[0]["spec"]["template"]["spec"]["containers"][0]["image"])


def _tried(target: KubectlTarget, trial: str, image: str) -> Finding:
    deadline = time.monotonic() + PATIENCE_SECONDS
    server, client = trial_pod(trial, "server", image, SERVER), f"tacho-trial-{trial}-client"
    _create(target, policy(trial), server)
    place = _wait(target, server["metadata"]["name"], deadline, address)
    _create(target, trial_pod(trial, "client", image, CLIENT, place, str(SETTLE_SECONDS)))
    code = _wait(target, client, deadline, exit_code)
    crashed: Result = ("unknown", f"The client of the trial ended with exit code {code}.", "")
    state, message, step = OUTCOMES.get(code, crashed)
    return Finding(check=CHECK, state=state, message=message, next_step=step)


def _unknown(why: str) -> Finding:
    return Finding(check=CHECK, state="unknown", message=why)


def _create(target: KubectlTarget, *objects: dict[str, Any]) -> None:
    document = {"apiVersion": "v1", "kind": "List", "items": objects}
    done = kubectl(target, "create", "-f", "-", stdin=json.dumps(document))
    if done.returncode:
        raise CommandError("The trial's objects could not be created:", *last_lines(done.stderr))


def _wait(target: KubectlTarget, name: str, deadline: float, value: Callable[[Manifest], Any]) -> Any:
    """The ``value`` of the pod's status once it is not None. Raises CommandError at the deadline."""
    while time.monotonic() < deadline:
        done = kubectl(target, "get", "pod", name)
        status = parsed(done.stdout).get("status") or {} if done.returncode == 0 else {}
        if (found := value(status)) is not None:
            return found
        time.sleep(SAMPLE_INTERVAL_SECONDS)
    raise CommandError(f"Pod {name} of the trial did not run within {PATIENCE_SECONDS:.0f} s.")


def address(status: Manifest) -> str | None:
    """The pod's IP address; None until it runs."""
    return status.get("podIP") if status.get("phase") == "Running" else None


def exit_code(status: Manifest) -> int | None:
    """The exit code of the pod's container; None while it runs."""
    for container in status.get("containerStatuses") or ():
        if ended := (container.get("state") or {}).get("terminated"):
            return int(ended.get("exitCode", 0))
    return None


def trial_pod(trial: str, role: str, image: str, program: str, *arguments: str) -> Manifest:
    """The manifest of a pod that runs a few lines of Python, as Pod Security ``restricted`` admits it."""
    container = {
        "name": role,
        "image": image,
        "command": [PYTHON, "-c", program, *arguments],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"tacho-trial-{trial}-{role}", "labels": {LABEL: trial, f"{LABEL}-role": role}},
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": int(PATIENCE_SECONDS),
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
        },
    }


def policy(trial: str) -> Manifest:
    """The manifest of a NetworkPolicy that admits one port only of the server's pod."""
    selector = {"matchLabels": {LABEL: trial, f"{LABEL}-role": "server"}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"tacho-trial-{trial}", "labels": {LABEL: trial}},
        "spec": {
            "podSelector": selector,
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": OPEN_PORT, "protocol": "TCP"}]}],
        },
    }
