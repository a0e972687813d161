"""One way to run a model: an engine and a method on some number of one kind of GPU, and whether it fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tacho_contract.failure import FailureClass
from tacho_contract.model import Architecture, ModelFacts
from tacho_contract.units import gib
from tacho_operator.core.planner.arguments import expanded, first_of, parse_arguments
from tacho_operator.core.planner.asked import Asked
from tacho_operator.core.planner.catalog.engines import engine_image, engine_table, version_key
from tacho_operator.core.planner.catalog.gpus import Gpu
from tacho_operator.core.planner.catalog.methods import MethodRow, stored_method
from tacho_operator.core.planner.catalog.vllm import rules_for
from tacho_operator.core.planner.context import (
    UNKNOWN_LONGEST_TOKENS,
    Context,
    choose_context,
    longest_fitting,
)
from tacho_operator.core.planner.hardware import Hardware
from tacho_operator.core.planner.learning import Correction, correction
from tacho_operator.core.planner.roofline import Roofline, roofline
from tacho_operator.core.planner.sizing import ctranslate2, llamacpp, transformers, vllm
from tacho_operator.core.planner.sizing.account import MARGIN, Account
from tacho_operator.core.planner.sizing.vllm_settings import (
    SWITCHES,
    parallel_sizes,
    sequence_switches,
    vllm_settings,
)
from tacho_operator.core.planner.spread import parallelism
from tacho_operator.core.planner.support import stretched, unsupported
from tacho_operator.core.types import Config, History

DEFAULT_CONCURRENCY = 16
SHORTEST_TOKENS = 256
FP8_NEEDS_CHOICE = "0.32"
"""From here vLLM wants the kind of scaling named when it quantizes to FP8 in flight."""

NOTHING_LEARNED = Correction()

Accounts = Callable[[int, int], Account]
"""The account of one GPU for (max_model_len, concurrency)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of trying. ``account`` is None where the memory was not even looked at."""

    engine: str
    version: str
    image: str
    row: MethodRow
    hardware: Hardware
    gpus: int
    tensor: int = 1
    pipeline: int = 1
    context: Context | None = None
    account: Account | None = None
    speed: Roofline | None = None
    learned: Correction = NOTHING_LEARNED
    longest: int | None = None
    """What would fit where the asked context does not: the length, for the asked concurrency or else one."""
    longest_concurrency: int = 1
    reason: str = ""
    """Failure class; "" when it fits."""
    message: str = ""

    @property
    def fits(self) -> bool:
        return self.context is not None

    @property
    def expected_tokens_per_second(self) -> float:
        """For ranking: the bound times what the engine usually reaches of it."""
        if self.speed is None:
            return 0.0
        return self.speed.decode_tokens_per_second * engine_table()[self.engine].efficiency


def method_arguments(row: MethodRow, facts: ModelFacts, version: str, gpu: Gpu) -> tuple[str, ...]:
    """Switches that ask the engine for the method, and for a 16-bit type the GPU has."""
    arguments = row.arguments if stored_method(facts) != row.method else ()
    if row.engine == "vllm":
        if "fp8" in arguments and version_key(version) >= version_key(FP8_NEEDS_CHOICE):
            arguments = ("--quantization", "fp8_per_tensor")
        bf16 = facts.architecture is not None and facts.architecture.dtype != "float16"
        if bf16 and gpu.capability != (0, 0) and not gpu.has_bf16:
            arguments = (*arguments, "--dtype", "half")
    return arguments


def _switches(asked: Asked, row: MethodRow) -> dict[str, str]:
    """The user's switches as the engine reads them."""
    found = parse_arguments(asked.extra_args)
    return expanded(found, SWITCHES) if row.engine == "vllm" else found


