"""What whoever asked for a probe can change, in the words of where it was asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    more_time: str = "raise probe.budgetSeconds"
    fit: str = "raise context.maxModelLen or lower workload"
    longer: str = "raise probe.timeoutSeconds"


IN_SPEC = Advice()
"""Fields of an LLMDeployment."""
BY_OPTIONS = Advice(more_time="raise --budget", fit="lower --workload", longer="raise --budget")
"""Of ``tacho probe URL``, which ends at twice its budget."""
