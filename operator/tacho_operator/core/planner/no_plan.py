"""The failure message where no plan fits: the reason, and a configuration that would fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tacho_contract.failure import Failure, FailureClass, failure_kind
from tacho_contract.model import ModelFacts
from tacho_contract.units import counted, gib, gib_or_more
from tacho_engines.base import Context
from tacho_engines.hardware.gpus import is_foreign
from tacho_engines.memory import kv
from tacho_engines.profile import EngineProfile
from tacho_engines.shared.compatibility import packed_dtype
from tacho_engines.shared.switches import split_switch
from tacho_operator.api.defaults import GPU_RESOURCE
from tacho_operator.core.planner.attempt import Attempt
from tacho_operator.core.planner.devices import (
    HOST_DEFAULT_BYTES,
    MEMORY_LIMIT,
    PRODUCT_LABEL,
    DeviceOption,
    DeviceOptions,
    Ineligible,
    gpu_options,
)
from tacho_operator.core.planner.messages import described, host_parts, learned, requests, short_message
from tacho_operator.core.planner.search import GPU_COUNTS, Search, engine_methods, rank
from tacho_operator.core.planner.types import PlanFailure
from tacho_operator.core.types import NodeFacts

NAMED_KINDS = 3
"""Most kinds of ineligible nodes that a message describes."""


@dataclass(frozen=True, slots=True)
class FitAdvice:
    """Changes to the spec of which each makes the model fit, as text and as values."""

    steps: list[str] = field(default_factory=list)
    details: dict[str, str] = field(default_factory=dict)

    def add(self, step: str, **details: object) -> None:
        self.steps.append(step)
        self.details.update({name: str(value) for name, value in details.items()})

    def message(self) -> str:
        """All changes as one sentence, joined by "or"; "": none is known."""
        text = ", or ".join(self.steps)
        return f"{text[:1].upper()}{text[1:]}." if text else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitAdvisor:
    """Searches for changes that make the model fit, starting from the attempt that lacks the least."""

    search: Search
    device_options: DeviceOptions
    nodes: tuple[NodeFacts, ...] | None
    nearest: Attempt

    def advice(self) -> FitAdvice:
        """Changes that would fit: without one of the user's switches, a shorter context, another method, more
        GPUs, another GPU of this cluster, a larger host."""
        found = FitAdvice()
        for given, without in self._without_switches():
            found.add(f"{_relief(self.nearest, without)} {given} in engine.extraArgs", fitsWithout=given)
        if shorter := self.nearest.nearest:
            step, details = self._shorter(shorter)
            found.add(f"set {step}", **details)
        if other := self._next_method():
            self._quantize(other, found)
        if more := self._more_gpus():
            found.add(f"set gpu.count to {more.gpus}", fitsGpuCount=more.gpus)
        if elsewhere := self._another_gpu():
            count = f" x {elsewhere.gpus}" if elsewhere.gpus > 1 else ""
            on_host = self.nearest.placement.device.on_host
            found.add(
                f"set gpu.count to {elsewhere.gpus}, for {elsewhere.product}"
                if on_host
                else f"use {elsewhere.product}{count}",
                fitsProduct=elsewhere.product,
                fitsProductCount=elsewhere.gpus,
            )
        if self.nearest.placement.device.on_host:
            self._larger_host(found)
        return found

    def _without_switches(self) -> Iterator[tuple[str, Attempt]]:
        """Each of the user's switches without which the model fits, and the attempt without it."""
        nearest, evaluator = self.nearest, self.search.evaluator
        given = _switches(evaluator.request.options.arguments)
        for number, switch in enumerate(given):
            others = tuple(word for one in given[:number] + given[number + 1 :] for word in one)
            options = replace(evaluator.request.options, arguments=others)
            request = replace(evaluator.request, options=options)
            without = replace(evaluator, request=request).evaluate(
                nearest.engine, nearest.method, nearest.device_option, nearest.gpus
            )
            if without.fits:
                yield " ".join(switch), without

    def _shorter(self, shorter: Context) -> tuple[str, dict[str, object]]:
        """("context.maxModelLen to …", details for the failure) for the context ``shorter``, which fits."""
        step = f"context.maxModelLen to {shorter.max_model_len} or less"
        details: dict[str, object] = {"fitsMaxModelLen": shorter.max_model_len}
        requested = self.search.evaluator.request.concurrency
        if shorter.concurrency != (requested or shorter.concurrency):
            details["fitsConcurrency"] = shorter.concurrency
            step += f" with context.concurrency {shorter.concurrency}"
        return step, details

    def _quantize(self, other: Attempt, found: FitAdvice) -> None:
        step = f"quantize with {other.method.method} ({other.engine.name})"
        details: dict[str, object] = {}
        if not other.fits and other.nearest:
            shorter, details = self._shorter(other.nearest)
            step += f" and set {shorter}"
        found.add(step, fitsMethod=other.method.method, fitsEngine=other.engine.name, **details)

    def _next_method(self) -> Attempt | None:
        """The best method that fits on the same devices where the requested one does not; else a method that
        fits a shorter context."""
        nearest, search = self.nearest, self.search.unrestricted()
        tried = [search.attempt(pair, nearest.device_option, nearest.gpus) for pair in engine_methods()]
        others = [t for t in tried if t.method.method != nearest.method.method and (t.fits or t.nearest)]
        if nearest.nearest:
            others = [t for t in others if t.fits]
        return min(others, key=lambda t: (not t.fits, rank(t)), default=None)

    def _more_gpus(self) -> Attempt | None:
        nearest = self.nearest
        counts = (n for n in GPU_COUNTS if nearest.gpus < n <= nearest.device_option.max_gpus)
        return self._first_that_fits((nearest.device_option, n) for n in counts)

    def _another_gpu(self) -> Attempt | None:
        """A plan on a kind of GPU that nodes have now and the user did not name; None: none fits."""
        named = {option.device.product for option in self.device_options.available}
        every = gpu_options(replace(self.search.evaluator.request, products=()), self.nodes).available
        others = (option for option in every if option.device.product not in named)
        return self._first_that_fits(
            (other, n) for other in others for n in GPU_COUNTS if n <= other.max_gpus
        )

    def _first_that_fits(self, places: Iterator[tuple[DeviceOption, int]]) -> Attempt | None:
        tried = (self.search.with_gpus(self.nearest, option, gpus) for option, gpus in places)
        return next((attempt for attempt in tried if attempt.fits), None)

    def _larger_host(self, found: FitAdvice) -> None:
        account, needed = self.nearest.account, self.nearest.needed_bytes
        if account is None or needed is None or self.nearest.beyond_tokens:
            return
        if not found.steps:
            available = (account.budget_bytes or 0) - needed + account.weights_bytes
            kind = "GGUF file" if self.search.evaluator.facts.format == "gguf" else "model"
            found.add(f"use a {kind} below {gib(available)}" if available > 0 else "use a smaller model")
        limited = self.nearest.placement.device.source == MEMORY_LIMIT
        field = "raise engine.resources.limits.memory to" if limited else "use a node of"
        found.add(f"{field} {gib_or_more(needed)} or more")


