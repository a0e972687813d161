"""How long the decoding steps of the Transformers backend take, on the GPUs on which they were timed."""

from __future__ import annotations

from tacho_engines.step import StepRow

STEPS: tuple[StepRow, ...] = ()
"""None: those of an 8B on an H200 were timed with cuDNN's attention kernels, which the backend does not take
any more. A step there took 26 to 28 ms at lengths met before (benchmarks/gpu/h200/steps), 3.1 of which the
memory asks for."""
EFFICIENCY = 0.04
"""Part of the bandwidth that one stream reaches: 13.7 tok/s of an 8B in 16 bits on an H200, with cuDNN's
attention kernels (benchmarks/engines)."""
