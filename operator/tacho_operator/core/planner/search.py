"""The search over engines, methods and devices: which combination is chosen, and why the others are not.

``plan.plan_model`` gives it an ``attempt.Evaluator``, calls ``best`` with the devices to choose from, and
puts ``alternatives`` into the plan. Where nothing fits it calls ``nearest``, which ``no_plan`` explains.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product

from tacho_contract.failure import FailureClass
from tacho_contract.units import clipped
from tacho_engines.hardware.gpus import is_slice
from tacho_engines.profile import EngineProfile, MethodSupport
from tacho_engines.registry import engine_profiles
from tacho_engines.shared.compatibility import is_quantized, stored_method, wrong_checkpoint
from tacho_operator.api.status.plan import Alternative
from tacho_operator.core.planner.attempt import Attempt, Evaluator
from tacho_operator.core.planner.devices import DeviceOption
from tacho_operator.core.planner.messages import short_message

LOWER_QUALITY = "LowerQuality"
SLOWER = "Slower"
NOT_REQUESTED = "NotRequested"
LESS_PREFERRED = "LessPreferred"


def expected_quality(attempt: Attempt) -> float:
    """Score of the quality of the weights, for ranking; 100 is the unchanged checkpoint. An already quantized
    checkpoint scores 100 in any engine.
    """
    return 100.0 if is_quantized(attempt.placement.facts) else attempt.method.quality


def by_plugin(attempt: Attempt) -> bool:
    """Whether the engine needs a plugin for the checkpoint's format, which is native to another engine."""
    return attempt.placement.facts.format in attempt.engine.plugins.methods


def rank(attempt: Attempt) -> tuple[float, ...]:
    """Sort key of attempts, best first.

    In this order: the engine serves many requests at a time, quality, native support of the format, speed on
    this device.
    """
    return (
        0.0 if attempt.engine.speed.carries_load else 1.0,
        -expected_quality(attempt),
        1.0 if by_plugin(attempt) else 0.0,
        -attempt.expected.decode_tokens_per_second if attempt.expected else 0.0,
    )


def closeness(attempt: Attempt) -> tuple[object, ...]:
    """Sort key of attempts that do not fit: those that lack memory alone, by the longest possible context."""
    tokens = attempt.nearest.max_model_len if attempt.nearest else 0
    return (not tokens, rank(attempt)[:2], -tokens)


def alternative(other: Attempt, chosen: Attempt | None, *, is_requested: bool) -> Alternative:
    """``other`` as an entry of status.plan.alternatives; ``is_requested``: the user's engine and method allow
    it."""
    reason, message = str(other.reason), short_message(other)
    for_any_gpu = reason == FailureClass.UNSUPPORTED_QUANTIZATION
    if other.fits:
        reason, message = _passed_over(other, chosen if is_requested else None)
    return Alternative(
        engine=other.engine.name,
        method=other.method_name,
        product=clipped(other.product if for_any_gpu else other.where, PRODUCT_CHARS),
        fits=other.fits,
        reason=reason,
        message=message[:1024],
        decode_tokens_per_second=other.speed.decode_tokens_per_second if other.speed else None,
        expected_decode_tokens_per_second=other.expected.decode_tokens_per_second if other.expected else None,
    )


def _passed_over(other: Attempt, chosen: Attempt | None) -> tuple[str, str]:
    if chosen is None:
        return NOT_REQUESTED, "Would fit, but spec sets another engine or method."
    if chosen.engine.speed.carries_load > other.engine.speed.carries_load:
        why = (
            "each step takes far longer than the device needs"
            if other.engine.speed.batching
            else "the engine does not admit requests into a running batch"
        )
        return SLOWER, f"Would fit, but {why}."
    mine, best = expected_quality(other), expected_quality(chosen)
    if mine < best:
        return LOWER_QUALITY, f"Expected quality {mine:.1f} against {best:.1f} of 100."
    if by_plugin(other) and not by_plugin(chosen):
        loads = other.placement.facts.format
        return LESS_PREFERRED, f"Would fit; {other.engine.name} loads {loads} by a plugin only."
    found = other.expected
    if found is None:
        return LESS_PREFERRED, "Would fit; its speed is not known."
    timed = found.ran or f"its steps were not measured {found.unlike}"
    return SLOWER, f"Expected {found.decode_tokens_per_second:.0f} tok/s for one stream, {timed}."


def is_omitted(other: Attempt) -> bool:
    """Whether status.plan.alternatives leaves the attempt out.

    True where the engine cannot load the format or use the device, or where the checkpoint is quantized by
    another method.
    """
    facts, device = other.placement.facts, other.placement.device
    if facts.format not in other.engine.formats or (device.on_host and "cpu" not in other.engine.devices):
        return True
    return is_quantized(facts) and other.reason == FailureClass.UNSUPPORTED_QUANTIZATION


def _alternative_key(found: Attempt) -> tuple[str, str, str]:
    """What alternatives have one line for, whatever the number of GPUs."""
    return (found.engine.name, found.method.method, found.product)


ALTERNATIVES = 16
PRODUCT_CHARS = 63
GPU_COUNTS = (1, 2, 4, 8)

EngineMethod = tuple[EngineProfile, MethodSupport]
"""An engine and one of its quantization methods."""


def engine_methods() -> Iterator[EngineMethod]:
    """Every pair of an engine and one of its methods."""
    return ((engine, method) for engine in engine_profiles() for method in engine.methods)


