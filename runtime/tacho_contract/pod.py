"""Paths, file names and ports in a model pod, as operator and runtime both use them."""

from __future__ import annotations

# --- where things are in a model pod -------------------------------------------------------------
TACHO_DIR = "/tacho"
"""emptyDir shared by the inject, fetch and engine containers."""
ZIPAPP_IN_IMAGE = "/opt/tacho/tacho-runtime.pyz"
ZIPAPP = f"{TACHO_DIR}/runtime.pyz"
STATE_DIR = f"{TACHO_DIR}/state"
"""The last report is kept here, so that a restarted container does not measure again."""
HOME_DIR = f"{TACHO_DIR}/home"
FETCH_DIR = f"{TACHO_DIR}/fetch"
MODEL_DIR = "/models"
"""The cache volume, or the claim a pvc:// URI names."""
CACHE_DIR = f"{TACHO_DIR}/cache"
"""A folder of its own on the claim of ``spec.cache``, where engines keep what they compile and convert."""
CACHE_FOLDER = "tacho-compiled"
"""That folder's name on the claim."""
LIVE_DIR = "/etc/tacho"
LIVE_FILE = f"{LIVE_DIR}/live.json"
TERMINATION_LOG = "/dev/termination-log"

ENGINE_PORT = 8000
HEALTH_PATH = "/health"
"""Health path of an engine's own API, unless configured otherwise."""
RUNTIME_PORT = 9400
