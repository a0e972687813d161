"""What runs inside the engine's container: start the engine, measure it, report, drain.

Pure Python 3.10 and later, because it runs on the engine image's own interpreter.
"""
