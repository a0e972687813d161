"""Input and output of a probe of an engine that tacho does not run; the output is lines of JSON on stdout."""

from __future__ import annotations

from dataclasses import dataclass

from tacho_contract import SCHEMA
from tacho_contract.launch import LiveConfig
from tacho_contract.measurement import Measurement

ENV_PROBE_ORDER = "TACHO_PROBE_ORDER"
ENV_PROBE_KEY = "TACHO_PROBE_API_KEY"
"""Sent as a bearer token; it stands in no document, as documents are printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOrder:
    """One engine that answers the OpenAI API, and how to probe it. Environment TACHO_PROBE_ORDER."""

    schema: int = SCHEMA
    base_url: str
    """Scheme, host and port; a path prefix before /v1 is kept."""
    served_name: str
    """The ``model`` of requests."""
    concurrency: int
    """The most requests at a time."""
    plan_key: str
    live: LiveConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeLine:
    """One line: a few words at each phase; in the last line the measurement."""

    progress: str = ""
    measurement: Measurement | None = None
