"""Measures a serving engine: latency of one stream, throughput at a few concurrency levels.

While it measures, only the standard library lies between the socket and the clock; answers are taken apart
afterwards.
"""

from tacho_runtime.probe.run import run_probe
from tacho_runtime.probe.target import ProbeTarget

__all__ = ["ProbeTarget", "run_probe"]
