"""One attempt of a plan: an engine with a method on a number of devices of one kind, and whether it fits.

``plan.plan_model`` gives ``search.Search`` an Evaluator, with what all attempts share. Search calls its
``evaluate`` once for each combination of engine, method, kind and number of devices. It gets an Attempt:
the context that fits, with the predicted memory and speed, or why none fits. Search compares the attempts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tacho_contract.failure import FailureClass
from tacho_contract.model import Architecture, ModelFacts
from tacho_contract.units import counted
from tacho_engines.base import Context, EngineRefusal, Placement, PlannerAdapter, Tuning
from tacho_engines.memory.account import Account
from tacho_engines.profile import EngineProfile, MethodSupport
from tacho_engines.registry import planner_adapter
from tacho_engines.shared.images import engine_image, image_version
from tacho_operator.core.planner.devices import DeviceOption
from tacho_operator.core.planner.expected_speed import ExpectedSpeed, expected_speed
from tacho_operator.core.planner.fit import (
    COMFORTABLE_TOKENS,
    UNKNOWN_LONGEST_TOKENS,
    ContextRequest,
    Fits,
    fits,
    margin_bytes,
)
from tacho_operator.core.planner.history import excess_share
from tacho_operator.core.planner.request import PlanRequest
from tacho_operator.core.planner.speed import DecodeStep, SpeedBound
from tacho_operator.core.planner.types import Prediction
from tacho_operator.core.types import Config, PastMeasurement

DEFAULT_CONCURRENCY = 16
HOST_CONCURRENCY = 4
LEAST_GAIN = 0.15
"""Gain in tokens per second from which larger CUDA graphs are set: more than the error of what is expected
with them in 16 bits, 12.1 % at most (benchmarks/lab/h200/vllm-0.32-graphs.md). Expected gains of 17 to 67 %
were 11 to 113 % in loops of NF4 and of experts in 4 bits (benchmarks/lab/h200/vllm-0.32-quantized.md).
"""
UNPREDICTED_CONCURRENCY = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One tried combination of engine, quantization method and devices: its predicted memory, and whether it
    fits.

    ``account`` is None where the memory was not computed.
    """

    engine: EngineProfile
    placement: Placement
    device_option: DeviceOption
    excess: float = 0.0
    """Memory beyond the predicted overhead that earlier starts of this engine took, as a share of it."""
    context: Context | None = None
    """The planned context length and concurrency; None: nothing fits, or the combination was refused."""
    tight: bool = False
    """Whether it fits only with less free memory than the default margin."""
    least_margin: bool = False
    """Whether the smallest margin is used, because the context length that the user set does not fit with the
    default one.
    """
    sized_context: Context | None = None
    """Context for which ``account`` was computed: ``context``, or where nothing fits the smallest."""
    account: Account | None = None
    cached_tokens: int = 0
    """Tokens of requests of the workload that the KV cache holds."""
    speed: SpeedBound | None = None
    expected: ExpectedSpeed | None = None
    nearest: Context | None = None
    """The longest context that fits where the requested one does not; None: none, or the requested fits."""
    beyond_tokens: int = 0
    """The model's longest context in tokens, where the user requested a longer one; 0: within it."""
    refusal: EngineRefusal | None = None
    arguments: tuple[str, ...] = ()
    """The engine's arguments for context length and speed."""
    tuning: Tuning = Tuning()
    """The engine's arguments for speed, each with its reason."""

    @property
    def method(self) -> MethodSupport:
        return self.placement.method

    @property
    def method_name(self) -> str:
        """The quantization method; where tacho has none for how the checkpoint is packed, that format. A
        custom engine gets the method as the user wrote it.
        """
        stored = self.placement.facts.quantization.method if self.engine.predicted else ""
        return stored if self.method.method == "none" and stored else self.method.method

    @property
    def gpus(self) -> int:
        return self.placement.count

    @property
    def product(self) -> str:
        return self.placement.device.product

    @property
    def where(self) -> str:
        return f"{self.gpus} x {self.product}" if self.gpus > 1 else self.product

    @property
    def fits(self) -> bool:
        return self.context is not None

    @property
    def reason(self) -> str:
        """The failure class, where the combination does not fit or was refused; "": it fits."""
        if self.fits:
            return ""
        return self.refusal.failure_class if self.refusal else FailureClass.DOES_NOT_FIT

    @property
    def needed_bytes(self) -> int | None:
        """Bytes per device that the engine needs in all, with the margin; None: they were not computed."""
        if self.account is None or self.sized_context is None:
            return None
        margin = margin_bytes(self.account, self.excess, tight=self.least_margin)
        return self.account.needed_bytes(self.sized_context.concurrency) + margin

    @property
    def predicted(self) -> Prediction:
        """The predicted memory and speed, for a plan or a failure; empty where the memory was not
        computed."""
        account, expected = self.account, self.expected
        if account is None:
            return Prediction()
        return Prediction(
            weights_bytes=account.weights_bytes,
            kv_cache_bytes=account.cache_bytes,
            kv_cache_tokens=account.cache_tokens,
            kv_cache_workload_tokens=None if account.logged_concurrency is None else self.cached_tokens,
            max_concurrency=account.concurrency,
            activation_bytes=account.activation_bytes,
            graph_bytes=account.graph_bytes,
            total_bytes=account.total_bytes,
            budget_bytes=account.budget_bytes,
            start_bytes=account.start_bytes or None,
            decode_tokens_per_second=self.speed.decode_tokens_per_second if self.speed else None,
            expected_decode_tokens_per_second=expected.decode_tokens_per_second if expected else None,
            expected_output_tokens_per_second=expected.output_tokens_per_second if expected else None,
            expected_capacity_tokens_per_second=expected.capacity_tokens_per_second if expected else None,
            expected_capacity_concurrency=expected.capacity_concurrency if expected else None,
            decode_within_percent=round(100 * expected.decode_within) if expected else None,
            output_within_percent=round(100 * expected.output_within) if expected else None,
            capacity_within_percent=round(100 * expected.capacity_within) if expected else None,
            step_weights_bytes=self.speed.step_weights_bytes if self.speed else None,
            prefill_tokens_per_second=self.speed.prefill_tokens_per_second if self.speed else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluator:
    """Evaluates attempts. Its fields are the inputs that are the same for every attempt of one plan."""

    request: PlanRequest
    facts: ModelFacts
    architecture: Architecture
    history: tuple[PastMeasurement, ...]
    config: Config

    def evaluate(
        self, engine: EngineProfile, method: MethodSupport, option: DeviceOption, gpus: int
    ) -> Attempt:
        """The result of ``method`` of ``engine`` on ``gpus`` devices of the kind ``option``; also why it does
        not fit."""
        adapter, engine = planner_adapter(engine.name), engine.build_for(on_host=option.device.on_host)
        requested_image = self.request.image if self.request.engine else ""
        image, version = engine_image(engine, requested_image, self.config.engine_images, method.method)
        placement = Placement(
            engine=engine.name,
            facts=self.facts,
            architecture=self.architecture,
            method=method,
            device=option.device,
            count=gpus,
            version=version,
            version_assumed=not image_version(engine, image),
            image=image,
            options=self.request.options,
        )
        excess = excess_share(
            self.history,
            engine=engine.name,
            version=version,
            product=option.device.product,
            fills=engine.fills and not option.device.on_host,
        )
        base = Attempt(engine=engine, placement=placement, device_option=option, excess=excess)
        if refusal := adapter.refusal(placement):
            return replace(base, refusal=refusal)
        splits = adapter.splits(placement)
        if isinstance(splits, EngineRefusal):
            return replace(base, refusal=splits)
        tried: list[Attempt] = []
        for tensor, pipeline in splits:
            spread = replace(placement, tensor=tensor, pipeline=pipeline)
            tried.append(self._sized(adapter, replace(base, placement=spread)))
            if tried[-1].fits:
                return tried[-1]
        return max(tried, key=lambda found: found.nearest.max_model_len if found.nearest else 0)

    def _sized(self, adapter: PlannerAdapter, found: Attempt) -> Attempt:
        """``found`` with the context that fits and its predicted memory; where none fits, with those of the
        smallest acceptable context.
        """
        placement, trained = found.placement, self.architecture.max_positions
        if refusal := adapter.settings_refusal(placement):
            return replace(found, refusal=refusal)
        requested = self._context_request(placement)
        if not found.engine.predicted:
            fixed = self._context_without_prediction()
            arguments = adapter.arguments(placement, fixed)
            return replace(found, context=fixed, sized_context=fixed, arguments=arguments)
        fitting = _fit_check(adapter, placement, found.excess)
        too_long = 0 < trained < (requested.max_model_len or 0) and not adapter.extends_context(
            placement.options
        )
        context = None if too_long else requested.choose(fitting)
        sized = context or requested.smallest
        account = adapter.account(placement, sized)
        least_margin = self.request.max_model_len is not None and context is None
        tight = least_margin and not too_long and _fits_with_least_margin(account, sized, found.excess)
        if tight:
            context = sized
        if context and (refusal := adapter.pool_refusal(placement, context)):
            return replace(found, refusal=refusal)
        found = replace(found, context=context, tight=tight, least_margin=least_margin, sized_context=sized)
        found = self._served(adapter, found, sized, account, Tuning())
        if context is None:
            return replace(
                found, nearest=requested.nearest(fitting), beyond_tokens=trained if too_long else 0
            )
        return found if tight else self._with_larger_graphs(adapter, found, context)

    def _served(
        self,
        adapter: PlannerAdapter,
        found: Attempt,
        context: Context,
        account: Account | None,
        graphs: Tuning,
    ) -> Attempt:
        """``found`` with this account, the speed that follows from it, and the engine's arguments, of which
        ``graphs`` holds those for CUDA graphs.
        """
        placement = _with_arguments(found.placement, graphs.arguments)
        step, cached = (self._step(adapter, placement, account) if account else None), 0
        if account:
            cached = adapter.cached_tokens(placement, context, account, max(1, self.request.request_tokens))
        found = replace(found, account=account, cached_tokens=cached)
        expected = self._expected(found, step, context, None)
        tuning = adapter.tuned(placement, expected.output_tokens_per_second if expected else None)
        if tuning.front_ends is not None:
            expected = self._expected(found, step, context, tuning.front_ends)
        set_for_speed = graphs.arguments + tuning.arguments
        return replace(
            found,
            speed=step.bound() if step else None,
            expected=expected,
            arguments=adapter.arguments(placement, context) + set_for_speed,
            tuning=replace(tuning, arguments=set_for_speed, reasons=graphs.reasons + tuning.reasons),
        )

    def _with_larger_graphs(self, adapter: PlannerAdapter, found: Attempt, context: Context) -> Attempt:
        """``found`` with larger CUDA graphs, where the same context fits with them and the gain is worth
        their memory; else as it is.
        """
        graphs = adapter.larger_graphs(found.placement, context)
        if not graphs.arguments:
            return found
        wider = _with_arguments(found.placement, graphs.arguments)
        account = adapter.account(wider, context)
        if account is None or not fits(account, context.concurrency, found.excess):
            return found
        faster = self._served(adapter, found, context, account, graphs)
        gain = _gain(found.expected, faster.expected)
        if gain < LEAST_GAIN or adapter.settings_refusal(wider) is not None:
            return found
        first, *others = faster.tuning.reasons
        of = counted(context.concurrency, "request")
        first = f"{first}: {100 * gain:.0f} % more tokens a second are expected with {of}"
        return replace(faster, tuning=replace(faster.tuning, reasons=(first, *others)))

    def _step(self, adapter: PlannerAdapter, placement: Placement, account: Account) -> DecodeStep:
        whole = account.read_bytes + account.offloaded_bytes
        return DecodeStep(
            placement=placement,
            weights_bytes=whole * max(1, placement.tensor * placement.pipeline),
            key_value_bytes=adapter.cache_element_bytes(placement),
            input_tokens=self.request.input_tokens,
            output_tokens=max(1, self.request.output_tokens),
        )

    def _expected(
        self,
        found: Attempt,
        step: DecodeStep | None,
        context: Context,
        front_ends: int | None,
    ) -> ExpectedSpeed | None:
        """The expected speed of ``found``; None where it cannot be predicted.

        ``front_ends``: HTTP processes of the engine; None: more than its load needs.
        """
        account = found.account
        if step is None or account is None or account.offloaded_bytes:
            return None  # steps wait for the bus or the host, which were not timed
        cached = found.cached_tokens // max(1, self.request.request_tokens)
        limit = account.sequences or context.concurrency
        running = min(context.concurrency, limit)
        return expected_speed(
            found.engine.speed,
            step,
            concurrency=running,
            slots=max(running, min(cached, limit)),
            level=self.request.service_level,
            front_ends=front_ends,
            captured=account.captured,
        )

    def _context_request(self, placement: Placement) -> ContextRequest:
        trained = self.architecture.max_positions or UNKNOWN_LONGEST_TOKENS
        device = placement.device
        longest = trained if device.memory_bytes is not None else min(trained, COMFORTABLE_TOKENS)
        return ContextRequest(
            max_model_len=self.request.max_model_len,
            concurrency=self.request.concurrency,
            trained=trained,
            longest=longest,
            useful=min(longest, self.request.request_tokens),
            default_concurrency=HOST_CONCURRENCY if device.on_host else DEFAULT_CONCURRENCY,
        )

    def _context_without_prediction(self) -> Context:
        """The context passed to an engine whose memory is not predicted."""
        length = self.request.max_model_len or self.architecture.max_positions or UNKNOWN_LONGEST_TOKENS
        return Context(length, self.request.concurrency or UNPREDICTED_CONCURRENCY)


def _fit_check(adapter: PlannerAdapter, placement: Placement, excess: float) -> Fits:
    def holds(max_model_len: int, concurrency: int) -> bool:
        account = adapter.account(placement, Context(max_model_len, concurrency))
        return account is None or fits(account, concurrency, excess)

    return holds


def _fits_with_least_margin(account: Account | None, least: Context, excess: float) -> bool:
    """Whether the smallest acceptable context fits with the smallest margin; False: not measured."""
    if account is None or account.known_within_bytes is None:
        return False
    return fits(account, least.concurrency, excess, tight=True)


def _with_arguments(placement: Placement, added: tuple[str, ...]) -> Placement:
    """``placement`` with arguments of the plan before the user's, as the engine gets them."""
    options = placement.options
    return replace(placement, options=replace(options, arguments=added + options.arguments))


def _gain(before: ExpectedSpeed | None, after: ExpectedSpeed | None) -> float:
    """By which share more tokens a second are expected; 0.0: unknown, or not timed on such hardware."""
    if before is None or after is None or not after.ran:
        return 0.0
    return after.output_tokens_per_second / before.output_tokens_per_second - 1
