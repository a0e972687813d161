"""The work of ``tacho probe NAME``: asks the operator to measure a deployment again, and follows it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timezone

from tacho_operator.cli.figures.read import figures
from tacho_operator.cli.inputs.kubectl import RESOURCE, Target, annotated, deployment, found, listed
from tacho_operator.cli.output.formats import FigureFormat
from tacho_operator.cli.output.problems import (
    EXIT_BAD_INPUT,
    EXIT_INTERRUPTED,
    EXIT_NOT_MEASURED,
    EXIT_PROVISIONAL,
    CommandError,
)
from tacho_operator.cli.output.progress import following
from tacho_operator.cli.probe.entry import verdict
from tacho_operator.cli.probe.request import ended, request_text, seen, stage, tried, unanswered
from tacho_operator.cli.probe.show import show
from tacho_operator.cli.status.screen import service_level
from tacho_operator.core import names
from tacho_operator.core.types import Manifest

LOOK_SECONDS = 2.0
STATUS_SECONDS = 15.0
"""Within which the status follows what the operator keeps elsewhere."""
LONGEST_SECONDS = 3600.0
"""An engine takes minutes to start; who waits for longer than this waits for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The options of ``tacho probe NAME``."""

    name: str
    target: Target
    disrupt: bool = False
    output: FigureFormat = FigureFormat.table


def execute(order: Order) -> int:
    """Asks, follows, prints; returns the exit code. Raises CommandError."""
    try:
        resource = deployment(order.target, order.name)
        entry = _measured(order, resource)
    except CommandError as error:
        # Its 1 is an answer here.
        code = EXIT_NOT_MEASURED if error.code == EXIT_BAD_INPUT else error.code
        raise CommandError(str(error), code=code) from None
    except KeyboardInterrupt:
        raise CommandError(
            f"interrupted; the measurement goes on, and tacho status {order.name} shows it",
            code=EXIT_INTERRUPTED,
        ) from None
    told = figures(entry, service_level(resource))
    title = f"{resource['metadata']['namespace']}/{order.name}"
    show(entry, told, title, order.output)
    return verdict(told)


def _measured(order: Order, resource: Manifest) -> Manifest:
    """The new entry. Raises CommandError where there is none."""
    if ((resource["spec"].get("probe") or {}).get("policy")) == "Disabled":
        raise CommandError(f"{order.name} is not measured: its spec.probe.policy is Disabled")
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    request = request_text(now, disrupt=order.disrupt)
    before = seen(resource)
    annotated(order.target, order.name, names.MEASURE_AGAIN_ANNOTATION, request)
    deadline, said, since = time.monotonic() + LONGEST_SECONDS, "", None
    with following() as progress:
        while time.monotonic() < deadline:
            resource, live = _look(order)
            outcome = ended(resource, live, request, before) if live else None
            if live and outcome is None and tried(live, request):
                since = since or time.monotonic()
                late = time.monotonic() - since > STATUS_SECONDS
                outcome = unanswered(resource, live, request, before) if late else None
            if outcome is None and (words := stage(resource, _throwaway(order), live, request)) != said:
                progress(words)
                said = words
            if outcome and outcome.entry is not None:
                return outcome.entry
            if outcome:
                code = EXIT_PROVISIONAL if outcome.provisional else EXIT_NOT_MEASURED
                raise CommandError(f"no new figures: {outcome.why}", code=code)
            time.sleep(LOOK_SECONDS)
    raise CommandError(f"the operator has not answered within {LONGEST_SECONDS:.0f} s; is it running?")


def _look(order: Order) -> tuple[Manifest, Manifest | None]:
    """The resource, and the ConfigMap on which the operator keeps what it dealt with, where there is one."""
    live = names.live_config_name(order.name)
    objects = found(order.target, f"{RESOURCE}/{order.name}", f"configmap/{live}")
    by_kind = {item["kind"]: item for item in objects}
    if "LLMDeployment" not in by_kind:
        raise CommandError(f"{order.name} was deleted meanwhile")
    return by_kind["LLMDeployment"], by_kind.get("ConfigMap")


def _throwaway(order: Order) -> list[Manifest]:
    selector = f"{names.DEPLOYMENT_LABEL}={order.name},{names.ROLE_LABEL}={names.ROLE_PROBE}"
    return listed(order.target, "pods", selector)
