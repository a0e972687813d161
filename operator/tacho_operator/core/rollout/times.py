"""How long things must hold in a rollout, and why so long."""

MIN_READY_SECONDS = 10
"""A pod is available, and may relieve another one, when it has been ready for so long. That is the time its
readiness probe takes to notice that it is not: 5 failures, 2 s apart (manifests/pod/containers.py). Beside
loading a model it costs nothing. A resource's first pod serves without it: there is nothing to keep."""
SETTLE_SECONDS = 30.0
"""How long the old revision stays beside a complete new one, counted from when the Service let that in.
Long enough that the first answers to real requests have ended. Until then the way back is one write."""
FIRST_PAUSE_SECONDS = 60.0
"""Between the first fall of a candidate and its next try; doubles with each further fall. Longer than the
kubelet's first pauses between restarts, so that each try meets another start of the engine."""
LONGEST_PAUSE_SECONDS = 3600.0
"""What is tried again each hour costs few requests, and heals by itself when its cause goes away."""