class Search:
    """All attempts of one plan; each is computed once and cached."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self._tried: dict[tuple[str, str, DeviceOption, int], Attempt] = {}

    def attempt(self, pair: EngineMethod, option: DeviceOption, gpus: int) -> Attempt:
        key = (pair[0].name, pair[1].method, option, gpus)
        if key not in self._tried:
            self._tried[key] = self.evaluator.evaluate(*pair, option, gpus)
        return self._tried[key]

    def allowed(self) -> tuple[EngineMethod, ...]:
        """The (engine, method) pairs that the spec allows."""
        request = self.evaluator.request
        if request.row and not request.row.methods:
            return ((request.row, unlisted_method(request.method or "none")),)
        return tuple(pair for pair in engine_methods() if self.is_requested(pair))

    def is_requested(self, pair: EngineMethod) -> bool:
        """Whether the spec allows this pair of engine and method. The method ``none`` also allows the
        checkpoint's own quantization.
        """
        request, (engine, method) = self.evaluator.request, pair
        if request.engine and engine.name != request.engine:
            return False
        stored = stored_method(self.evaluator.facts)
        return request.method in ("", method.method) or (request.method == "none" and method.method == stored)

    def counts(self, option: DeviceOption) -> tuple[int, ...]:
        """GPU counts to try: the requested count, else the lowest first, up to the GPUs of one node."""
        if option.device.on_host:
            return (0,)
        if requested := self.evaluator.request.requested_gpus:
            return (requested,)
        if is_slice(option.device):
            return (1,)
        return tuple(n for n in GPU_COUNTS if n <= option.max_gpus) or (1,)

    def best(self, device_options: Iterable[DeviceOption]) -> Attempt | None:
        """The best attempt that fits; None where none does.

        Kinds of device are tried in order and, of one kind, the fewest GPUs first. Where the user named no
        product, one GPU of any kind comes before two of another. Engines that serve few requests at a time
        are tried only where no other fits, tight fits only where nothing else fits.
        """
        groups = [[(option, n) for n in self.counts(option)] for option in device_options]
        if not self.evaluator.request.products:
            groups = [sorted((step for group in groups for step in group), key=lambda step: step[1])]
        tight: list[Attempt] = []
        for steps in groups:
            for carrying in (True, False):
                pairs = [pair for pair in self.allowed() if pair[0].speed.carries_load is carrying]
                for option, gpus in steps:
                    tried = [self.attempt(pair, option, gpus) for pair in pairs]
                    fitting = [found for found in tried if found.fits]
                    if roomy := [found for found in fitting if not found.tight]:
                        return min(roomy, key=rank)
                    tight = tight or fitting
        return min(tight, key=rank, default=None)

    def nearest(self, device_options: Iterable[DeviceOption]) -> Attempt | None:
        """The attempt that a failure message describes where none fits: it lacks only memory, and has the
        longest possible context.
        """
        tried = [
            self.attempt(pair, option, self.counts(option)[-1])
            for option in device_options
            for pair in self.allowed()
        ]
        if short := [found for found in tried if found.account is not None]:
            return min(short, key=closeness)
        return min(tried, key=self._explanation_order, default=None)

    def _explanation_order(self, found: Attempt) -> tuple[bool, bool]:
        wrong = wrong_checkpoint(found.method, self.evaluator.facts) != ""
        return found.reason != FailureClass.UNSUPPORTED_GPU, wrong

    def alternatives(self, chosen: Attempt) -> tuple[Alternative, ...]:
        """Alternatives on the chosen kind of device, best first, then attempts on other devices; each on the
        fewest GPUs that it fits.
        """
        if chosen.engine.predicted:
            counts = [n for n in self.counts(chosen.device_option) if n <= chosen.gpus]
            for pair, gpus in product(engine_methods(), counts):
                self.attempt(pair, chosen.device_option, gpus)
        others = [found for found in self._tried.values() if found is not chosen]
        if not chosen.fits:  # On fewer GPUs, it lacks more.
            others = [found for found in others if _alternative_key(found) != _alternative_key(chosen)]
        others.sort(key=lambda found: (not found.fits, found.gpus if found.fits else -found.gpus))
        lines: dict[tuple[str, str, str], Attempt] = {}
        for other in others:
            if _alternative_key(other) not in lines and not is_omitted(other):
                lines[_alternative_key(other)] = other
        ranked = sorted(lines.values(), key=lambda found: (not found.fits, str(found.reason), rank(found)))
        return tuple(
            alternative(other, chosen, is_requested=self.is_requested((other.engine, other.method)))
            for other in ranked[:ALTERNATIVES]
        )

    def unrestricted(self) -> Search:
        """The same search with the user's engine and method ignored, to find others that would fit."""
        request = replace(self.evaluator.request, method="", engine="")
        return Search(replace(self.evaluator, request=request))

    def with_gpus(self, found: Attempt, option: DeviceOption, gpus: int) -> Attempt:
        """``found``, planned for another number or kind of GPUs than in spec; tensor and pipeline parallelism
        are chosen anew.
        """
        options = replace(self.evaluator.request.options, tensor=None, pipeline=None)
        request = replace(self.evaluator.request, gpu_count=gpus, options=options)
        return replace(self.evaluator, request=request).evaluate(found.engine, found.method, option, gpus)


def unlisted_method(method: str) -> MethodSupport:
    """The entry for a quantization method outside tacho's tables: it is passed to the engine unchanged."""
    return MethodSupport(
        method=method, how="either", capability=(0, 0), quality=0.0, source="the command is the user's"
    )
