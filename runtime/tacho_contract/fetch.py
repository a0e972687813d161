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
    """A listing of the pinned commit that has another digest is refused."""
    cache_dir: str = MODEL_DIR
    endpoint: str = ""
    state_dir: str = FETCH_DIR
    """Gets ``progress.json`` (FetchProgress, replaced atomically) and, when done, ``complete``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchProgress:
    """How far a download is. Bytes already in the cache count as done."""

    state: str
    """Listing | Downloading | Verifying | Complete | Failed."""
    bytes_done: int = 0
    bytes_total: int = 0
    elapsed_seconds: float = 0.0
    resumed_bytes: int = 0
    """Bytes that an earlier attempt had already downloaded."""
    verified_bytes: int = 0
    """Read back from the disk and compared with the digests that the hub lists."""
    path: str = ""
    """Complete: the folder the files are in."""
    failure: Failure | None = None


PROGRESS_FILE = "progress.json"
COMPLETE_FILE = "complete"


def snapshot_dir(cache_dir: str, repository: str, commit: str) -> str:
    """The folder below ``cache_dir`` in which the hub client has the files of a repository at a commit."""
    return f"{cache_dir}/hub/models--{repository.replace('/', '--')}/snapshots/{commit}"
