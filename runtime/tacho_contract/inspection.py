"""Input and output of an inspect pod."""

from __future__ import annotations

from dataclasses import dataclass

from tacho_contract.failure import Failure
from tacho_contract.model import ModelFacts
from tacho_contract.pod import MODEL_DIR
from tacho_contract.uri import ModelUri

ENV_INSPECT_CONFIG = "TACHO_INSPECT_CONFIG"
DEFAULT_REVISION = "main"
"""The hub's own default branch."""

HEADERS = "Headers"
FULL = "Full"
"""What of a model without a commit is compared at each start: names, sizes and headers, or every byte."""


# --- inspection ------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class InspectConfig:
    """Input of an inspect pod, or of ``tacho plan``. Environment TACHO_INSPECT_CONFIG."""

    uri: ModelUri
    revision: str = DEFAULT_REVISION
    files: tuple[str, ...] = ()
    engine: str = ""
    """Which engine will load it, "" while undecided: selects files when ``files`` is empty."""
    parse: bool = True
    """False (engine custom): the files are listed and sized, not parsed."""
    endpoint: str = ""
    """Hub mirror; "" is the library's own default."""
    verification: str = HEADERS
    """Headers | Full. Full, of a claim or folder: every byte is read, for ``ModelFiles.content_digest``."""
    claim_dir: str = MODEL_DIR
    """pvc://: where the claim is mounted."""
    timeout_seconds: int = 120
    """Seconds that an inspection may take, except for reading every byte, which has the same time as loading
    at a start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectResult:
    """The inspect pod's termination message (zlib, then base64)."""

    facts: ModelFacts | None = None
    failure: Failure | None = None
