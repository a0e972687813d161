"""A plan, or an attempt that came to none, in words."""

from __future__ import annotations

from tacho_contract.units import gib
from tacho_engines.base import Context
from tacho_engines.hardware.device import Device
from tacho_engines.hardware.gpus import is_shared, matches, rows_for
from tacho_engines.memory.account import Account
from tacho_engines.registry import plan_half
from tacho_engines.shared.checkpoints import stored_method
from tacho_engines.shared.switches import parse_arguments
from tacho_operator.core.planner.attempt import Attempt
from tacho_operator.core.planner.fit import margin_bytes, needed_bytes

UNCHECKED = " No memory limit is set and no node it could run on is known: that it fits is not checked."


def described(attempt: Attempt) -> str:
    """The method, as part of a sentence."""
    return "the weights as stored" if attempt.method.method == "none" else attempt.method.method


def requests(context: Context) -> str:
    """``16 requests``."""
    return f"{context.concurrency} requests" if context.concurrency > 1 else "1 request"


# --- of a plan ------------------------------------------------------------------------------------
def plan_message(attempt: Attempt, products: tuple[str, ...], why: str) -> str:
    """What will run, on what, and why: ``products`` as the user named them, ``why`` it was chosen."""
    account, context, facts = attempt.account, attempt.context, attempt.placement.facts
    if account is None or context is None:
        count = facts.files.file_count
        files = "1 file" if count == 1 else f"{count} files"
        return (
            f"{attempt.engine.title}: the model is {files} of "
            f"{gib(facts.files.total_bytes)}; what the engine keeps in memory is not known, so nothing is "
            "predicted."
        )
    unknown = f" Not known of the model: {'; '.join(facts.unknown)}." if facts.unknown else ""
    on_host = attempt.placement.device.on_host
    told = _on_host(attempt, account, context) if on_host else _on_gpus(attempt, account, context, why)
    where = "" if on_host else _hardware(attempt, products)
    ways = "".join(
        (
            _falling_back(attempt),
            _assumed(account),
            _tight(attempt, account),
            _tuned(attempt),
            *(f" {warning}" for warning in warnings(attempt)),
        )
    )
    return f"{told}{where}{ways}{attempt.learned.sentence()}{unknown}"


def warnings(attempt: Attempt) -> tuple[str, ...]:
    """What will not work as its users expect, a sentence each; of an engine that is not known, nothing."""
    chat = _chat_sentence(attempt) if attempt.engine.predicted else ""
    return (chat,) if chat else ()


def _chat_sentence(attempt: Attempt) -> str:
    """What becomes of chats where the model does not say how a conversation becomes a prompt; "" where it
    does, where the user says it, and where nobody knows."""
    placement = attempt.placement
    given = parse_arguments(placement.options.arguments)
    if placement.facts.chat_template is not False or any(name.startswith("chat-template") for name in given):
        return ""
    lacks = "The model has no chat template:"
    if placement.facts.format == "gguf" and attempt.engine.name == "llamacpp":
        return (
            f"{lacks} chats are formatted as ChatML, which it may not know; set --chat-template in "
            "engine.extraArgs for its own."
        )
    return f"{lacks} /v1/chat/completions is refused, /v1/completions works."


def _falling_back(attempt: Attempt) -> str:
    """What the engine will do otherwise than asked or than is fastest."""
    clauses = plan_half(attempt.engine.name).fallbacks(attempt.placement)
    return f" Falls back: {'; '.join(clauses)}." if clauses else ""


def _assumed(account: Account) -> str:
    """What of the budget nobody has seen on such a device."""
    said = account.assumption
    return f" {said[:1].upper()}{said[1:]}." if said else ""


def _tight(attempt: Attempt, account: Account) -> str:
    """What is left free, where that is little."""
    if not attempt.tight or account.budget_bytes is None or attempt.context is None:
        return ""
    left = account.budget_bytes - needed_bytes(account, attempt.context.concurrency, attempt.learned)
    margin = gib(margin_bytes(account))
    return (
        f" Tight: {gib(left)} stay free where {margin} would by choice; should the engine take more than "
        "predicted, it does not start."
    )


def _tuned(attempt: Attempt) -> str:
    """What is set for speed, and why."""
    reasons = attempt.tuning.reasons
    return f" Set for speed: {'; '.join(reasons)}." if reasons else ""


def host_parts(account: Account) -> str:
    """Where the memory of a host process goes."""
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
    room = f" of {gib(device.memory_bytes or 0)} ({device.source})" if known else ""
    return (
        f"{subject} on the CPU: {gib(account.total_bytes)}{room} for {requests(context)} of "
        f"{context.max_model_len} tokens {host_parts(account)}.{'' if known else UNCHECKED}"
    )


