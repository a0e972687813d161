"""Arithmetic that the memory models of the engines share: from a model's facts to bytes."""
