"""Resident bits of a quantized weight, by method, where no engine stores it in a way of its own."""

from __future__ import annotations

NF4_BITS = 4 + 32 / 64
"""An NF4 or FP4 weight in blocks of 64 with a 32-bit constant each. Source: QLoRA (arXiv:2305.14314),
section 3."""
NF4_DOUBLE_QUANT_BITS = 4 + 8 / 64 + 32 / (64 * 256)
"""The same with the blocks' constants quantized in turn."""
INT8_BITS = 8.01
"""LLM.int8(): 8 bits and a 32-bit scale for each row."""
FP8_BITS = 8.0