def _on_gpus(attempt: Attempt, account: Account, context: Context, why: str) -> str:
    placement, several = attempt.placement, attempt.gpus > 1
    spread = f" (tensor {placement.tensor}, pipeline {placement.pipeline})" if several else ""
    return (
        f"{attempt.engine.name} {placement.version} with {described(attempt)} on {attempt.where}{spread}: "
        f"weights {gib(account.weights_bytes)}, KV cache {gib(account.cache_bytes)} = {account.cache_tokens} "
        f"tokens, {account.concurrency:.1f} requests of {context.max_model_len} tokens at once, within "
        f"{gib(account.budget_bytes or 0)}{' of each GPU' if several else ''}.{why}{_speed(attempt)}"
    )


def ranked_by(attempt: Attempt) -> str:
    """Which speed decided, as part of a sentence."""
    return "expected speed" if attempt.expected else "speed as the bandwidth bounds it"


def _speed(attempt: Attempt) -> str:
    """Of one stream: what is expected where steps were timed, else the bound alone."""
    if attempt.speed is None:
        return ""
    best = attempt.speed.decode_tokens_per_second
    if found := attempt.expected:
        rate = found.tokens_per_second
        return f" Expected {rate:.0f} tok/s for one stream (at best {best:.0f}), {found.ran}."
    return f" At best {best:.0f} tok/s for one stream (predicted)."


def _hardware(attempt: Attempt, products: tuple[str, ...]) -> str:
    """What is to be known of the GPU besides its memory."""
    device = attempt.placement.device
    strange = "" if device.known else " The catalog does not know this GPU; planned from its labels."
    budget = attempt.account.budget_bytes if attempt.account else None
    return f"{_sharing(device, budget or 0)}{_not_there(attempt, products)}{strange}"


def _sharing(device: Device, budget_bytes: int) -> str:
    if device.sharers > 1 and budget_bytes > (device.part_bytes or 0):
        return (
            f" The GPU is shared by {device.sharers} pods; engine.extraArgs take more than a "
            f"{device.sharers}th of it: the others have to take less."
        )
    if device.sharers > 1:
        return f" The GPU is shared by {device.sharers} pods; a {device.sharers}th of it is planned."
    if is_shared(device.product):
        return " The GPU is shared, but no label says by how many pods: all of its memory is planned."
    return ""


def _not_there(attempt: Attempt, products: tuple[str, ...]) -> str:
    """What of the planned hardware no node has now."""
    product, most = attempt.product, attempt.choice.most
    if attempt.choice.live:
        return f" No node has {attempt.gpus} x {product} now, {most} at most." if attempt.gpus > most else ""
    named = next((name for name in products if matches(name, product)), "")
    others = [row.label for row in rows_for(named) if row.label != product] if named else []
    several = f" {named} also stands for {', '.join(others)}: pods are pinned to {product}." if others else ""
    return f" No node has this GPU now; planned from the catalog.{several}"


# --- of an attempt that came to none --------------------------------------------------------------
def short_message(attempt: Attempt) -> str:
    """Why it cannot run or does not fit, as a clause; "" when it fits."""
    if attempt.refusal:
        return attempt.refusal.message
    account, wanted = attempt.account, attempt.wanted
    if attempt.fits or account is None or wanted is None:
        return ""
    nearest = attempt.nearest
    would = ""
    if nearest:
        number = "one" if nearest.concurrency == 1 else nearest.concurrency
        would = f"; {number} of {nearest.max_model_len} tokens would fit"
    if attempt.beyond_tokens:
        made_for = f"the model was made for {attempt.beyond_tokens} tokens"
        return f"{made_for}, not for {wanted.max_model_len}{would}"
    each = " on each GPU" if attempt.gpus > 1 else ""
    need = "need" if wanted.concurrency > 1 else "needs"
    cache = wanted.concurrency * account.request_bytes
    if not account.holds(cache):
        return (
            f"{requests(wanted)} of {wanted.max_model_len} tokens {need} a KV cache of {gib(cache)}{each}; "
            f"{account.cache_limit_switch} gives {gib(account.cache_limit_bytes or 0)}{would}"
        )
    needed, budget = account.needed_bytes(wanted.concurrency), account.budget_bytes or 0
    assumed = f"; {account.assumption}" if account.assumption else ""
    free = margin_bytes(account, tight=True)
    spare = f" and {gib(free)} are to stay free" if needed <= budget else ""
    return (
        f"{requests(wanted)} of {wanted.max_model_len} tokens {need} {gib(needed)}{each} "
        f"(weights {gib(account.weights_bytes)}, "
        f"activations and overhead {gib(account.overhead_bytes)}, KV cache {gib(cache)}); {attempt.where} "
        f"leaves {gib(budget)}{spare}{would}{assumed}"
    )
