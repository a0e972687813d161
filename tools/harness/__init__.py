"""The operator under test: as a process against a real API server, or as pure decisions in a small world."""
