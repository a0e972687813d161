"""What a probe measures: the engine's address, model and limits, the scope, and advice for its messages."""

from __future__ import annotations

from dataclasses import dataclass

from tacho_contract.measurement import Baseline, KnownLevels


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    more_time: str = "raise probe.budgetSeconds"
    fit: str = "raise context.maxModelLen or lower workload"
    longer: str = "raise probe.timeoutSeconds"


IN_SPEC = Advice()
"""Fields of an LLMDeployment."""
BY_OPTIONS = Advice(more_time="raise --budget", fit="lower --workload", longer="raise --budget")
"""Next steps for users of ``tacho probe URL``, which ends at twice its budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTarget:
    """One engine that answers the OpenAI API and already reports healthy."""

    base_url: str
    """``http://127.0.0.1:8000``: scheme, host and port; a path prefix is kept."""
    served_name: str
    """The ``model`` of requests."""
    engine: str
    """Its name in tacho, a hint for the request dialect; the engine's own answers win."""
    max_model_len: int
    """Prompt and output of one request together, in tokens. 0: whatever the engine says."""
    concurrency: int
    """The plan's highest number of requests at a time: the top level of the curve."""
    slots: int = 0
    """The engine's own limit of requests at a time; 0: none, or none that is known."""
    scores: bool = True
    """Whether it may be asked for the log-probabilities of a text: few clients ask for them, and a
    request that is never made may crash an engine."""
    api_key: str = ""
    """Sent as a bearer token when set."""
    token_prompts: bool | None = None
    """Whether a prompt may be a list of token ids. None: tried, with text as the way out."""
    vocabulary: int = 0
    """Token ids lie below this. 0: what the engine says, else a range nearly every model has."""
    cpus: int = 1
    """CPUs that the probe may use, with the engine where it runs beside it."""
    advice: Advice = IN_SPEC


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeScope:
    """What is measured: everything, unless a field says otherwise."""

    baseline: Baseline | None = None
    """Only a check: one stream and the level at which this was measured."""
    known: KnownLevels | None = None
    """Levels of an earlier probe that the search begins with."""
    levels: tuple[int, ...] = ()
    """Levels to measure instead of a search."""
