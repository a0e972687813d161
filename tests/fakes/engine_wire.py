"""What the mock engine writes: vLLM 0.32's documents and metrics. Shapes are tested against recordings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.fakes.engine_law import Scheduler

FINGERPRINT = "vllm-0.32.0-mock"
TTFT_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
BLOCK_TOKENS = 16


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


class Answer:
    """One request's documents, for /v1/completions or, with ``chat``, /v1/chat/completions."""

    def __init__(self, *, identity: str, model: str, created: int, chat: bool, prompt_tokens: int) -> None:
        self.chat = chat
        self.prompt_tokens = prompt_tokens
        kind = ("chat.completion", "chat.completion.chunk") if chat else ("text_completion",) * 2
        prefix = "chatcmpl" if chat else "cmpl"
        self.whole = {"id": f"{prefix}-{identity}", "object": kind[0], "created": created, "model": model}
        self.part = {**self.whole, "object": kind[1]}

    def _continuous(self, completion_tokens: int) -> dict[str, Any]:
        figures = usage(self.prompt_tokens, completion_tokens)
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
        """``closing``: no usage chunk follows, so this one carries the fingerprint."""
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

    def closing_usage(self, completion_tokens: int, cached_tokens: int) -> dict[str, Any]:
        details = {"cached_tokens": cached_tokens, **({"created_cache_tokens": 0} if self.chat else {})}
        figures = {**usage(self.prompt_tokens, completion_tokens), "prompt_tokens_details": details}
        return {**self.part, "choices": [], "usage": figures, "system_fingerprint": FINGERPRINT}

    def document(self, text: str, completion_tokens: int, finish_reason: str, cached: int) -> dict[str, Any]:
        details = {
            "cached_tokens": cached,
            "created_cache_tokens": 0 if self.chat else None,
            "multimodal_tokens": None,
        }
        figures = {
            **usage(self.prompt_tokens, completion_tokens),
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


def metrics(scheduler: Scheduler, name: str) -> str:
    """The names an autoscaler or a probe reads, with vLLM's labels."""
    totals, law = scheduler.totals, scheduler.law
    lines: list[str] = []

    def family(metric: str, kind: str, *samples: tuple[str, Mapping[str, object], float]) -> None:
        lines.append(f"# TYPE vllm:{metric} {kind}")
        for suffix, labels, value in samples:
            served = {} if metric == "cache_config_info" else {"model_name": name}
            merged = {"engine": "0", **served, **labels}
            text = ",".join(f'{key}="{merged[key]}"' for key in sorted(merged))
            lines.append(f"vllm:{metric}{suffix}{{{text}}} {float(value)}")

    def one(metric: str, kind: str, value: float) -> None:
        family(metric, kind, ("", {}, value))

    one("num_requests_running", "gauge", len(scheduler.running))
    one("num_requests_waiting", "gauge", len(scheduler.waiting))
    one("kv_cache_usage_perc", "gauge", min(1.0, scheduler.kv_used_tokens / law.kv_tokens))
    one("prefix_cache_queries_total", "counter", totals.prompt_tokens)
    one("prefix_cache_hits_total", "counter", totals.cached_tokens)
    one("num_preemptions_total", "counter", 0)
    one("prompt_tokens_total", "counter", totals.prompt_tokens)
    computed = {"local_compute": totals.prompt_tokens - totals.cached_tokens}
    sources = {**computed, "local_cache_hit": totals.cached_tokens, "external_kv_transfer": 0.0}
    family(
        "prompt_tokens_by_source_total", "counter",
        *(("", {"source": source}, value) for source, value in sources.items()),
    )  # fmt: skip
    one("generation_tokens_total", "counter", totals.generated_tokens)
    family(
        "request_success_total", "counter",
        *(("", {"finished_reason": reason}, count) for reason, count in totals.finished.items()),
    )  # fmt: skip
    ttfts = totals.ttft_seconds
    counts = [(str(le), sum(1 for value in ttfts if value <= le)) for le in TTFT_BUCKETS]
    family(
        "time_to_first_token_seconds", "histogram",
        *(("_bucket", {"le": le}, count) for le, count in [*counts, ("+Inf", len(ttfts))]),
        ("_count", {}, len(ttfts)), ("_sum", {}, sum(ttfts)),
    )  # fmt: skip
    family(
        "inter_token_latency_seconds", "histogram",
        ("_count", {}, totals.gaps), ("_sum", {}, totals.gaps_seconds),
    )  # fmt: skip
    info = {
        "block_size": BLOCK_TOKENS,
        "cache_dtype": "auto",
        "enable_prefix_caching": "True",
        "gpu_memory_utilization": 0.92,
        "kv_cache_size_tokens": law.kv_tokens,
        "num_gpu_blocks": law.kv_tokens // BLOCK_TOKENS,
    }
    family("cache_config_info", "gauge", ("", info, 1.0))
    return "\n".join(lines) + "\n"
