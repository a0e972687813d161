"""The memory model: pure arithmetic from a model's facts to bytes, one module for each engine."""
