"""How long the decoding steps of the Transformers backend take, on the GPUs on which they were timed."""

from __future__ import annotations

from tacho_engines.step import StepRow

STEPS: tuple[StepRow, ...] = ()
"""None: of one stream of an 8B on an H200 the probe knows 27 tok/s within 118 % in 16 bits, 28.4 within 3 %
in doubly quantized NF4 (benchmarks/gpu/h200/later). The host's work is most of a step, and differs by more
than a law may."""
EFFICIENCY = 0.08
"""Part of the bandwidth that one stream reaches: 38 ms a token of an 8B in 16 bits on an H200, 3.1 of which
the memory asks for (benchmarks/gpu/h200/later)."""
