"""Next steps after a failure of a local run, without a pod to change or a kubelet that restarts it."""

from __future__ import annotations

import dataclasses

from tacho_contract.failure import Failure, FailureClass

NEXT_STEPS: dict[str, str] = {
    FailureClass.ENGINE_CRASHED: "Read the engine's last lines below; --log FILE keeps all of them.",
    FailureClass.HOST_OUT_OF_MEMORY: "Free memory on this machine, or lower spec.context.maxModelLen or "
    "concurrency.",
    FailureClass.HUB_UNREACHABLE: "Check the network, the proxy variables and spec.model.hub.endpoint, then "
    "run it again: what is downloaded is kept.",
    FailureClass.PORT_IN_USE: "Stop that process, or choose other ports: --port (the API), --report-port "
    "(the report).",
    FailureClass.STARTUP_TIMEOUT: "See what the engine says (--log FILE); if it is only slow, raise "
    "spec.startupTimeoutSeconds.",
}


def for_this_machine(failure: Failure) -> Failure:
    """``failure`` with the next step of a person at this machine."""
    step = NEXT_STEPS.get(failure.failure_class, failure.next_step)
    return dataclasses.replace(failure, next_step=step)
