"""Settings and progress of the fetch sidecar, which downloads the model."""

from __future__ import annotations

from dataclasses import dataclass, field

from tacho_contract.codec import flat
from tacho_contract.failure import Failure
from tacho_contract.model import FileSet
from tacho_contract.pod import FETCH_DIR, MODEL_DIR

ENV_FETCH_CONFIG = "TACHO_FETCH_CONFIG"


# --- fetching -------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class FetchConfig:
    """Settings of the fetch sidecar, in the environment variable TACHO_FETCH_CONFIG. The hub token is in
    HF_TOKEN."""

    repository: str
    files: FileSet = field(metadata=flat(globs="files"))
    """The planned files. If the hub lists other files for the commit, nothing is downloaded."""
    cache_dir: str = MODEL_DIR
    endpoint: str = ""
    state_dir: str = FETCH_DIR
    """Folder of ``progress.json`` (FetchProgress, replaced atomically) and, at the end, of ``complete``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchProgress:
    """The progress of a download. Bytes already in the cache count as downloaded."""

    state: str
    """State of the download: Listing, Downloading, Verifying, Complete or Failed."""
    bytes_done: int = 0
    bytes_total: int = 0
    elapsed_seconds: float = 0.0
    resumed_bytes: int = 0
    """Bytes that an earlier attempt had already downloaded."""
    verified_bytes: int = 0
    """Bytes that were read back from the disk and compared with the hub's digests."""
    path: str = ""
    """Folder of the files, in state Complete; else ""."""
    failure: Failure | None = None


PROGRESS_FILE = "progress.json"
COMPLETE_FILE = "complete"


def snapshot_dir(cache_dir: str, repository: str, commit: str) -> str:
    """The folder below ``cache_dir`` in which the hub client has the files of a repository at a commit."""
    return f"{cache_dir}/hub/models--{repository.replace('/', '--')}/snapshots/{commit}"
