"""The probe: measures a serving engine's latency with one stream, and its throughput at several levels of
concurrency.

While it measures, only the standard library lies between the socket and the clock; answers are parsed
afterwards. The package ``load`` sends requests; ``phases`` are the steps of a probe.
"""
