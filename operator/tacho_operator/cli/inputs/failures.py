"""What to do about a failure where there is no pod to change and no kubelet to try again."""

from __future__ import annotations

import dataclasses

from tacho_contract.failure import (
    ENGINE_CRASHED,
    HOST_OUT_OF_MEMORY,
    HUB_UNREACHABLE,
    PORT_IN_USE,
    STARTUP_TIMEOUT,
    Failure,
)

NEXT_STEPS = {
    ENGINE_CRASHED: "Read the engine's last lines below; --log FILE keeps all of them.",
    HOST_OUT_OF_MEMORY: "Free memory on this machine, or lower spec.context.maxModelLen or concurrency.",
    HUB_UNREACHABLE: "Check the network, the proxy variables and spec.model.hub.endpoint, then run it again: "
    "what is downloaded is kept.",
    PORT_IN_USE: "Stop that process, or choose other ports: --port (the API), --report-port (the report).",
    STARTUP_TIMEOUT: "See what the engine says (--log FILE); if it is only slow, raise "
    "spec.startupTimeoutSeconds.",
}


def for_this_machine(failure: Failure) -> Failure:
    """``failure`` with the next step of a person at this machine."""
    step = NEXT_STEPS.get(failure.failure_class, failure.next_step)
    return dataclasses.replace(failure, next_step=step)
