"""vLLM's metrics."""

from __future__ import annotations

from tacho_engines.shared.metrics import VLLM_FAMILY

METRICS = VLLM_FAMILY
