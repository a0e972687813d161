"""Every class of failure, by every way it comes: what is decided is what its row in the table says."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.planner.models import facts as model_facts
from tacho_contract import codec
from tacho_contract.failure import FAILURE_KINDS, Escalation, Failure, FailureClass
from tacho_contract.model import ModelFacts
from tacho_contract.units import GIB
from tacho_engines.base import EngineStartup, Exit
from tacho_engines.registry import runtime_adapter
from tacho_operator.core.manifests.containers import inject
from tacho_operator.core.pods.claims import claim_bound, not_shareable
from tacho_operator.core.pods.deadlines import PREPARE_SECONDS
from tacho_operator.core.pods.diagnosis import diagnose
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.problems import (
    Problem,
    from_failure,
    parse_failure,
    refusal_problem,
    refused_child,
)
from tacho_operator.core.revisions.inspection import result
from tacho_operator.core.rollout.reading import without_spare_gpu
from tacho_operator.core.status.undecided import internal_error, unreadable_spec
from tacho_operator.core.types import ChildRefusal, NodeFacts, RuntimeImage
from tacho_operator.shell.plan_process import planning_failed
from tacho_runtime.headers.source import changed as changed_files
from tacho_runtime.hub.failures import unreachable
from tacho_runtime.supervisor import lifecycle, preflight
from tacho_runtime.supervisor.engine_memory import quantization_failure
from tests.launching import runtime_config
from tools.harness.resources import CLAIM_SPEC, NOW, at, changed, resource
from tools.harness.world import World
from tools.mock.specs import cpu_node, smollm2


def told(name: str, *, retryable: bool | None = None) -> Failure:
    return Failure(failure_class=name, message="What.", next_step="Do.", retryable=retryable)


def ended(failure: Failure, restarts: int) -> Problem:
    """What diagnosis makes of a container that ended with this failure."""
    state = {"terminated": {"exitCode": 1, "message": codec.dumps(failure)}}
    status = {"name": "engine", "restartCount": restarts, "lastState": state}
    view = PodView({"metadata": {"name": "p"}, "spec": {}, "status": {"containerStatuses": [status]}})
    found = diagnose(view, lost_nodes=(), schedule_overdue=False)
    assert found is not None
    return found


@pytest.mark.parametrize("name", FailureClass)
def test_a_pod_that_fails_with_it(name: FailureClass) -> None:
    kind = FAILURE_KINDS[name]
    assert ended(told(name), 0).needs_user_action == kind.needs_user_action
    assert ended(told(name), 2).needs_user_action == kind.needs_user_action
    assert ended(told(name), 3).needs_user_action == kind.user_action_needed([Escalation.RESTARTS])
    final = ended(told(name, retryable=False), 0)
    assert final.needs_user_action == kind.user_action_needed([Escalation.FINAL])


@pytest.mark.parametrize("name", FailureClass)
def test_a_plan_that_fails_with_it(name: FailureClass) -> None:
    kind = FAILURE_KINDS[name]
    assert from_failure(told(name)).needs_user_action == kind.needs_user_action
    assert told(name).retryable == (not kind.needs_user_action)


@pytest.mark.parametrize("name", FailureClass)
def test_an_inspection_that_fails_with_it(name: FailureClass) -> None:
    kind = FAILURE_KINDS[name]
    world = World()
    world.reconcile()
    world.inspected(told(name))
    decision = world.reconcile(1)
    assert world.brief("Ready") == ("False", name)
    assert (world.brief("Stalled")[0] == "True") == kind.needs_user_action
    assert (world.brief("Reconciling")[0] == "True") != kind.needs_user_action
    assert decision.requeue_after_seconds is not None or not kind.tries_again


def test_a_class_of_another_version_is_taken_at_its_own_word() -> None:
    assert ended(told("NotYetInvented"), 0).needs_user_action
    assert ended(told("NotYetInvented", retryable=False), 0).needs_user_action
    assert not ended(told("NotYetInvented", retryable=True), 2).needs_user_action
    assert ended(told("NotYetInvented", retryable=True), 3).needs_user_action


def of_pod(**status: Any) -> Callable[[], str]:
    """The class that diagnosis gives a pod with this status."""

    def origin() -> str:
        node = {"nodeName": status.pop("node")} if "node" in status else {}
        view = PodView({"metadata": {"name": "p"}, "spec": node, "status": status})
        found = diagnose(view, lost_nodes={"gone"}, schedule_overdue=False)
        assert found is not None
        return found.reason

    return origin


def of_waiting(reason: str, name: str = "engine", message: str = "") -> Callable[[], str]:
    state = {"waiting": {"reason": reason, "message": message}}
    return of_pod(containerStatuses=[{"name": name, "image": "img:1", "state": state}])


def of_log(line: str, engine: str = "llamacpp") -> Callable[[], str]:
    """The class that an engine's last line gives."""
    return lambda: runtime_adapter(engine).classify(Exit(code=1), [line]).failure_class


