"""What the runtime reports."""

from __future__ import annotations

from dataclasses import dataclass

from tacho_contract import SCHEMA
from tacho_contract.failure import Failure
from tacho_contract.fetch import FetchProgress
from tacho_contract.measurement import Environment, Measurement

REPORT_LIMIT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupSeconds:
    """What the runtime itself can time; the operator adds scheduling and image pull."""

    download: float | None = None
    load: float | None = None
    compile: float | None = None
    probe: float | None = None
    total: float | None = None
    """From the runtime's start to readiness."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """GET /report on RUNTIME_PORT."""

    schema: int = SCHEMA
    runtime_version: str
    revision: str
    plan_key: str
    phase: str
    """Preflight | WaitingForModel | Starting | Probing | Serving | Draining | Failed."""
    message: str = ""
    ready: bool = False
    engine: str
    engine_version: str = ""
    engine_restarts: int = 0
    fetch: FetchProgress | None = None
    startup: StartupSeconds = StartupSeconds()
    environment: Environment = Environment()
    measurement: Measurement | None = None
    failure: Failure | None = None
    observed_time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """GET /load. None is unknown, never zero."""

    running: int | None = None
    waiting: int | None = None
    generation_tokens_total: float | None = None
    prompt_tokens_total: float | None = None
    kv_cache_usage: float | None = None
    observed_time: str
