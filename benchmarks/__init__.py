"""Benchmarks: what is claimed in docs/, computed anew."""
