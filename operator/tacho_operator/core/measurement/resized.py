"""Pods that were resized in place after they were measured, by a VPA or the subresource ``resize``."""

from __future__ import annotations

import dataclasses

from tacho_contract.measurement import Environment
from tacho_operator.core import names
from tacho_operator.core.pods.view import PodView, cpu_limit_millis
from tacho_operator.core.revisions.controller_revision import Revision

ROUNDING_MILLIS = 10
"""Difference of a container's limit from the one that its cgroup has, in thousandths of a CPU, that is no
resize: systemd rounds up to 10, and the kernel takes no less.
"""


def resized_environment(pod: PodView, reported: Environment, revision: Revision | None) -> Environment | None:
    """The environment that a resized pod has now; None: it is as ``reported``, or nothing else is known.

    A pod's generation is 1 until somebody changes its spec. Until then a limit of the node or of an outer
    container explains a difference.
    """
    engine = pod.container(names.ENGINE_CONTAINER)
    now, measured = engine.cpu_limit_millis if engine else None, reported.cpu_limit_millis
    if now is None or pod.generation <= 1:
        return None
    # A cgroup without a limit, of a limited container: it has CPUs of its own, or the node enforces none.
    if measured == 0 and (now == 0 or _is_limited(revision)):
        return None
    if measured and now and abs(now - measured) <= ROUNDING_MILLIS:
        return None
    return dataclasses.replace(reported, cpu_limit_millis=now)


def _is_limited(revision: Revision | None) -> bool:
    """Whether the revision's pods begin with a CPU limit of the engine; True where that is not known."""
    containers = revision.pod_template["spec"]["containers"] if revision else ()
    engine = next((item for item in containers if item["name"] == names.ENGINE_CONTAINER), None)
    return engine is None or bool(cpu_limit_millis(engine.get("resources") or {}))


def resize_text(pod: str, before: Environment, now: Environment) -> str:
    """What was resized, as a sentence."""
    was, has = (_limit(item.cpu_limit_millis) for item in (before, now))
    return f"Pod {pod} was resized: CPU limit {has}, measured with {was}."


def _limit(millis: int) -> str:
    return f"{millis}m" if millis else "none"