def of_world(model: ModelFacts | None = None, *nodes: NodeFacts, **spec: Any) -> Callable[[], str]:
    """The class that Ready shows once the model is inspected; None: its claim does not exist."""

    def origin() -> str:
        world = World(changed(CLAIM_SPEC, **spec))
        world.nodes = nodes
        world.claims = {} if model else {"models": None}
        world.reconcile()
        if model:
            world.inspected(model)
            world.reconcile(1)
        return str(world.condition("Ready")["reason"])

    return origin


def never_prepared() -> str:
    waits = {
        "type": "PodReadyToStartContainers",
        "status": "False",
        "lastTransitionTime": at(-PREPARE_SECONDS - 1),
    }
    status = {"phase": "Pending", "conditions": [waits]}
    view = PodView({"metadata": {"name": "p"}, "spec": {"nodeName": "n"}, "status": status})
    found = diagnose(view, lost_nodes=(), schedule_overdue=False, now=NOW)
    assert found is not None
    return found.reason


def refused(**fields: Any) -> Callable[[], str]:
    return lambda: refused_child(ChildRefusal(kind="Service", name="smol", **fields)).reason


def without_a_spare_gpu() -> str:
    problem = Problem(reason=FailureClass.UNSCHEDULABLE, what="", missing_resources=("nvidia.com/gpu",))
    found = without_spare_gpu(resource(changed(CLAIM_SPEC, gpu={"count": 1})), problem)
    assert found is not None
    return found.reason


def shared_by_two() -> str:
    claims = {"models": {"spec": {"accessModes": ["ReadWriteOncePod"]}}}
    bound = claim_bound(resource(changed(CLAIM_SPEC, replicas=2)), claims, None)
    found = not_shareable(bound, replicas=2)
    assert found is not None
    return found.reason


def too_slow() -> str:
    state = lifecycle.RuntimeState(started_seconds=0.0, entered_seconds=0.0, phase=lifecycle.STARTING)
    found = lifecycle.overdue(state, budget_seconds=1.0, now=2.0)
    assert found is not None
    return found.failure_class


def loaded_unquantized() -> str:
    asked = runtime_config(
        revision="r",
        plan_key="k",
        engine="vllm",
        model_path="/m",
        served_name="m",
        max_model_len=1,
        concurrency=1,
        quantization_method="gptq",
        predicted_weights_bytes=5 * GIB,
    )
    found = quantization_failure(asked, EngineStartup(weights_bytes=15 * GIB))
    assert found is not None
    return found.failure_class


def port_taken() -> str:
    return preflight.port_failure("", 1, OSError(errno.EADDRINUSE, "in use")).failure_class


def inspected_without_a_word() -> str:
    failure = result(PodView({"metadata": {"name": "p"}, "status": {"phase": "Failed"}})).failure
    assert failure is not None
    return failure.failure_class


def refused_runtime() -> str:
    text = inject(RuntimeImage(image="tacho:1", sha256="0" * 64), "Always")["command"][-1]
    failure = parse_failure(text)
    assert failure is not None
    return failure.failure_class


