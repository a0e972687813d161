"""What an engine is, and what all engines have in common when they die.

An engine's file is pure: how its command line is made, where it says that it is healthy, what its
metrics mean, and what its last words say about why it died. Talking to it is the runtime's work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tacho_contract.failure import Failure
from tacho_contract.launch import RuntimeConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How the engine's process ended."""

    code: int | None = None
    """Exit code, None when a signal ended it."""
    signal: int | None = None
    out_of_memory_kills: int | None = None
    """How many processes the kernel killed in this container for memory since its start; None: unknown."""
    told: Failure | None = None
    """What its launcher left in the file that ``tacho_contract.launch.ENV_ENGINE_FAILURE`` names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFigures:
    """What an engine's metrics say. None is unknown, never zero."""

    running: int | None = None
    waiting: int | None = None
    generation_tokens_total: float | None = None
    prompt_tokens_total: float | None = None
    kv_cache_usage: float | None = None


class RunHalf(Protocol):
    """What the runtime must know of one engine. Instances have no state."""

    @property
    def name(self) -> str: ...

    @property
    def users_command(self) -> bool:
        """True: the command is the user's (RuntimeConfig.custom), with no entrypoint of a known image."""

    @property
    def api_key_variable(self) -> str:
        """The environment variable that this engine takes its API key from; "" when it has none."""

    @property
    def version_path(self) -> str:
        """Where a JSON document tells the engine's version."""

    def version(self, document: Mapping[str, object]) -> str:
        """The version in that document; "" when it does not say."""

    def health_path(self, config: RuntimeConfig) -> str:
        """Answers 2xx when the engine can serve."""

    def command(self, config: RuntimeConfig, model_path: str) -> tuple[str, ...]:
        """The argument vector. Raises FailedError(InvalidConfig) for a config it cannot be made of."""

    def load(self, metrics: Mapping[str, float]) -> LoadFigures:
        """What /metrics says; ``metrics`` maps a sample's name to its value summed over labels."""

    def classify(self, end: Exit, lines: Sequence[str]) -> Failure:
        """Why the engine ended, from how it ended and the last lines it wrote."""


def whole(value: float | None) -> int | None:
    """A gauge that counts, as an integer; unknown stays unknown, and so does what is not a number."""
    return int(value) if value is not None and value == value and abs(value) != float("inf") else None
