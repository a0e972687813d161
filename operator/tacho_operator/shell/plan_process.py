"""The child process that makes plans: inputs on standard input, results on standard output.

Hostile model facts could make a plan take any time and memory. In a separate process this delays no other
resource.
"""

from __future__ import annotations

import os
import pickle
import resource
import sys
import time
from dataclasses import dataclass, replace
from typing import BinaryIO

from tacho_contract import codec
from tacho_contract.failure import FailureClass, failure_kind
from tacho_contract.units import clipped
from tacho_operator.core.planner.no_plan import failure
from tacho_operator.core.planner.plan import plan_of
from tacho_operator.core.planner.shown_plan import shown_plan
from tacho_operator.core.planner.types import ModelPlan, PlanFailure, PlanResult
from tacho_operator.core.types import PlanInputs

LENGTH_BYTES = 4
"""Bytes at the start of each message that hold its length."""
READY = "ready"
"""First message of the process: all modules are imported."""
MEMORY_LIMIT_BYTES = 256 * 1024**2
"""Limit of the process' address space in bytes, libraries included; it has 45 MiB at its start. Half of the
chart's memory limit.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """The result in the form in which revisions and status store it, to check that it can be stored."""

    plan: ModelPlan | None = None
    failure: PlanFailure | None = None


def planning_failed(why: str) -> PlanFailure:
    """The result to return where the planner itself fails, with the error ``why``."""
    kind = FailureClass.PLANNING_FAILED
    return failure(kind, why, failure_kind(kind).next_step)


def result_of(inputs: PlanInputs) -> PlanResult:
    """The plan, or its failure; any error of the planner is a failure too.

    The operator keeps each resource's last failure, and shows MESSAGE_LIMIT_CHARS of it. A user's text of
    128 KiB may be in it.
    """
    try:
        found = plan_of(inputs)
        stored = _Document(failure=found) if isinstance(found, PlanFailure) else _Document(plan=found)
        codec.loads(_Document, codec.dumps(stored))
        if isinstance(found, ModelPlan):
            shown_plan(found)
    except Exception as error:  # noqa: BLE001 - the inputs are a model's author's and a user's
        return planning_failed(f"The planner failed: {type(error).__name__}: {str(error)[:200]}.")
    if isinstance(found, PlanFailure):
        why = found.failure
        short = replace(why, message=clipped(why.message), next_step=clipped(why.next_step))
        return replace(found, failure=short)
    return found


def main(cpu_seconds: int) -> int:
    """Reads inputs and writes results until standard input ends; other output goes to the log.

    The kernel ends the process (SIGXCPU) where one plan takes more than ``cpu_seconds`` of CPU time. A busy
    node does not change CPU time.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    requests = sys.stdin.buffer
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as results:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        _send_result(results, READY)
        while length := requests.read(LENGTH_BYTES):
            _, hard = resource.getrlimit(resource.RLIMIT_CPU)
            resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + cpu_seconds, hard))
            inputs = pickle.loads(requests.read(int.from_bytes(length)))  # noqa: S301 - from the operator
            _send_result(results, result_of(inputs))
    return 0


def _send_result(results: BinaryIO, message: object) -> None:
    results.write(framed(message))
    results.flush()


def framed(message: object) -> bytes:
    """``message`` pickled, with its length in front, as both processes send it."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(LENGTH_BYTES) + data


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
