"""Metrics of an engine the person brings: vLLM's names, which its family and many mocks use."""

from __future__ import annotations

from tacho_engines.shared.metrics import VLLM_FAMILY

METRICS = VLLM_FAMILY