UNQUANTIZED = {
    "engine": {"name": "vllm"},
    "quantization": {"method": "none"},
    "gpu": {"products": ["T4"], "count": 4},
}
F = FailureClass
ORIGINS: dict[FailureClass, Callable[[], str]] = {
    F.ENGINE_NOT_SUPPORTED: of_log("unknown model architecture: 'new'"),
    F.IMPORT_FAILED: of_log("ModuleNotFoundError: No module named 'gptqmodel'", "vllm"),
    F.MODEL_NOT_FOUND: of_log("failed to open GGUF file 'x' (No such file or directory)"),
    F.MODEL_INVALID: of_log("invalid magic characters: 'abcd'"),
    F.MODEL_CHANGED: lambda: changed_files("Others.").failure.failure_class,
    F.AUTH_REQUIRED: of_waiting("CreateContainerConfigError", "inspect", 'secret "hf" not found'),
    F.HUB_UNREACHABLE: lambda: unreachable("No answer.").failure.failure_class,
    F.UNSUPPORTED_QUANTIZATION: of_world(dataclasses.replace(smollm2(), format="safetensors"), cpu_node()),
    F.UNSUPPORTED_GPU: of_world(model_facts("gemma-2-9b"), **UNQUANTIZED),
    F.DOES_NOT_FIT: of_world(smollm2(), cpu_node(memory="64Mi")),
    F.KV_CACHE_TOO_SMALL: of_log(
        "2.0 GiB KV cache is needed, which is larger than the available KV cache memory (1.0 GiB)", "vllm"
    ),
    F.QUANTIZATION_NOT_APPLIED: loaded_unquantized,
    F.GPU_OUT_OF_MEMORY: of_log("CUDA error: out of memory"),
    F.HOST_OUT_OF_MEMORY: of_log("std::bad_alloc"),
    F.IMAGE_PULL_ERROR: of_waiting("ImagePullBackOff"),
    F.UNSCHEDULABLE: of_pod(conditions=[{"type": "PodScheduled", "status": "False"}]),
    F.NO_SPARE_GPU: without_a_spare_gpu,
    F.POD_NOT_PREPARED: never_prepared,
    F.QUOTA_EXCEEDED: refused(message="exceeded quota: q"),
    F.ADMISSION_DENIED: refused(message="denied by policy"),
    F.ADMISSION_UNAVAILABLE: lambda: refusal_problem('failed calling webhook "w.example": EOF').reason,
    F.NAMESPACE_TERMINATING: refused(message="no new content in it because it is being terminated"),
    F.NAME_CONFLICT: refused(taken=True),
    F.CACHE_NOT_FOUND: of_world(),
    F.CACHE_NOT_SHAREABLE: shared_by_two,
    F.DISK_FULL: of_log("write: No space left on device"),
    F.ENGINE_CRASHED: of_log("something else"),
    F.STARTUP_TIMEOUT: too_slow,
    F.INSPECTION_TIMEOUT: inspected_without_a_word,
    F.GPU_FAULT: of_log("NVRM: Xid (PCI:0000:01:00): 79"),
    F.NODE_LOST: of_pod(node="gone"),
    F.EVICTED: of_pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory."),
    F.PORT_IN_USE: port_taken,
    F.RUNTIME_CHANGED: refused_runtime,
    F.PLANNING_FAILED: lambda: planning_failed("It took too long.").failure.failure_class,
    F.INVALID_CONFIG: of_waiting("CreateContainerConfigError", "engine", 'secret "k" not found'),
    F.UNREADABLE_SPEC: lambda: unreadable_spec("spec.replicas: no number").reason,
    F.INTERNAL_ERROR: lambda: internal_error(ZeroDivisionError("division by zero")).reason,
}


@pytest.mark.parametrize("name", ORIGINS)
def test_a_class_of_the_page_can_be_met(name: FailureClass) -> None:
    assert ORIGINS[name]() == name


def test_every_class_of_the_page_has_its_origin() -> None:
    assert set(ORIGINS) == set(FAILURE_KINDS)
