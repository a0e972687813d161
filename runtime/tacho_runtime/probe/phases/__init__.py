"""What a probe does, one file a phase; all effects go through ``ports.EngineUnderTest``."""