def _accounts(
    asked: Asked,
    facts: ModelFacts,
    architecture: Architecture,
    trial: Trial,
) -> Accounts:
    """The memory model of the trial's engine, as a function of context length and concurrency."""
    gpu, row = trial.hardware.gpu, trial.row
    on_host = trial.gpus == 0
    switches = _switches(asked, row)
    if row.engine == "vllm":
        own = method_arguments(row, facts, trial.version, gpu)

        rules = rules_for(trial.version, asked.env)
        hybrid = any(group.state_bytes for group in architecture.layer_groups)

        def of_vllm(length: int, concurrency: int) -> Account:
            added = sequence_switches(
                switches, rules=rules, gpu=gpu, max_model_len=length, concurrency=concurrency, bounded=hybrid
            )
            settings = vllm_settings(
                {**switches, **added}, asked.env, rules=rules, gpu=gpu, facts=facts,
                tensor=trial.tensor, pipeline=trial.pipeline, max_model_len=length,
                kv_cache_dtype=asked.kv_cache_dtype,
            )  # fmt: skip
            extra = (*own, *(word for name, value in added.items() for word in (f"--{name}", value)))
            return vllm.account(
                facts, architecture, gpu=gpu, settings=settings, method=row.method, arguments=extra
            )

        return of_vllm
    memory = gpu.memory_bytes // gpu.sharers
    if row.engine == "llamacpp":
        element = llamacpp.element_bytes(asked.kv_cache_dtype, switches) or 2.0
        return lambda length, concurrency: llamacpp.gpu_account(
            facts, architecture, memory_bytes=memory, gpus=max(1, trial.gpus), length=length,
            concurrency=concurrency, key_value_bytes=element, micro_batch=llamacpp.micro_batch(switches),
        )  # fmt: skip
    if row.engine == "ctranslate2":
        return lambda length, concurrency: ctranslate2.account(
            facts, architecture, memory_bytes=memory, method=row.method, length=length,
            concurrency=concurrency, on_gpu=not on_host,
        )  # fmt: skip
    double = asked.double_quant is not False
    compute = 4 if asked.compute_dtype == "float32" else 2
    return lambda length, concurrency: transformers.account(
        facts, architecture, memory_bytes=memory, gpus=max(1, trial.gpus), method=row.method,
        double_quant=double, compute_bytes=compute, length=length, concurrency=concurrency,
    )  # fmt: skip


def _fits(account: Account, concurrency: int, memory_bytes: int, learned: Correction) -> bool:
    """Needed, corrected by what was learned and with the margin, is within the budget."""
    cache = concurrency * account.request_bytes / max(0.1, learned.tokens_factor)
    needed = account.fixed_bytes * learned.bytes_factor + max(cache, account.cache_limit_bytes or 0)
    return account.holds(cache) and needed + MARGIN * memory_bytes <= account.budget_bytes


def attempt(
    asked: Asked,
    facts: ModelFacts,
    architecture: Architecture,
    row: MethodRow,
    hardware: Hardware,
    gpus: int,
    *,
    history: tuple[History, ...],
    config: Config,
) -> Trial:
    """Try ``row`` on ``gpus`` of ``hardware``. Pure; says why where it does not work."""
    engine = engine_table()[row.engine]
    image, version = engine_image(
        engine, asked.image if asked.engine else "", config.engine_images, row.method
    )
    gpu = hardware.gpu
    learned = correction(history, engine=row.engine, version=version, method=row.method, product=gpu.product)
    base = Trial(
        engine=row.engine, version=version, image=image, row=row,
        hardware=hardware, gpus=gpus, learned=learned,
    )  # fmt: skip
    switches = _switches(asked, row)
    if problem := unsupported(
        row, asked, facts, gpu, gpus=gpus, image=image, version=version, switches=switches
    ):
        return _failed(base, *problem)
    splits: tuple[tuple[int, int], ...] | str = ((1, max(1, gpus)),)
    if row.engine == "vllm":
        splits = parallelism(asked, parallel_sizes(switches), architecture, facts, gpus)
    if isinstance(splits, str):
        return _failed(base, FailureClass.UNSUPPORTED_GPU, splits)
    trials: list[Trial] = []
    for tensor, pipeline in splits:
        trials.append(_sized(asked, facts, architecture, _with(base, tensor=tensor, pipeline=pipeline)))
        if trials[-1].fits:
            return trials[-1]
    return max(trials, key=lambda t: t.longest or 0)


def _with(trial: Trial, **changes: Any) -> Trial:
    return replace(trial, **changes)


def _failed(trial: Trial, reason: str, message: str) -> Trial:
    return _with(trial, reason=reason, message=message)