def _switches(arguments: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Each switch with its values, as the user wrote them."""
    found: list[tuple[str, ...]] = []
    for word in arguments:
        if found and split_switch(word) is None:
            found[-1] = (*found[-1], word)
        else:
            found.append((word,))
    return found


def _relief(nearest: Attempt, without: Attempt) -> str:
    """What to do with a switch: what leaves the engine less memory than its default may be raised, too."""
    budgets = [attempt.account.budget_bytes or 0 if attempt.account else 0 for attempt in (nearest, without)]
    return "raise or remove" if budgets[0] < budgets[1] else "change or remove"


def failure(failure_class: str, message: str, next_step: str) -> PlanFailure:
    """The failure of a plan that is found before any engine is tried."""
    return PlanFailure(failure=Failure(failure_class=failure_class, message=message, next_step=next_step))


# --- before anything was tried --------------------------------------------------------------------
def too_little_known(facts: ModelFacts) -> PlanFailure | None:
    """ModelInvalid where the model's files lack a value that memory depends on; None where they lack none.

    No value is guessed.
    """
    if facts.architecture is None or not facts.tensors:
        missing = "no metadata" if facts.format == "gguf" else "no config.json"
    else:
        missing = kv.missing(facts.architecture)
    if not missing:
        return None
    missing = "; ".join(facts.unknown) or missing
    if facts.format == "gguf":
        return failure(
            FailureClass.MODEL_INVALID,
            f"The GGUF header of {facts.uri} does not describe the model: {missing}.",
            "Use a complete GGUF file, or engine custom, which does not read the model.",
        )
    return failure(
        FailureClass.MODEL_INVALID,
        f"Too little is known of {facts.uri} to plan its memory: {missing}.",
        "Use a repository with config.json and safetensors, or a GGUF file, or engine custom, which is not "
        "planned.",
    )


def unexplained(facts: ModelFacts) -> PlanFailure | None:
    """ModelInvalid where the weights are packed and no file says how; else None."""
    dtype = packed_dtype(facts)
    if not dtype:
        return None
    return failure(
        FailureClass.MODEL_INVALID,
        f"The weights of {facts.uri} are packed ({dtype}), and no file says how: config.json has no "
        "quantization_config with a quant_method, and no quant_config.json, quantize_config.json or "
        "hf_quant_config.json says it.",
        "Put the file that the weights came with beside them (of a repository, in a copy of it), or use "
        "another checkpoint of the model.",
    )


def gpus_only(engine: EngineProfile) -> PlanFailure:
    """The failure for a spec that requests the CPU with an engine that needs a GPU."""
    return failure(
        FailureClass.ENGINE_NOT_SUPPORTED,
        f"Engine {engine.name} runs on GPUs only; gpu.count is 0.",
        "Ask for a GPU, or use a GGUF file with llamacpp, which runs on the CPU.",
    )


def no_method(engine: EngineProfile, method: str) -> PlanFailure:
    """The failure for a method that the engine does not support. It names the engine's methods, and engines
    that support the method.
    """
    able = ", ".join(other.name for other, row in engine_methods() if row.method == method)
    own = ", ".join(row.method for row in engine.methods)
    return failure(
        FailureClass.UNSUPPORTED_QUANTIZATION,
        f"Engine {engine.name} does not run {method}.",
        f"Set engine.name to one of: {able}; or quantization.method to one of: {own}.",
    )


def nvidia_only(why: str) -> PlanFailure:
    """The failure for GPUs of another vendor. ``why``: what names them."""
    return failure(
        FailureClass.UNSUPPORTED_GPU,
        f"{why}: tacho plans NVIDIA GPUs only.",
        "Name an NVIDIA product in gpu.products, set gpu.count to 0 for the CPU, or use engine custom.",
    )


def no_device(device_options: DeviceOptions, *, nodes_known: bool) -> PlanFailure:
    """The failure where the cluster has no GPU to choose from."""
    if device_options.unknown:
        names = ", ".join(device_options.unknown)
        if any(map(is_foreign, device_options.unknown)):
            return nvidia_only(f"gpu.products has {names}")
        return failure(
            FailureClass.UNSUPPORTED_GPU,
            f"No node has a GPU {names}, and the catalog does not list it.",
            "Use the value of the node label nvidia.com/gpu.product, or a name such as L4, A100-80GB, H100.",
        )
    if device_options.unlabelled:
        return failure(
            FailureClass.UNSUPPORTED_GPU,
            f"Nodes {', '.join(device_options.unlabelled[:5])} have GPUs that no label describes.",
            f"Install GPU Feature Discovery, or label these nodes or their pool {PRODUCT_LABEL}=PRODUCT, "
            "with a product of the catalog.",
        )
    if device_options.unsized:
        return failure(
            FailureClass.UNSUPPORTED_GPU,
            f"Nodes {', '.join(device_options.unsized[:5])} have GPUs that the catalog lacks, or has of "
            f"several sizes, and no label {GPU_RESOURCE}.memory.",
            f"Label these nodes or their pool {GPU_RESOURCE}.memory=MIB, as nvidia-smi shows it.",
        )
    if device_options.ineligible:
        why, step = _ineligible(device_options.ineligible)
        return failure(
            FailureClass.UNSUPPORTED_GPU,
            f"No node with GPUs is eligible: {why}.",
            f"{step[:1].upper()}{step[1:]}. To run on the CPU, set gpu.count to 0.",
        )
    if device_options.too_large_for_host_bytes:
        return failure(
            FailureClass.UNSUPPORTED_GPU,
            f"No eligible node has a GPU, and {gib(device_options.too_large_for_host_bytes)} of weights are "
            f"too slow on a CPU to be planned there unasked (the limit is {gib(HOST_DEFAULT_BYTES)}).",
            "Set gpu.products to the GPU that a node autoscaler brings (its pool's template needs the label "
            f"{PRODUCT_LABEL}), or gpu.count to 0 for the CPU.",
        )
    seen = "No eligible node has a GPU" if nodes_known else "The operator may not read nodes"
    return failure(
        FailureClass.UNSUPPORTED_GPU,
        f"{seen}, and gpu.products is empty.",
        "Name a product in gpu.products (a node autoscaler brings it where the pool's template has the label "
        f"{PRODUCT_LABEL}), or set gpu.count to 0.",
    )


def _ineligible(kinds: tuple[Ineligible, ...]) -> tuple[str, str]:
    """Why nodes with GPUs are not eligible, and what makes one so; both as clauses."""
    shown = kinds[:NAMED_KINDS]
    others = sum(kind.count for kind in kinds[NAMED_KINDS:])
    more = f"; {counted(others, 'other node')} as well" if others else ""
    return "; ".join(kind.why for kind in shown) + more, ", or ".join(kind.step for kind in shown)


def too_many_gpus(requested: int, most: int) -> PlanFailure:
    """The failure for more GPUs than one node has: a replica is one pod."""
    return failure(
        FailureClass.UNSUPPORTED_GPU,
        f"{requested} GPUs are requested for one replica, which is one pod. No known node has over {most}.",
        f"Set gpu.count to {most} or less, and parallelism to match: a replica does not span nodes. If "
        "larger nodes exist at times, plan while one is there.",
    )


# --- after everything was tried -------------------------------------------------------------------
def nothing_fits(advisor: FitAdvisor) -> PlanFailure:
    """The failure where no attempt fits: the nearest attempt, why it does not fit, and a configuration that
    would."""
    nearest = advisor.nearest
    return PlanFailure(
        failure=_refused(nearest) if nearest.refusal else _does_not_fit(advisor),
        gpu_count=nearest.gpus,
        gpu_memory_bytes=nearest.placement.device.memory_bytes or 0,
        max_model_len=nearest.sized_context.max_model_len if nearest.sized_context else 0,
        predicted=nearest.predicted,
        alternatives=advisor.search.alternatives(nearest),
    )


def _refused(nearest: Attempt) -> Failure:
    step = nearest.refusal.next_step if nearest.refusal else ""
    default = failure_kind(nearest.reason).next_step
    return Failure(
        failure_class=nearest.reason,
        message=f"{nearest.placement.facts.uri} cannot run: {short_message(nearest)}.",
        next_step=f"{step}." if step else default,
    )


def _does_not_fit(advisor: FitAdvisor) -> Failure:
    nearest, found = advisor.nearest, advisor.advice()
    device = nearest.placement.device
    larger = "a node with more memory" if device.on_host else "a larger GPU"
    larger = "a GPU that is not shared" if device.sharers > 1 else larger
    barred = ""
    if kinds := advisor.device_options.ineligible:
        why, step = _ineligible(kinds)
        barred = f" Not eligible: {why}. To use them, {step}."
    if nearest.needed_bytes is not None:
        found.details["neededBytes"] = str(nearest.needed_bytes)
    if nearest.account is not None and nearest.account.budget_bytes is not None:
        found.details["availableBytes"] = str(nearest.account.budget_bytes)
    return Failure(
        failure_class=FailureClass.DOES_NOT_FIT,
        message=f"{_shortage_message(nearest)}{learned(nearest)}",
        next_step=f"{found.message() or f'Use a smaller model or {larger}.'}{barred}",
        details=found.details,
    )


def _shortage_message(nearest: Attempt) -> str:
    uri, device = nearest.placement.facts.uri, nearest.placement.device
    account, context = nearest.account, nearest.sized_context
    if device.on_host and account is not None and context is not None and not nearest.beyond_tokens:
        needed = account.needed_bytes(context.concurrency)
        return (
            f"{gib(needed)} of memory are needed, {gib(account.budget_bytes or 0)} are available "
            f"({device.source}): {uri}, {requests(context)} of {context.max_model_len} tokens "
            f"{host_parts(account)}."
        )
    what = f"{nearest.engine.name} with {described(nearest)}"
    return f"{uri} does not fit ({what}): {short_message(nearest)}."
