"""One way to run a model: an engine and a method on some number of one kind of device, and its outcome."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tacho_contract.failure import FailureClass
from tacho_contract.model import Architecture, ModelFacts
from tacho_engines.base import Context, Placement, PlanHalf, Refusal, Tuning
from tacho_engines.memory.account import Account
from tacho_engines.registry import plan_half
from tacho_engines.row import EngineRow, MethodRow
from tacho_engines.shared.images import engine_image
from tacho_operator.core.planner.context import COMFORTABLE_TOKENS, UNKNOWN_LONGEST_TOKENS, Fits, Wanted
from tacho_operator.core.planner.devices import Choice
from tacho_operator.core.planner.expected import Expected, expected
from tacho_operator.core.planner.fit import fits, margin_bytes, needed_bytes
from tacho_operator.core.planner.learning import Correction, correction
from tacho_operator.core.planner.request import Request
from tacho_operator.core.planner.roofline import Roofline, Step
from tacho_operator.core.planner.types import Predicted
from tacho_operator.core.types import Config, History

DEFAULT_CONCURRENCY = 16
HOST_CONCURRENCY = 4
UNPREDICTED_CONCURRENCY = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What came of trying. ``account`` is None where the memory was not looked at."""

    engine: EngineRow
    placement: Placement
    choice: Choice
    learned: Correction
    context: Context | None = None
    """What is planned for; None: it does not fit, or was refused."""
    tight: bool = False
    """Less is left free than a plan would by itself."""
    wanted: Context | None = None
    """What the account is of: ``context``, or where nothing fits the least that would be a plan."""
    account: Account | None = None
    speed: Roofline | None = None
    nearest: Context | None = None
    """What would fit where the wanted context does not."""
    beyond_tokens: int = 0
    """The longest context of the model, where more is wanted; 0: it is long enough."""
    refusal: Refusal | None = None
    arguments: tuple[str, ...] = ()
    """Switches that go with the context, and those for speed."""
    tuning: Tuning = Tuning()
    """Those for speed, with their reasons."""

    @property
    def method(self) -> MethodRow:
        return self.placement.method

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
        """Failure class; "" when it fits."""
        if self.fits:
            return ""
        return self.refusal.failure_class if self.refusal else FailureClass.DOES_NOT_FIT

    @property
    def needed_bytes(self) -> int | None:
        """What would have to be there for it to fit; None where the memory was not looked at."""
        if self.account is None or self.wanted is None:
            return None
        needed = needed_bytes(self.account, self.wanted.concurrency, self.learned)
        return math.ceil(needed) + margin_bytes(self.account, tight=self.tight or not self.fits)

    @property
    def predicted(self) -> Predicted:
        """The account as a plan, or a failure, shows it; nothing where the memory was not looked at."""
        account = self.account
        if account is None:
            return Predicted()
        return Predicted(
            weights_bytes=account.weights_bytes,
            kv_cache_bytes=account.cache_bytes,
            kv_cache_tokens=account.cache_tokens,
            max_concurrency=account.concurrency,
            activation_bytes=account.activation_bytes,
            graph_bytes=account.graph_bytes,
            total_bytes=account.total_bytes,
            budget_bytes=account.budget_bytes,
            start_bytes=account.start_bytes or None,
            decode_tokens_per_second=self.speed.decode_tokens_per_second if self.speed else None,
            expected_decode_tokens_per_second=self.expected.tokens_per_second if self.expected else None,
            step_weights_bytes=self.speed.step_weights_bytes if self.speed else None,
            prefill_tokens_per_second=self.speed.prefill_tokens_per_second if self.speed else None,
        )

    @property
    def expected(self) -> Expected | None:
        """Of one stream; None where the engine was not timed with this method on such a GPU."""
        return expected(self.engine.steps, self.placement, self.speed)

    @property
    def ranked_tokens_per_second(self) -> float:
        """What is expected of one stream; where nothing is, the bound times what the engine usually reaches
        of it, which orders ways and is no figure of any."""
        if found := self.expected:
            return found.tokens_per_second
        return self.speed.decode_tokens_per_second * self.engine.efficiency if self.speed else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is the same for every attempt at one plan."""

    request: Request
    facts: ModelFacts
    architecture: Architecture
    history: tuple[History, ...]
    config: Config

    def attempt(self, engine: EngineRow, method: MethodRow, choice: Choice, gpus: int) -> Attempt:
        """Try ``method`` of ``engine`` on ``gpus`` of the chosen device. Says why where it does not work."""
        half, engine = plan_half(engine.name), engine.build_for(on_host=choice.device.on_host)
        asked_image = self.request.image if self.request.engine else ""
        image, version = engine_image(engine, asked_image, self.config.engine_images, method.method)
        placement = Placement(
            facts=self.facts,
            architecture=self.architecture,
            method=method,
            device=choice.device,
            count=gpus,
            version=version,
            image=image,
            options=self.request.options,
        )
        learned = correction(
            self.history,
            engine=engine.name,
            version=version,
            method=method.method,
            product=choice.device.product,
            grows=engine.grows,
        )
        base = Attempt(engine=engine, placement=placement, choice=choice, learned=learned)
        if refusal := half.refusal(placement):
            return replace(base, refusal=refusal)
        splits = half.splits(placement)
        if isinstance(splits, Refusal):
            return replace(base, refusal=splits)
        tried: list[Attempt] = []
        for tensor, pipeline in splits:
            spread = replace(placement, tensor=tensor, pipeline=pipeline)
            tried.append(self._sized(half, replace(base, placement=spread)))
            if tried[-1].fits:
                return tried[-1]
        return max(tried, key=lambda found: found.nearest.max_model_len if found.nearest else 0)

    def _sized(self, half: PlanHalf, found: Attempt) -> Attempt:
        """The context that fits, and the account of it; or of the least that would be a plan."""
        placement, trained = found.placement, self.architecture.max_positions
        if refusal := half.settings_refusal(placement):
            return replace(found, refusal=refusal)
        wanted = self._wanted(placement)
        if not found.engine.predicted:
            told = self._unpredicted()
            return replace(found, context=told, wanted=told, arguments=half.arguments(placement, told))
        fitting = _fitting(half, placement, found.learned)
        too_long = 0 < trained < (wanted.max_model_len or 0) and not half.extends_context(placement.options)
        context = None if too_long else wanted.choose(fitting)
        sized = context or wanted.least
        account = half.account(placement, sized)
        asked = self.request.max_model_len is not None
        tight = asked and not (context or too_long) and _barely(account, sized, found.learned)
        if tight:
            context = sized
        speed = self._speed(half, placement, sized, account)
        tuning = half.tuned(placement, self._streamed(found.engine, speed, sized))
        found = replace(
            found,
            context=context,
            tight=tight,
            wanted=sized,
            account=account,
            speed=speed,
            arguments=half.arguments(placement, sized) + tuning.arguments,
            tuning=tuning,
        )
        if context is not None:
            return found
        return replace(found, nearest=wanted.nearest(fitting), beyond_tokens=trained if too_long else 0)

    def _speed(
        self, half: PlanHalf, placement: Placement, context: Context, account: Account | None
    ) -> Roofline | None:
        if account is None:
            return None
        whole = account.weights_bytes + account.offloaded_bytes - account.unread_bytes
        step = Step(
            placement=placement,
            weights_bytes=whole * max(1, placement.tensor * placement.pipeline),
            key_value_bytes=half.cache_element_bytes(placement),
            context_tokens=min(context.max_model_len, self.request.request_tokens),
        )
        return step.bound(context.concurrency)

    def _streamed(self, engine: EngineRow, speed: Roofline | None, context: Context) -> float | None:
        """What all requests together are expected to be streamed; None where the hardware is not known."""
        if speed is None:
            return None
        return engine.efficiency * speed.streamed_tokens_per_second(
            context.concurrency, self.request.input_tokens, self.request.output_tokens
        )

    def _wanted(self, placement: Placement) -> Wanted:
        trained = self.architecture.max_positions or UNKNOWN_LONGEST_TOKENS
        device = placement.device
        longest = trained if device.memory_bytes is not None else min(trained, COMFORTABLE_TOKENS)
        return Wanted(
            max_model_len=self.request.max_model_len,
            concurrency=self.request.concurrency,
            trained=trained,
            longest=longest,
            useful=min(longest, self.request.request_tokens),
            default_concurrency=HOST_CONCURRENCY if device.on_host else DEFAULT_CONCURRENCY,
        )

    def _unpredicted(self) -> Context:
        """What an engine is told that nothing is predicted of."""
        length = self.request.max_model_len or self.architecture.max_positions or UNKNOWN_LONGEST_TOKENS
        return Context(length, self.request.concurrency or UNPREDICTED_CONCURRENCY)


def _fitting(half: PlanHalf, placement: Placement, learned: Correction) -> Fits:
    def holds(max_model_len: int, concurrency: int) -> bool:
        account = half.account(placement, Context(max_model_len, concurrency))
        return account is None or fits(account, concurrency, learned)

    return holds


def _barely(account: Account | None, least: Context, learned: Correction) -> bool:
    """Whether the least that would be a plan fits where prediction is known to be near enough."""
    if account is None or account.known_within_bytes is None:
        return False
    return fits(account, least.concurrency, learned, tight=True)
