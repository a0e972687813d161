"""Reads the measurements to simulate from, out of measurement files and measured LLMDeployments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from tacho_cli.inputs.document import every, load, typed
from tacho_cli.problems import CommandError
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.measurement.states import current

MEASUREMENT = "a file with an entry of status.measurements, as tacho probe -o json prints it"


@dataclass(frozen=True, slots=True)
class MeasurementSource:
    """A measurement to simulate from: a measurement file, or an LLMDeployment in a manifest file."""

    quantization: str
    """Quantization method of the model; empty: unknown."""
    place: str
    options: dict[str, str]
    """The fields of DeploymentOptions that select it."""


def measured(files: Sequence[str], measurements: Sequence[str], name: str) -> tuple[MeasurementSource, ...]:
    """The measurements in the measurement files, else those of the LLMDeployments in ``files``; only
    ``name``'s if given.

    Raises CommandError.
    """
    if measurements:
        return tuple(
            MeasurementSource(read_entry(file).quantization_method or "", file, {"measurement": file})
            for file in dict.fromkeys(measurements)
        )
    found = []
    for file in dict.fromkeys(files):
        for raw in every(file, name):
            resource = typed(raw, file)[1]
            entry = current(resource.status.measurements)
            if entry is not None:
                method = entry.quantization_method or _planned(resource)
                own = resource.metadata.name
                found.append(MeasurementSource(method, f"{file} ({own})", {"file": file, "name": own}))
    return tuple(found)


def _planned(resource: LLMDeployment) -> str:
    plan = resource.status.plan
    return (plan.quantization_method if plan else None) or ""


def entry_of(resource: LLMDeployment | None, file: str, measurement: str) -> MeasurementEntry:
    """The measurement in the file ``measurement``, else the current one of the resource in ``file``. Raises
    CommandError."""
    if measurement:
        return read_entry(measurement)
    if resource is None:
        raise CommandError(
            "a measurement is required",
            "  -> give --measurement FILE (from tacho probe … -o json) or an LLMDeployment "
            "with its status (-f FILE, from kubectl get llmd NAME -o yaml)",
        )
    found = current(resource.status.measurements)
    if found is None:
        raise CommandError(
            f"{file}: no current measurement in its status",
            "  -> take it from the cluster (kubectl get llmd NAME -o yaml), or add --measurement FILE, from: "
            "tacho probe … -o json",
        )
    return found


def read_entry(file: str) -> MeasurementEntry:
    """The measurement in a file, or the current one of the resource in it. Raises CommandError."""
    document = load(file, MEASUREMENT)
    status = document.get("status") if isinstance(document, dict) else None
    try:
        if not isinstance(status, dict):
            return MeasurementEntry.model_validate(document)
        entries = [MeasurementEntry.model_validate(item) for item in status.get("measurements") or ()]
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the document"
        message = f"{file}: not an entry of status.measurements: {where}: {problem['msg']}"
        raise CommandError(message) from None
    found = current(entries)
    if found is None:
        raise CommandError(f"{file}: no current measurement in its status")
    return found
