"""Converts CTranslate2's step results to tokens of the server, and requests to CTranslate2's options.
Pure."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from tacho_server.backend import Sampling, Token, TokenLogprob

TOP_LOGPROBS = 20
"""Maximum number of alternatives per token, as in OpenAI's API."""


def options(sampling: Sampling, end_tokens: Sequence[int]) -> dict[str, Any]:
    """Arguments of Generator.generate_batch for one request."""
    chosen: dict[str, Any] = {
        "max_length": sampling.max_tokens,
        "min_length": 0 if sampling.ignore_eos else sampling.min_tokens,
        "include_prompt_in_result": False,
        "return_logits_vocab": sampling.top_logprobs is not None,
    }
    if sampling.temperature > 0:
        chosen |= {
            "sampling_temperature": sampling.temperature,
            "sampling_topk": sampling.top_k,
            "sampling_topp": sampling.top_p,
        }
    else:
        chosen["sampling_topk"] = 1
    if sampling.ignore_eos:
        chosen["end_token"] = []
    elif end_tokens:
        chosen["end_token"] = list(end_tokens)
    return chosen


def logprobs_of(logits: Any) -> Any:
    """Log-probabilities from logits: log-softmax over the last axis."""
    np = _numpy()
    values = np.asarray(readable(logits), dtype=np.float32)
    values = values - values.max(axis=-1, keepdims=True)
    return values - np.log(np.exp(values).sum(axis=-1, keepdims=True))


def likeliest(logprobs: Any, count: int) -> tuple[TokenLogprob, ...]:
    """The ``count`` most likely tokens of one position, best first."""
    if not count:
        return ()
    np = _numpy()
    best = np.argpartition(logprobs, -count)[-count:]
    ordered = best[np.argsort(-logprobs[best], kind="stable")]
    return tuple(TokenLogprob(int(token), float(logprobs[token])) for token in ordered)


def token_of(step: Any, sampling: Sampling, end_tokens: Sequence[int]) -> Token:
    """The token in a GenerationStepResult, with its log-probability and whether it ends the answer."""
    finish = ""
    if step.is_last:
        finish = "stop" if step.token_id in end_tokens and not sampling.ignore_eos else "length"
    if sampling.top_logprobs is None:
        return Token(token=step.token_id, finish=finish)
    logprobs = logprobs_of(step.logits).reshape(-1)
    return Token(
        token=step.token_id,
        logprob=float(logprobs[step.token_id]),
        top=likeliest(logprobs, sampling.top_logprobs),
        finish=finish,
    )


def rows(found: Any) -> Any:
    """The rows of the only sequence in a StorageView of shape (1, tokens, vocabulary)."""
    np = _numpy()
    return np.asarray(readable(found), dtype=np.float32)[0]


def readable(view: Any) -> Any:
    """A StorageView as numpy can read it: in host memory, as float32. numpy has no bfloat16."""
    ctranslate2 = _ctranslate2()
    on_host = view if view.device == "cpu" else view.to_device(ctranslate2.Device.cpu)
    float32 = ctranslate2.DataType.float32
    return on_host if on_host.dtype == float32 else on_host.to(float32)


def scored(tokens: Sequence[int], logprobs: Any, top: int) -> tuple[Token, ...]:
    """Each given token with the log-probability that the model gives it; ``logprobs``: one row for each
    position."""
    first = Token(token=tokens[0], logprob=None)
    rest = (
        Token(token=token, logprob=float(row[token]), top=likeliest(row, top))
        for token, row in zip(tokens[1:], logprobs[:-1], strict=True)
    )
    return (first, *rest)


def _ctranslate2() -> Any:
    return import_module("ctranslate2")


def _numpy() -> Any:
    """The module numpy, which is installed with CTranslate2."""
    return import_module("numpy")
