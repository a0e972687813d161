"""How the service is measured, scaled, rolled out, paid for and reached."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tacho_operator.api.base import ApiModel, Decimal, Label63
from tacho_operator.api.spec.sources import SecretKeyRef

ProbePolicy = Literal["Auto", "Always", "Disabled"]
RolloutStrategy = Literal["Surge", "Recreate"]
OnRegression = Literal["Rollback", "Pause", "Record"]

Percent = Annotated[int, Field(ge=0, le=1000, json_schema_extra={"format": "int32"})]
Milliseconds = Annotated[int, Field(ge=1, le=3_600_000, json_schema_extra={"format": "int32"})]


class WorkloadSpec(ApiModel):
    """The shape of a typical request: what the probe measures and the scaler assumes."""

    input_tokens: Annotated[int, Field(ge=1, le=1_000_000, json_schema_extra={"format": "int64"})] | None = (
        None
    )
    """Tokens of a prompt. Absent: 512. Example: 512."""
    output_tokens: Annotated[int, Field(ge=2, le=1_000_000, json_schema_extra={"format": "int64"})] | None = (
        None
    )
    """Tokens of an answer; the time per token needs at least 2. Absent: 200. Example: 200."""


class SloSpec(ApiModel):
    """What users are promised, at the given percentile of requests."""

    ttft_milliseconds: Milliseconds | None = None
    """Time to the first token, in milliseconds, at most. Absent: not promised. Example: 500."""
    tpot_milliseconds: Milliseconds | None = None
    """Time per further token, in milliseconds, at most. Absent: not promised. Example: 50."""
    percentile: Annotated[int, Field(ge=50, le=99, json_schema_extra={"format": "int32"})] | None = None
    """Share of requests, in percent, the promise holds for. Absent: 95. Example: 95."""


class ProbeSpec(ApiModel):
    """How a replica is measured while it warms up."""

    policy: ProbePolicy | None = None
    """Auto measures once for each configuration and only checks later pods against it; Always measures every
    pod in full; Disabled measures nothing. Absent: Auto."""
    budget_seconds: Annotated[int, Field(ge=5, le=3600, json_schema_extra={"format": "int32"})] | None = None
    """Seconds a full measurement aims to take. Absent: 45. Example: 45."""
    timeout_seconds: Annotated[int, Field(ge=5, le=7200, json_schema_extra={"format": "int32"})] | None = None
    """Seconds after which the pod becomes ready whatever the measurement says. Absent: 90. Example: 90."""


class TolerancePercent(ApiModel):
    """How much worse than the active revision a candidate may be, in percent. Absent: a default that
    knows the
    spread from pod to pod."""

    throughput: Percent | None = None
    """Output tokens per second, percent less. Example: 10."""
    ttft: Percent | None = None
    """Time to the first token, percent more. Example: 20."""
    tpot: Percent | None = None
    """Time per further token, percent more. Example: 10."""
    memory: Percent | None = None
    """GPU memory, percent more. Example: 10."""
    perplexity: Percent | None = None
    """Perplexity, percent more. Example: 2."""


class GateSpec(ApiModel):
    """What happens to a candidate that measures worse than the active revision."""

    on_regression: OnRegression | None = None
    """Rollback rejects the candidate, Pause waits for a person, Record only notes it. Absent: Rollback."""
    tolerance_percent: TolerancePercent | None = None
    """How much worse is still accepted. Setting it also compares across models, GPUs and quantizations."""


class RolloutSpec(ApiModel):
    """How a new revision replaces the active one."""

    strategy: RolloutStrategy | None = None
    """Surge starts the candidate beside the active revision; Recreate frees its GPU first and needs
    allowDowntime. Absent: Surge."""
    allow_downtime: bool = False
    """True permits a rollout during which nothing serves, where no spare GPU is to be had. Absent: false."""
    paused: bool = False
    """True keeps the active revision, whatever changes in spec. Absent: false."""
    schedule_timeout_seconds: (
        Annotated[int, Field(ge=10, le=86400, json_schema_extra={"format": "int32"})] | None
    ) = None
    """Seconds a candidate may wait for a node, node autoscalers included. Absent: 600. Example: 600."""
    gate: GateSpec | None = None
    """What happens to a candidate that measures worse."""


class CostSpec(ApiModel):
    """What the hardware costs, so that tokens can be priced. Absent: the operator's table of prices counts,
    where it has the GPU."""

    price_per_gpu_hour: Annotated[
        Decimal, Field(alias="pricePerGPUHour", serialization_alias="pricePerGPUHour")
    ]
    """Price of one GPU (or slice, or share) for one hour, as a decimal string. Example: "1.20"."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$", max_length=3)] | None = None
    """Currency as its ISO 4217 code; only shown, never converted. Absent: USD. Example: USD."""


class EndpointSpec(ApiModel):
    """Who may reach the service."""

    api_key_secret_ref: SecretKeyRef | None = None
    """Key clients must send as a bearer token. Absent: no key is asked for."""
    allowed_namespaces: (
        Annotated[list[Label63], Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"})]
        | None
    ) = None
    """Namespaces whose pods may connect, by a NetworkPolicy. Absent: any; empty: none. Example: [ml]."""
