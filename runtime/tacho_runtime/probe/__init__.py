"""The probe: measures a serving engine's latency with one stream, and its throughput at several levels of
concurrency.

While it measures, only the standard library lies between the socket and the clock; answers are parsed
afterwards. The package ``load`` sends requests; ``phases`` are the steps of a probe.

- Level: a number of closed-loop streams. Its cohort: the requests sent within its window, which are judged.
- Knee: the saturation point, which is the capacity without an SLO: the fewest streams with nine tenths of
  the highest throughput.
- Boundary: how the capacity was found. Edge: a level close above misses the SLO. Plateau: more streams bring
  no more throughput. Floor: only a lower bound is known. NeverMet: one stream misses the SLO.
"""
