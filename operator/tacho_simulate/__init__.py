"""Replays request traces against scaling policies, with simulated replicas in virtual time."""
