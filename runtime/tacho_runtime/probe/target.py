"""The input of a probe: the engine's address, model and limits, what to measure, next steps for messages."""

from __future__ import annotations

from dataclasses import dataclass

from tacho_contract.measurement import Baseline


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    more_time: str = "raise probe.budgetSeconds"
    fit: str = "raise context.maxModelLen or lower workload"
    longer: str = "raise probe.timeoutSeconds"


IN_SPEC = Advice()
"""Next steps that name fields of an LLMDeployment."""
BY_OPTIONS = Advice(more_time="raise --budget", fit="lower --workload", longer="raise --budget")
"""Next steps for users of ``tacho probe URL``, which ends at twice its budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTarget:
    """One engine that answers the OpenAI API and already reports healthy."""

    base_url: str
    """URL of the engine, for example ``http://127.0.0.1:8000``; a path prefix is kept."""
    served_name: str
    """The value of ``model`` in requests."""
    engine: str
    """Name of the engine in tacho, a guess of the request format; the engine's answers precede it."""
    max_model_len: int
    """Longest prompt plus answer of one request in tokens. 0: as the engine reports."""
    concurrency: int
    """Highest number of concurrent requests in the plan: the top level of the curve."""
    slots: int = 0
    """Most requests that the engine processes at the same time; 0: unknown or unlimited."""
    scores: bool = True
    """Whether the engine may be asked for log-probabilities of a text. Few clients do that, and it might
    crash an untested engine.
    """
    api_key: str = ""
    """Sent as a bearer token when set."""
    cpus: int = 1
    """Number of CPUs that the probe may use; they are shared with an engine on the same machine."""
    advice: Advice = IN_SPEC
    may_be_forwarded: bool = False
    """Whether a port of this machine may lead to another one, as kubectl's port-forward does."""
    must_answer: bool = False
    """Whether the engine has just started, and the start fails unless it answers: the probe raises
    NeverAnswered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeScope:
    """What a probe measures. Without a field set: everything."""

    baseline: Baseline | None = None
    """The baseline for a check: only one stream and the baseline's level are measured."""
    levels: tuple[int, ...] = ()
    """Numbers of streams to measure instead of searching."""
