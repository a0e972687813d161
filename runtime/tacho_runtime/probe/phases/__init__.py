"""The steps of a probe, one file each; they reach the engine only through
``engine_under_test.EngineUnderTest``."""
