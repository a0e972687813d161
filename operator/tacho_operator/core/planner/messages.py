"""Messages about a plan, and about an attempt that does not fit."""

from __future__ import annotations

from tacho_contract.units import counted, gib
from tacho_engines.base import Context
from tacho_engines.hardware.device import Device
from tacho_engines.hardware.gpus import is_shared, matches, rows_for
from tacho_engines.memory.account import Account
from tacho_engines.registry import planner_adapter
from tacho_engines.shared.compatibility import stored_method
from tacho_engines.shared.images import image_version, is_unpublished
from tacho_operator.core.planner.attempt import Attempt
from tacho_operator.core.planner.devices import DeviceOptions
from tacho_operator.core.planner.expected_speed import ExpectedSpeed
from tacho_operator.core.planner.fit import margin_bytes

UNCHECKED = " No memory limit is set and no eligible node is known. Whether it fits is not checked."


def described(attempt: Attempt) -> str:
    """The quantization method of an attempt, as part of a sentence."""
    name, scheme = attempt.method_name, attempt.placement.facts.quantization.scheme
    if attempt.method.method != "none":
        return name
    return "the weights as stored" if name == "none" else f"{name} ({scheme})" if scheme else name


def requests(context: Context) -> str:
    """The planned number of concurrent requests as text, for example ``16 requests``."""
    return counted(context.concurrency, "request")


# --- of a plan ------------------------------------------------------------------------------------
def plan_message(attempt: Attempt, products: tuple[str, ...], why: str) -> str:
    """The message of status.plan: the chosen plan, its device, and ``why`` it was chosen. ``products``: the
    GPU products in spec.
    """
    account, context, facts = attempt.account, attempt.context, attempt.placement.facts
    if account is None or context is None:
        return (
            f"{attempt.engine.title}: the model is {counted(facts.files.file_count, 'file')} of "
            f"{gib(facts.files.total_bytes)}. The memory of this engine is not predicted."
        )
    unknown = f" Unknown about the model: {'; '.join(facts.unknown)}." if facts.unknown else ""
    on_host = attempt.placement.device.on_host
    summary = _on_host(attempt, account, context) if on_host else _on_gpus(attempt, account, context, why)
    where = "" if on_host else _hardware(attempt, products)
    ways = "".join(
        (
            _fallbacks(attempt),
            _assumed(account),
            _tight(attempt, account),
            _tuned(attempt),
            *(f" {warning}" for warning in warnings(attempt)),
        )
    )
    return f"{summary}{where}{ways}{learned(attempt)}{unknown}"


def warnings(attempt: Attempt) -> tuple[str, ...]:
    """Sentences about limitations of the plan that users would not expect; none for an engine without
    predictions."""
    if not attempt.engine.predicted:
        return ()
    found = (_chat_message(attempt), *planner_adapter(attempt.engine.name).warnings(attempt.placement))
    return tuple(filter(None, (*found, _assumed_version(attempt), _image_message(attempt))))


def _assumed_version(attempt: Attempt) -> str:
    """A sentence on the version that is assumed of the user's image; "": its tag names one."""
    placement = attempt.placement
    if not placement.options.own_image or image_version(attempt.engine, placement.image):
        return ""
    return (
        f"The tag of engine.image names no version: planned as {attempt.engine.title} {placement.version}. "
        "Use a tag with the version."
    )


def unlabelled_warning(attempt: Attempt, unlabelled: tuple[str, ...], label: str) -> tuple[str, ...]:
    """A sentence on nodes with GPUs that the plan cannot use, where no node has the planned GPU; else
    none. ``unlabelled``: nodes whose GPUs no label describes; ``label``: the one that pods select.
    """
    if not unlabelled or attempt.device_option.live or not attempt.gpus:
        return ()
    return (
        f"Nodes {', '.join(unlabelled[:5])} have GPUs without the label {label}, which pods select: install "
        f"GPU Feature Discovery, or label nodes or pool {label}={attempt.product}, if that is theirs.",
    )


