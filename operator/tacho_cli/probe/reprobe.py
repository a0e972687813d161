"""Runs ``tacho probe NAME``: requests a measurement from the operator, and follows its progress."""

from __future__ import annotations

import time
from datetime import datetime, timezone

from tacho_cli.figures.read import measurement_view
from tacho_cli.inputs.kubectl import RESOURCE, KubectlTarget, annotate, deployment, found, listed
from tacho_cli.output import FigureFormat, following
from tacho_cli.probe.request import ended, request_text, seen, stage, tried, unanswered
from tacho_cli.probe.show import show, verdict
from tacho_cli.problems import CommandError, ExitCode
from tacho_cli.status.screen import service_level
from tacho_operator.core import names
from tacho_operator.core.types import Manifest

SAMPLE_INTERVAL_SECONDS = 2.0
STATUS_SECONDS = 15.0
"""Seconds in which status must show that the operator received the request."""
MAX_SECONDS = 3600.0
"""Seconds after which the command stops waiting; an engine takes minutes to start."""


def execute(target: KubectlTarget, name: str, *, disrupt: bool, output: FigureFormat) -> int:
    """Requests a measurement, follows it, prints it; returns the exit code. Raises CommandError."""
    try:
        resource = deployment(target, name)
        entry = _measured(target, name, resource, disrupt=disrupt)
    except KeyboardInterrupt:
        raise CommandError(
            f"interrupted; the measurement goes on, and tacho status {name} shows it",
            code=ExitCode.INTERRUPTED,
        ) from None
    view = measurement_view(entry, service_level(resource))
    title = f"{resource['metadata']['namespace']}/{name}"
    show(entry, view, title, output)
    return verdict(view)


def _measured(target: KubectlTarget, name: str, resource: Manifest, *, disrupt: bool) -> Manifest:
    """The new entry of status.measurements. Raises CommandError where none was made."""
    if ((resource["spec"].get("probe") or {}).get("policy")) == "Disabled":
        raise CommandError(f"{name} is not measured: its spec.probe.policy is Disabled")
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    token = request_text(now, disrupt=disrupt)
    before, pods = seen(resource), f"{names.DEPLOYMENT_LABEL}={name},{names.ROLE_LABEL}={names.ROLE_PROBE}"
    annotate(target, name, names.MEASURE_AGAIN_ANNOTATION, token)
    deadline, shown_stage, since = time.monotonic() + MAX_SECONDS, "", None
    with following() as progress:
        while time.monotonic() < deadline:
            resource, live = _observe(target, name)
            outcome = ended(resource, live, token, before) if live else None
            if live and outcome is None and tried(live, token):
                since = since or time.monotonic()
                late = time.monotonic() - since > STATUS_SECONDS
                outcome = unanswered(resource, live, token, before) if late else None
            if (
                outcome is None
                and (message := stage(resource, listed(target, "pods", pods), live, token)) != shown_stage
            ):
                progress(message)
                shown_stage = message
            if outcome and outcome.entry is not None:
                return outcome.entry
            if outcome:
                code = ExitCode.PROVISIONAL if outcome.provisional else ExitCode.FAILED
                raise CommandError(f"no new figures: {outcome.why}", code=code)
            time.sleep(SAMPLE_INTERVAL_SECONDS)
    why = f"the operator has not answered within {MAX_SECONDS:.0f} s; is it running?"
    raise CommandError(why, code=ExitCode.FAILED)


def _observe(target: KubectlTarget, name: str) -> tuple[Manifest, Manifest | None]:
    """The resource, and the live ConfigMap with the operator's notes; None where the ConfigMap does not
    exist."""
    live = names.live_config_name(name)
    objects = found(target, f"{RESOURCE}/{name}", f"configmap/{live}")
    by_kind = {item["kind"]: item for item in objects}
    if "LLMDeployment" not in by_kind:
        raise CommandError(f"{name} was deleted meanwhile", code=ExitCode.FAILED)
    return by_kind["LLMDeployment"], by_kind.get("ConfigMap")
