"""Arithmetic that the memory models of all engines share: from a model's facts to bytes."""
