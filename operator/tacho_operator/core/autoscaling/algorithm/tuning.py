"""The algorithm's tuning constants, in one table; docs/design/scaling.md shows the same table.

A HorizontalPodAutoscaler's defaults are in behavior.py.
"""

HEADROOM = 1.0
"""Standard deviations of the requests at the same time that replicas have room for, beyond their mean."""
TARGET_KV_CACHE = 0.85
"""Share of the KV cache in use: a full one preempts requests."""
RATE_SECONDS = 60.0
"""Window of the offered load. A shorter one follows noise, a longer one delays scaling up."""
DEVIATIONS = 2.0
"""Standard deviations of a shorter window, and of the trend, that do not count: chance causes them."""
MAX_HORIZON_SECONDS = 900.0
"""Longest time that a trend is extrapolated, and that a burst lasts: a longer one is a new level."""
BURST = 2.0
"""Ratio by which the load grows in a burst and falls after it: less is noise, or a trend."""
MIX_SECONDS = 300.0
"""Time constant of the mean request lengths: lengths change slower than rates, and rare long ones scatter."""
MIX_REQUESTS = 30.0
"""Weight of the measured lengths before traffic has shown its own, in requests."""
UNKNOWN_INTERVAL = 0.10
"""Confidence interval assumed for a measurement without one, as a share of its throughput."""
UNVERIFIED_RATE = 0.9
"""Share of a rate that counts where random arrivals missed the SLO in the measurement."""
MIN_CROWDING = 0.5
"""Answer-heavy traffic raises the concurrency to twice the measured one at most: more was not measured."""
LEFT = 0.5
"""Share of a running request's answer that is still to come, on average."""
CORRECTION_STEP = 0.90
"""Step of the capacity correction: larger ones overshoot before the attainment shows them."""
MIN_CORRECTION = 0.5
"""Lowest correction, and inverse of the highest speed: other replicas need a new measurement."""
MEMORY_SECONDS = 2700.0
"""Time for which a burst keeps replicas, and a lowered capacity that nothing judges lasts."""

# Limits of the guards against missing and wrong data.
SLOW = 0.7
"""Share of the pods' median speed below which a pod is sick."""
MIN_R2 = 0.95
"""Fit of the scaling law from which the speed in service counts."""
UNKNOWN_START_SECONDS = 60.0
"""Cold start before one was observed."""
UNKNOWN_STREAMS = 20.0
"""Concurrency of a replica that is not known: a target utilization of 0.8."""
MAX_AGE_SECONDS = 35.0
"""Age from which a sample is unknown, and time without a token from which a pod hangs: three periods."""
MAX_POD_RATE = 3.0
"""Highest plausible load of one pod, in replicas: a counter that claims more has jumped."""
RETRY_SECONDS = 600.0
"""Time for which replicas that quota or admission refused are not requested again."""
