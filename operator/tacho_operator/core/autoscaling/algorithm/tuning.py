"""The algorithm's tuning constants, in one table; docs/design/scaling.md shows the same table.

A HorizontalPodAutoscaler's defaults are in types.py.
"""

HEADROOM = 1.0
"""Standard deviations of the number of concurrent requests, beyond its mean, for which replicas have spare
capacity.
"""
TARGET_KV_CACHE = 0.85
"""Target usage of the KV cache; a full one preempts requests."""
RATE_SECONDS = 60.0
"""Window of the offered load in seconds. A shorter one follows noise, a longer one delays scaling up."""
DEVIATIONS = 2.0
"""Standard deviations of random arrivals that are attributed to chance, in short windows and bursts."""
MAX_BURST_SECONDS = 900.0
"""Longest burst in seconds: a longer one is a new level of load."""
BURST = 2.0
"""Factor by which the load grows in a burst and falls after it; smaller changes are noise or a trend."""
MIX_SECONDS = 300.0
"""Time constant in seconds of what changes slower than rates: lengths, attainment, speed, evenness."""
MIX_REQUESTS = 30.0
"""Weight of the measured request lengths, in requests, until traffic shows its own."""
UNKNOWN_INTERVAL = 0.10
"""Confidence interval assumed for a measurement without one, as a share of its throughput."""
UNVERIFIED_RATE = 0.9
"""Share of the measured rate that is used, if random arrivals missed the SLO in the measurement."""
LEFT = 0.5
"""Mean share of a running request's answer that is still missing."""
CORRECTION_STEP = 0.90
"""Factor of one step of the capacity correction; larger steps overshoot before the attainment shows them."""
MIN_CORRECTION = 0.5
"""Lowest capacity correction, and inverse of the highest speed and of the highest concurrency for long
answers. Beyond it a new measurement is needed.
"""
MEMORY_SECONDS = 2700.0
"""Seconds for which a burst keeps replicas, and for which a lowered capacity lasts without evidence."""

# Limits of the guards against missing and wrong data.
SLOW = 0.7
"""Share of the pods' median speed below which a pod counts as slow."""
MIN_R2 = 0.95
"""R2 of the fitted gap (alpha + beta x streams) from which the pods' present speed is used."""
UNKNOWN_START_SECONDS = 60.0
"""Cold start in seconds that is assumed before one was observed."""
UNKNOWN_STREAMS = 20.0
"""Concurrency that is assumed for a replica with unknown concurrency; it gives a target utilization of
0.8.
"""
MAX_AGE_SECONDS = 35.0
"""Age in seconds from which a sample is ignored, and time without a token after which a pod counts as hung:
three periods.
"""
MAX_POD_RATE = 3.0
"""Highest load of one pod, in replicas, that is believed; above it a counter is wrong."""
RETRY_SECONDS = 600.0
"""Seconds until replicas that quota or admission refused are requested again."""
