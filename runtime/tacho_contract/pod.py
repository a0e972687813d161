"""Paths, file names and ports in a model pod, as operator and runtime both use them."""

from __future__ import annotations

# --- where things are in a model pod -------------------------------------------------------------
TACHO_DIR = "/tacho"
"""emptyDir shared by the inject, fetch and engine containers."""
ZIPAPP_IN_IMAGE = "/opt/tacho/tacho-runtime.pyz"
ZIPAPP = f"{TACHO_DIR}/runtime.pyz"
STATE_DIR = f"{TACHO_DIR}/state"
"""Folder of the last report, so that a restarted container does not measure again."""
HOME_DIR = f"{TACHO_DIR}/home"
FETCH_DIR = f"{TACHO_DIR}/fetch"
MODEL_DIR = "/models"
"""Mount path of the cache volume, or of the claim of a pvc:// model."""
CACHE_DIR = f"{TACHO_DIR}/cache"
"""Folder where engines keep what they compile and convert; on the claim of ``spec.cache`` if set."""
CACHE_FOLDER = "tacho-compiled"
"""Name of that folder on the claim."""
LIVE_DIR = "/etc/tacho"
LIVE_FILE = f"{LIVE_DIR}/live.json"
TERMINATION_LOG = "/dev/termination-log"

ENGINE_PORT = 8000
HEALTH_PATH = "/health"
"""HTTP path of the engine's health check, unless configured otherwise."""
RUNTIME_PORT = 9400
