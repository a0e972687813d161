"""The image that this operator runs, by its own pod. New revisions copy the runtime from that image."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from tacho_contract.pod import ZIPAPP_IN_IMAGE
from tacho_operator.core.revisions.runtime_image import frozen_image
from tacho_operator.core.types import Manifest, RuntimeImage
from tacho_operator.shell.api_errors import Forbidden
from tacho_operator.shell.kube import Kube

logger = logging.getLogger(__name__)

CONTAINER = "operator"


def runtime_sha256() -> str:
    """sha256 of the runtime's file in this image; "" where there is none."""
    file = Path(ZIPAPP_IN_IMAGE)
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


async def own_image(kube: Kube, image: str, namespace: str, pod: str) -> RuntimeImage:
    """``image``, the configured one, by the digest that the operator's pod has, else with the hash of its
    runtime. Without either, as outside of a pod, it is as configured.
    """
    status: Manifest = {}
    try:
        found = await kube.get("Pod", namespace, pod) if pod else None
        status = (found or {}).get("status") or {}
    except Forbidden as error:
        logger.warning("new revisions have no digest of the operator's image: %s", error)
    ids = (item.get("imageID") for item in status.get("containerStatuses") or () if item["name"] == CONTAINER)
    frozen = frozen_image(image, next(ids, None) or "", runtime_sha256())
    logger.info("new revisions copy the runtime from %s %s", frozen.image, frozen.sha256)
    return frozen
