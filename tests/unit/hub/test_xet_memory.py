"""What Xet's native client may hold in memory, as it says itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tacho_operator.core.manifests.containers import FETCH
from tacho_runtime.hub.fetch import PARALLEL_FILES

pytest.importorskip("hf_xet")
PROGRAM = """
from tacho_runtime.hub.remote import prepare_environment
prepare_environment("")
import hf_xet
config = hf_xet.XetConfig()
for name in ("size", "perfile_size", "limit"):
    print(config.get(f"reconstruction.download_buffer_{name}"))
print(config.get("telemetry.enabled"))
"""


@pytest.mark.parametrize("fast", ["0", "1"])
def test_it_fits_the_fetch_container_whatever_the_disk_does(fast: str) -> None:
    environment = {**os.environ, "HF_XET_HIGH_PERFORMANCE": fast}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    *sizes, telemetry = done.stdout.split()
    whole, each, limit = map(int, sizes)
    assert FETCH["limits"]["memory"] == "2Gi"
    assert whole + PARALLEL_FILES * each <= limit <= 2**30
    assert telemetry == "False"
