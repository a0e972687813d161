"""Measures a serving engine: latency of one stream, throughput at a few concurrency levels.

While it measures, only the standard library lies between the socket and the clock; answers are taken apart
afterwards. ``asking`` is one request and what its answer says; around it are the phases of a probe.
"""