def _sized(asked: Asked, facts: ModelFacts, architecture: Architecture, trial: Trial) -> Trial:
    memory = trial.hardware.gpu.memory_bytes // trial.hardware.gpu.sharers
    accounts = _accounts(asked, facts, architecture, trial)

    def fits(length: int, concurrency: int) -> bool:
        return _fits(accounts(length, concurrency), concurrency, memory, trial.learned)

    smallest = accounts(SHORTEST_TOKENS, 1)
    problem = _over_the_gpu(smallest, trial.hardware.gpu) or _over_the_host(smallest, asked, trial.gpus)
    if problem:
        return _failed(trial, FailureClass.INVALID_CONFIG, problem)
    longest = architecture.max_positions or UNKNOWN_LONGEST_TOKENS
    useful = min(longest, asked.request_tokens)
    too_long = not stretched(asked) and 0 < architecture.max_positions < (asked.max_model_len or 0)
    context = None if too_long else choose_context(
        asked.max_model_len,
        asked.concurrency,
        longest=longest,
        default_concurrency=DEFAULT_CONCURRENCY,
        useful=useful,
        fits=fits,
    )  # fmt: skip
    wanted = context or Context(asked.max_model_len or useful, asked.concurrency or 1)
    account = accounts(wanted.max_model_len, wanted.concurrency)
    speed = roofline(
        facts,
        architecture,
        trial.hardware.gpu,
        gpus=max(1, trial.tensor),
        weights_bytes=(account.weights_bytes + account.offloaded_bytes)
        * max(1, trial.tensor * trial.pipeline),
        key_value_bytes=1.0 if _cache_type(asked).startswith("fp8") else 2.0,
        context_tokens=min(wanted.max_model_len, asked.request_tokens),
        streams=wanted.concurrency,
        arithmetic=trial.row.arithmetic,
    )
    sized = _with(trial, context=context, account=account, speed=speed)
    if context is not None:
        return sized
    top = min(longest, wanted.max_model_len) if asked.max_model_len else longest
    for concurrency in (wanted.concurrency, 1):
        if length := longest_fitting(top, concurrency, fits):
            sized = _with(sized, longest=length, longest_concurrency=concurrency)
            break
    words = _short(sized, account, wanted)
    if too_long:
        would = f"; {sized.longest} tokens would fit {sized.longest_concurrency}" if sized.longest else ""
        words = f"the model was made for {longest} tokens, not for {wanted.max_model_len}{would}"
    return _failed(sized, FailureClass.DOES_NOT_FIT, words)


def _cache_type(asked: Asked) -> str:
    switches = expanded(parse_arguments(asked.extra_args), SWITCHES)
    return first_of(switches, "kv-cache-dtype") or asked.kv_cache_dtype


def _over_the_gpu(account: Account, gpu: Gpu) -> str:
    """Why the engine would refuse its budget before it loads anything, in words; "" when it would not.

    Source: vLLM v1/worker/utils.py request_memory ("Free memory on device ... is less than desired GPU memory
    utilization"); the context is there before that check.
    """
    most = gpu.memory_bytes - account.beside_bytes
    if account.budget_bytes <= most:
        return ""
    return (
        f"--gpu-memory-utilization asks for {gib(account.budget_bytes)} of the {gib(gpu.memory_bytes)} of "
        f"{gpu.product}, and {gib(account.beside_bytes)} are needed beside it; "
        f"{max(0, most) / gpu.memory_bytes - 0.005:.2f} leaves room"
    )


def _over_the_host(account: Account, asked: Asked, gpus: int) -> str:
    """Why the pod would run out of host memory, in words; "" when it would not or no limit is set."""
    kept, limit = account.host_bytes * max(1, gpus), asked.memory_limit_bytes
    if limit is None or kept <= limit:
        return ""
    return f"swap and offload keep {gib(kept)} in host memory, and engine.resources limits it to {gib(limit)}"


def _short(trial: Trial, account: Account, wanted: Context) -> str:
    """What does not fit, in bytes."""
    where = f"{trial.gpus} x {trial.hardware.gpu.product}" if trial.gpus > 1 else trial.hardware.gpu.product
    needed = account.needed_bytes(wanted.concurrency)
    requests, need = (
        (f"{wanted.concurrency} requests", "need") if wanted.concurrency > 1 else ("1 request", "needs")
    )
    would = f"; {trial.longest} tokens would fit {trial.longest_concurrency}" if trial.longest else ""
    each = " on each GPU" if trial.gpus > 1 else ""
    cache = wanted.concurrency * account.request_bytes
    if account.cache_limit_bytes is not None and not account.holds(cache):
        return (
            f"{requests} of {wanted.max_model_len} tokens {need} a KV cache of {gib(cache)}{each}; "
            f"--kv-cache-memory-bytes gives {gib(account.cache_limit_bytes)}{would}"
        )
    return (
        f"{requests} of {wanted.max_model_len} tokens {need} {gib(needed)}{each} (weights "
        f"{gib(account.weights_bytes)}, activations and overhead "
        f"{gib(account.fixed_bytes - account.weights_bytes)}, KV cache "
        f"{gib(wanted.concurrency * account.request_bytes)}); {where} leaves "
        f"{gib(account.budget_bytes)}{would}"
    )
