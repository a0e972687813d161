"""Measures a serving engine: latency of one stream, throughput at a few concurrency levels.

Standard library only: this is the code between the socket and the clock.
"""

from tacho_runtime.probe.run import run_probe
from tacho_runtime.probe.target import ProbeTarget

__all__ = ["ProbeTarget", "run_probe"]
