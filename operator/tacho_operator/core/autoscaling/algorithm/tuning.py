"""The algorithm's tuning constants and the limits of its guards; docs/design/scaling.md shows the same two
tables.

A HorizontalPodAutoscaler's defaults are in types.py.
"""

HEADROOM = 1.0
"""Standard deviations of the concurrent requests, beyond their mean, for which there is spare capacity."""
TARGET_KV_CACHE = 0.85
"""Target usage of the KV cache; a full one preempts requests."""
RATE_SECONDS = 60.0
"""Window of the offered load in seconds. A shorter one follows noise, a longer one delays scaling up."""
TREND_SECONDS = 180.0
"""Shortest window of the trend in seconds; a shorter one would follow noise."""
TREND_PARTS = 4
"""Parts of that window: the load must grow from each to the next. A step grows in two at most."""
START_QUANTILE = 0.9
"""Share of pods that start at least as fast as is expected of a new one."""
DEVIATIONS = 2.0
"""Standard deviations of random arrivals that are attributed to chance, in short windows and bursts."""
MAX_BURST_SECONDS = 900.0
"""Longest burst in seconds: a longer one is a new level of load."""
BURST = 2.0
"""Factor by which the load grows in a burst and falls after it; smaller changes are noise or a trend."""
MIX_SECONDS = 300.0
"""Time constant in seconds of what changes slower than rates: lengths, attainment, speed."""
MIX_REQUESTS = 30.0
"""Weight of the measured request lengths, in requests, until traffic shows its own."""
DOUBT = 0.1
"""Share of the capacity that each doubt costs: no interval in the measurement, random arrivals that missed
the SLO in it, a missed SLO in service. Larger steps overshoot before the attainment shows them.
"""
LEFT = 0.5
"""Mean share of a running request's answer that is still missing."""
MIN_CORRECTION = 0.5
"""Lowest share of the capacity that is left by a correction or an interval, and inverse of the highest speed
and of the highest concurrency for long answers. Beyond it a new measurement is needed.
"""
MEMORY_SECONDS = 2700.0
"""Seconds for which a burst keeps replicas, and for which a lowered capacity lasts without evidence."""

# Limits of the guards: beyond them data is wrong, missing, or too much.
SLOW = 0.7
"""Share of the pods' median speed below which a pod counts as slow. Faster ones carry most of their share."""
MIN_PODS = 3
"""Fewest pods among which a slow one can be identified."""
MIN_R2 = 0.95
"""R2 of the fitted gap (alpha + beta x streams) from which the pods' present speed is used: beside a law that
does not fit, no speed is known.
"""
UNKNOWN_START_SECONDS = 60.0
"""Cold start in seconds that is assumed until the first one was observed."""
LONGEST_START_SECONDS = 3600.0
"""A start that takes longer counts as this: offered load is kept for as long as a start takes."""
UNKNOWN_STREAMS = 20.0
"""Concurrency assumed for a replica where it is unknown; it gives a target utilization of 0.8."""
MAX_AGE_SECONDS = 35.0
"""Age in seconds from which a sample is ignored, and time without a token after which a pod counts as hung:
three periods.
"""
LATE_SECONDS = 1.0
"""Age in seconds from which a sample that is not new is too old to decide by: the pod did not answer."""
EARLY_SECONDS = 0.25
"""Seconds by which a decision may come early: after two decisions a period of two counts as over."""
MAX_POD_RATE = 3.0
"""Highest load of one pod, in replicas, that is believed. Speeds count up to twice the measured one; above
three times a counter is wrong.
"""
RETRY_SECONDS = 600.0
"""Seconds until replicas that quota or admission refused are requested again: each try costs an event."""
MAX_TOKENS = 1e7
"""Most tokens in a prompt or an answer that are believed of status, which people may write."""
BURSTS_KEPT = 8
"""Most bursts that are remembered, as status lists them."""
CHANGES_KEPT = 10
"""Most replica changes in status; the state keeps those of the longest period of a scaling policy."""