def ineligible_warning(attempt: Attempt, options: DeviceOptions) -> tuple[str, ...]:
    """A sentence on nodes that have the planned GPU, or more GPUs than any eligible one if so many are
    planned, and are not eligible, and what makes them so; else none."""
    found = attempt.device_option.ineligible
    if found is None and attempt.device_option.live and attempt.gpus > attempt.device_option.max_gpus:
        found = next((one for one in options.ineligible if one.gpus >= attempt.gpus), None)
    if found is None:
        return ()
    return (f"Not eligible: {found.why}. To use it, {found.step}.",)


def foreign_warning(foreign: tuple[str, ...]) -> tuple[str, ...]:
    """A sentence on nodes with GPUs of other vendors, where the model is planned on the CPU instead; else
    none. ``foreign``: these nodes."""
    if not foreign:
        return ()
    return (
        f"Nodes {', '.join(foreign[:5])} have GPUs of another vendor. tacho plans NVIDIA GPUs only, so this "
        "model runs on the CPU.",
    )


def _image_message(attempt: Attempt) -> str:
    """A sentence on how to get an image that no registry publishes; "" where one does."""
    image, engine = attempt.placement.image, attempt.engine
    if not is_unpublished(engine, image):
        return ""
    name = image.partition(":")[0]
    return (
        f"No registry publishes {image}: build it (python -m tools.images build --only {name}), push it, and "
        f"name it in the chart's engineImages.{engine.image.setting or engine.name}."
    )


def _chat_message(attempt: Attempt) -> str:
    """A sentence on the effect of a missing chat template; "" where the model or the user provides one, or
    that is unknown.
    """
    placement = attempt.placement
    arguments = planner_adapter(placement.engine).switches(placement.options)
    if placement.facts.chat_template is not False or any(
        name.startswith("chat-template") for name in arguments
    ):
        return ""
    lacks = "The model has no chat template:"
    if placement.facts.format == "gguf" and attempt.engine.name == "llamacpp":
        return (
            f"{lacks} chats use ChatML, which the model may not know. Set --chat-template in "
            "engine.extraArgs to change it."
        )
    return f"{lacks} /v1/chat/completions is refused, /v1/completions works."


def _fallbacks(attempt: Attempt) -> str:
    """A sentence on where the engine differs from the spec, or runs slower than possible; "": nowhere."""
    clauses = planner_adapter(attempt.engine.name).fallbacks(attempt.placement)
    return f" Falls back: {'; '.join(clauses)}." if clauses else ""


def _assumed(account: Account) -> str:
    """A sentence on a predicted value of memory that was not measured on such a device; "": none."""
    text = account.assumption
    return f" {text[:1].upper()}{text[1:]}." if text else ""


def _tight(attempt: Attempt, account: Account) -> str:
    """A sentence on the memory left free, where it is less than the default margin; "": it is not less."""
    if not attempt.tight or account.budget_bytes is None or attempt.context is None:
        return ""
    left = account.budget_bytes - account.needed_bytes(attempt.context.concurrency)
    margin = gib(margin_bytes(account, attempt.excess))
    return (
        f" Tight: {gib(left)} stay free instead of {margin}. If the engine uses more than predicted, it does "
        "not start."
    )


def learned(attempt: Attempt) -> str:
    """A sentence on memory that earlier measurements took beyond the prediction, which the plan therefore
    reserves.

    "" where the usual margin covers it, or the plan cannot reserve it.
    """
    account = attempt.account
    if account is None or attempt.tight:
        return ""
    least = attempt.least_margin
    if margin_bytes(account, attempt.excess, tight=least) == margin_bytes(account, tight=least):
        return ""
    return (
        f" Earlier measurements of {attempt.engine.name} {attempt.placement.version} on {attempt.product} "
        f"took {100 * attempt.excess:.0f} % more than predicted beside weights and cache. "
        "The plan reserves as much."
    )


def _tuned(attempt: Attempt) -> str:
    """A sentence on the arguments that are set for speed, with their reasons; "": none."""
    reasons = attempt.tuning.reasons
    return f" Set for speed: {'; '.join(reasons)}." if reasons else ""


