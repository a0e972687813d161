"""What the mock engine writes: vLLM 0.32's documents. Shapes are tested against recordings."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

FINGERPRINT = "vllm-0.32.0-mock"
WORDS = (" one", " two", " three", " four", " five", " six", " seven", " eight")
_MANY = 10**12
"""A count that stands for any while a chunk's text is cut into pieces."""


def error(message: str, kind: str, code: int, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def models(name: str, created: int, max_model_len: int) -> dict[str, Any]:
    permission = {
        "id": "modelperm-mock",
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    model = {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "vllm",
        "root": name,
        "parent": None,
        "max_model_len": max_model_len,
        "permission": [permission],
    }
    return {"object": "list", "data": [model]}


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
    }


def text_of(first: int, count: int, textless_every: int = 0) -> str:
    """Tokens ``first`` to ``first + count`` of every answer; each ``textless_every``-th is empty."""
    told = (index for index in range(first, first + count) if not textless_every or index % textless_every)
    return "".join(WORDS[index % len(WORDS)] for index in told)


def dumps(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def event(document: dict[str, Any]) -> bytes:
    return b"data: " + dumps(document) + b"\n\n"


class Answer:
    """One request's documents, for /v1/completions or, with ``chat``, /v1/chat/completions."""

    def __init__(
        self,
        *,
        identity: str,
        model: str,
        created: int,
        chat: bool,
        prompt_tokens: int,
        usage_times: float = 1.0,
    ) -> None:
        """``usage_times``: factor by which its counts of output tokens are wrong."""
        self.chat = chat
        self.prompt_tokens = prompt_tokens
        self.usage_times = usage_times
        kind = ("chat.completion", "chat.completion.chunk") if chat else ("text_completion",) * 2
        prefix = "chatcmpl" if chat else "cmpl"
        self.whole = {"id": f"{prefix}-{identity}", "object": kind[0], "created": created, "model": model}
        self.part = {**self.whole, "object": kind[1]}

    def _usage(self, completion_tokens: int) -> dict[str, Any]:
        return usage(self.prompt_tokens, round(self.usage_times * completion_tokens))

    def _continuous(self, completion_tokens: int) -> dict[str, Any]:
        figures = self._usage(completion_tokens)
        return {**figures, "completion_tokens_details": None} if self.chat else figures

    def role(self, *, continuous: bool) -> dict[str, Any]:
        """Chat only: the chunk before the first token, written together with it."""
        delta = {"role": "assistant", "content": ""}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        figures = {"usage": self._continuous(0)} if continuous else {}
        return {**self.part, "choices": [choice], **figures, "prompt_token_ids": None, "prompt_text": None}

    def chunk(
        self, text: str, completion_tokens: int, finish_reason: str | None, *, continuous: bool, closing: bool
    ) -> dict[str, Any]:
        """One streamed chunk. ``closing``: no usage chunk follows, so this chunk carries the fingerprint."""
        choice: dict[str, Any] = {"index": 0}
        choice |= {"delta": {"content": text}} if self.chat else {"text": text}
        choice |= {"logprobs": None, "finish_reason": finish_reason}
        if not self.chat:
            choice |= {"stop_reason": None, "prompt_token_ids": None}
        elif finish_reason:
            choice |= {"stop_reason": None}
        choice |= {"token_ids": None}
        figures = {"usage": self._continuous(completion_tokens)} if continuous else {}
        last = {"system_fingerprint": FINGERPRINT} if closing else {}
        return {**self.part, "choices": [choice], **figures, **last}

    def middle(self, *, continuous: bool) -> Callable[[int, int], bytes]:
        """(tokens before, tokens in it) to the event of a chunk that is not the last: cut once, not
        serialized each time."""
        whole = event(self.chunk("\0", _MANY, None, continuous=continuous, closing=False))
        head, tail = whole.split(b"\\u0000")
        if not continuous:
            words = [head + word.encode() + tail for word in WORDS]

            def plain(before: int, count: int) -> bytes:
                if count == 1:
                    return words[before % len(WORDS)]
                return head + text_of(before, count).encode() + tail

            return plain
        many = round(self.usage_times * _MANY)
        tail, rest = tail.split(b"%d" % (many + self.prompt_tokens))
        rest, end = rest.split(b"%d" % many)

        def counted(before: int, count: int) -> bytes:
            total = round(self.usage_times * (before + count))
            text = text_of(before, count).encode()
            return b"%b%b%b%d%b%d%b" % (head, text, tail, self.prompt_tokens + total, rest, total, end)

        return counted

    def closing_usage(self, completion_tokens: int, cached_tokens: int) -> dict[str, Any]:
        details = {"cached_tokens": cached_tokens, **({"created_cache_tokens": 0} if self.chat else {})}
        figures = {**self._usage(completion_tokens), "prompt_tokens_details": details}
        return {**self.part, "choices": [], "usage": figures, "system_fingerprint": FINGERPRINT}

    def document(self, text: str, completion_tokens: int, finish_reason: str, cached: int) -> dict[str, Any]:
        details = {
            "cached_tokens": cached,
            "created_cache_tokens": 0 if self.chat else None,
            "multimodal_tokens": None,
        }
        figures = {
            **self._usage(completion_tokens),
            "prompt_tokens_details": details,
            "completion_tokens_details": None,
        }
        choice: dict[str, Any] = {"index": 0}
        if self.chat:
            message = {"role": "assistant", "content": text}
            unset = dict.fromkeys(("refusal", "annotations", "audio", "function_call", "reasoning"))
            choice |= {"message": message | unset}
        else:
            choice |= {"text": text}
        choice |= {
            "logprobs": None, "finish_reason": finish_reason, "stop_reason": None, "token_ids": None,
            "routed_experts": None,
        }  # fmt: skip
        choice |= {} if self.chat else {"prompt_logprobs": None, "prompt_token_ids": None}
        tail = dict.fromkeys(("kv_transfer_params", "ec_transfer_params", "metrics"))
        chat_tail = dict.fromkeys(("prompt_logprobs", "prompt_token_ids", "prompt_text")) if self.chat else {}
        head = {**self.whole, "choices": [choice], "service_tier": None, "system_fingerprint": FINGERPRINT}
        return {**head, "usage": figures, **chat_tail, **tail}
