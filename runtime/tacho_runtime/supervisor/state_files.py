"""Small JSON files on disk: the mounted settings, the download's progress, the last report."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TypeVar

from tacho_contract import codec
from tacho_contract.failure import FailedError, Failure, FailureClass
from tacho_contract.fetch import COMPLETE_FILE, PROGRESS_FILE, FetchProgress
from tacho_contract.launch import LiveConfig
from tacho_contract.measurement import Environment, Measurement, same_machine
from tacho_contract.report import Report
from tacho_runtime.files import read_theirs, replace_file

REPORT_FILE = "report.json"
ENGINE_FAILURE_FILE = "engine-failure.json"
ENGINE_FAILURE_LIMIT_BYTES = 16 * 1024
MARKER_LIMIT_BYTES = 16 * 1024
DOCUMENT_LIMIT_BYTES = 16 * 1024 * 1024
"""Longest file in bytes that is read. The engine has the runtime's user id and may have replaced it."""

T = TypeVar("T")


def read_live(path: str) -> LiveConfig:
    """The mounted settings, which may change while the pod runs. Raises FailedError(InvalidConfig)."""
    try:
        return codec.loads(LiveConfig, Path(path).read_bytes())
    except (OSError, codec.DocumentError) as error:
        raise FailedError.of(
            FailureClass.INVALID_CONFIG,
            f"the live settings in {path} cannot be read: {error}",
            "the ConfigMap with live.json must be mounted there; the operator writes it",
        ) from None


def read_progress(fetch_dir: str) -> FetchProgress | None:
    """Progress of the model's download; None before the first one is written."""
    return _read_document(FetchProgress, Path(fetch_dir, PROGRESS_FILE))


def fetched_path(fetch_dir: str) -> str | None:
    """The model's folder, once the fetch sidecar has written its marker file: all files are there.

    None without a marker, "" if the marker is incomplete, or is none: an earlier engine may have replaced it.
    """
    try:
        marker = json.loads(read_theirs(Path(fetch_dir, COMPLETE_FILE), MARKER_LIMIT_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        return ""
    path = marker.get("path") if isinstance(marker, dict) else None
    return path if isinstance(path, str) else ""


def read_report(state_dir: str) -> Report | None:
    """The report of the last run in this pod; None when it is missing or not readable."""
    return _read_document(Report, Path(state_dir, REPORT_FILE))


def known_measurement(last: Report, environment: Environment) -> Measurement | None:
    """The measurement of the last run in this pod; None where the machine is another by now.

    A node that boots again may have another driver or CPU, and keeps the pod's files.
    """
    is_known = last.environment != Environment()
    return None if is_known and not same_machine(last.environment, environment) else last.measurement


def write_report(state_dir: str, report: Report) -> None:
    """Stores ``report`` for the next run in this pod. If the disk is full, the next run measures again, and
    the service goes on."""
    with contextlib.suppress(OSError):
        replace_file(Path(state_dir, REPORT_FILE), codec.dumps(report))


def engine_failure_path(state_dir: str) -> str:
    """Path of the file in which the engine's launcher may report why it cannot start. Removes the file of an
    earlier run."""
    path = Path(state_dir, ENGINE_FAILURE_FILE)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    return str(path)


def read_engine_failure(state_dir: str) -> Failure | None:
    """Failure that the launcher reported; None where it reported none, or the file is not readable."""
    return _read_document(Failure, Path(state_dir, ENGINE_FAILURE_FILE), ENGINE_FAILURE_LIMIT_BYTES)


def _read_document(kind: type[T], path: Path, limit_bytes: int = DOCUMENT_LIMIT_BYTES) -> T | None:
    try:
        return codec.loads(kind, read_theirs(path, limit_bytes))
    except (OSError, codec.DocumentError):
        return None