def host_parts(account: Account) -> str:
    """The parts of a host process' memory, as text."""
    return (
        f"(weights {gib(account.weights_bytes)}, KV cache {gib(account.cache_bytes)}, "
        f"buffers {gib(account.overhead_bytes)})"
    )


def _on_host(attempt: Attempt, account: Account, context: Context) -> str:
    placement = attempt.placement
    device, method = placement.device, placement.method.method
    as_stored = method == stored_method(placement.facts)
    subject = attempt.engine.title if as_stored else f"{attempt.engine.title} with {method}"
    known = device.memory_bytes is not None
    limit = f" of {gib(device.memory_bytes or 0)} ({device.source})" if known else ""
    return (
        f"{subject} on the CPU: {gib(account.total_bytes)}{limit} for {requests(context)} of "
        f"{context.max_model_len} tokens {host_parts(account)}.{'' if known else UNCHECKED}"
    )


def _on_gpus(attempt: Attempt, account: Account, context: Context, why: str) -> str:
    placement, several = attempt.placement, attempt.gpus > 1
    spread = f" (tensor {placement.tensor}, pipeline {placement.pipeline})" if several else ""
    return (
        f"{attempt.engine.name} {placement.version} with {described(attempt)} on {attempt.where}{spread}: "
        f"weights {gib(account.weights_bytes)}, "
        f"KV cache {gib(account.cache_bytes)}{_cached(account, context)}, "
        f"within {gib(account.budget_bytes or 0)}{' of each GPU' if several else ''}.{why}{_speed(attempt)}"
    )


def _cached(account: Account, context: Context) -> str:
    """What the KV cache holds, as the end of a clause, with the engine's own figures."""
    held = f"{account.concurrency:.1f} concurrent requests of {context.max_model_len} tokens"
    if account.logged_concurrency is None:
        return f" = {account.cache_tokens} tokens, {held}"
    return f" for {held} (vLLM logs {account.cache_tokens} tokens and {account.logged_concurrency:.1f}x)"


def within(factor: float) -> str:
    """The expected error of a predicted speed as text: ``within 5 %``, or ``a factor of 2 up or down``.
    ``factor``: the error as a share.
    """
    return f"within {100 * factor:.0f} %" if factor < 1 else f"a factor of {1 + factor:.2g} up or down"


def _speed(attempt: Attempt) -> str:
    """A sentence on the expected speed: of one stream, at the planned concurrency, and within the SLO."""
    found, context = attempt.expected, attempt.context
    if attempt.account and attempt.account.offloaded_bytes:
        return f" Its speed is not known: {gib(attempt.account.offloaded_bytes)} of weights are on the host."
    if found is None or context is None:
        return ""
    best = f"; at best {attempt.speed.decode_tokens_per_second:.0f}" if attempt.speed else ""
    capacity = (
        f"{found.capacity_tokens_per_second:.0f} with {counted(found.capacity_concurrency, 'stream')} "
        "at capacity "
        f"({within(found.capacity_within)})"
        if found.capacity_concurrency
        else "not even one stream within the service level"
    )
    timed = f", {found.ran}" if found.ran else f"; its steps were not measured {found.unlike}"
    return (
        f" Expected {found.decode_tokens_per_second:.0f} tok/s for one stream "
        f"({within(found.decode_within)}{best}), {found.output_tokens_per_second:.0f} for "
        f"{requests(context)} ({within(found.output_within)}), {capacity}{timed}."
        f"{_slower_together(attempt, found, context)}"
    )


def _slower_together(attempt: Attempt, found: ExpectedSpeed, context: Context) -> str:
    """A sentence on why several streams together are expected to get less than one alone; "": they get more,
    in every figure.
    """
    rates = {context.concurrency: found.output_tokens_per_second}
    if found.capacity_concurrency:
        rates[found.capacity_concurrency] = found.capacity_tokens_per_second
    below = [streams for streams, rate in rates.items() if rate < found.decode_tokens_per_second]
    if not below:
        return ""
    why = "prompts take time there, too"
    if max(below) > 1:
        more = (
            "a step of several streams reads or unpacks more weights"
            if attempt.engine.speed.batching
            else "the engine computes one stream after the other"
        )
        why = f"{more}, and {why}"
    return f" Some of these are below the rate of one stream: {why}."


