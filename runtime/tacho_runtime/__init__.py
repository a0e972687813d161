"""The runtime: PID 1 of the engine's container. It starts the engine, measures it, reports, and drains
requests.

Pure Python 3.10 and later, because it runs on the engine image's own interpreter.
"""