def _hardware(attempt: Attempt, products: tuple[str, ...]) -> str:
    """Sentences on the planned GPU: it is shared, no node has it now, or the GPU catalog does not list it."""
    device = attempt.placement.device
    several = " and ".join(row.label for row in rows_for(device.product))
    lacks = f"stands for {several}" if several else "is not in the catalog"
    uncatalogued = "" if device.known else f" {device.product} {lacks}; planned from its labels."
    budget = attempt.account.budget_bytes if attempt.account else None
    return f"{_sharing(device, budget or 0)}{_unavailable(attempt, products)}{uncatalogued}"


def _sharing(device: Device, budget_bytes: int) -> str:
    if device.sharers > 1 and budget_bytes > (device.part_bytes or 0):
        return (
            f" The GPU is shared by {device.sharers} pods. engine.extraArgs use more than 1/{device.sharers} "
            "of it: the other pods must use less."
        )
    if device.sharers > 1:
        return f" The GPU is shared by {device.sharers} pods: 1/{device.sharers} of it is planned."
    if is_shared(device.product):
        return " The GPU is shared, but no label states the number of pods: all of its memory is planned."
    return ""


def _unavailable(attempt: Attempt, products: tuple[str, ...]) -> str:
    """A sentence on the planned GPUs that no node has now; "": some node has them."""
    product, available = attempt.product, attempt.device_option.max_gpus
    if attempt.device_option.live:
        if attempt.gpus <= available:
            return ""
        return f" No node has {attempt.gpus} x {product} now; the maximum is {available}."
    named = next((name for name in products if matches(name, product)), "")
    others = [row.label for row in rows_for(named) if row.label != product] if named else []
    several = f" {named} also matches {', '.join(others)}; pods are pinned to {product}." if others else ""
    if attempt.device_option.ineligible:
        return f" No eligible node has this GPU now.{several}"
    return f" No node has this GPU now; planned from the catalog.{several}"


# --- of an attempt that came to none --------------------------------------------------------------
def short_message(attempt: Attempt) -> str:
    """A clause on why the combination was refused or does not fit; "": it fits."""
    if attempt.refusal:
        return attempt.refusal.message
    account, context = attempt.account, attempt.sized_context
    if attempt.fits or account is None or context is None:
        return ""
    nearest = attempt.nearest
    would = f"; {requests(nearest)} of {nearest.max_model_len} tokens would fit" if nearest else ""
    if attempt.beyond_tokens:
        return f"the model supports {attempt.beyond_tokens} tokens, not {context.max_model_len}{would}"
    each = " on each GPU" if attempt.gpus > 1 else ""
    need = "need" if context.concurrency > 1 else "needs"
    cache = account.requests_bytes(context.concurrency)
    if not account.holds(context.concurrency):
        return (
            f"{requests(context)} of {context.max_model_len} tokens {need} a KV cache of {gib(cache)}{each}; "
            f"{account.cache_limit_switch} allows {gib(account.cache_limit_bytes or 0)}{would}"
        )
    needed, budget = account.needed_bytes(context.concurrency), account.budget_bytes or 0
    assumed = f"; {account.assumption}" if account.assumption else ""
    sharers = attempt.placement.device.sharers
    shared = f", which {sharers} pods share," if sharers > 1 else ""
    free = margin_bytes(account, attempt.excess, tight=attempt.least_margin)
    spare = f", and {gib(free)} must stay free" if needed <= budget else ""
    return (
        f"{requests(context)} of {context.max_model_len} tokens {need} {gib(needed)}{each} "
        f"(weights {gib(account.weights_bytes)}, "
        f"activations and overhead {gib(account.overhead_bytes)}, KV cache {gib(cache)}); {attempt.where}"
        f"{shared} provides {gib(budget)}{spare}{would}{assumed}"
    )
