"""Scaling policies by name, with their defaults."""

from __future__ import annotations

from tacho_simulate.policies import (
    aibrix,
    greedy,
    hpa,
    kaito,
    kubeai,
    production_stack,
    static,
    tacho,
    wva,
)
from tacho_simulate.policy import Factory

POLICIES: dict[str, Factory] = {
    "tacho": tacho.make,
    "static": static.make,
    "hpa-queue": hpa.on_queue,
    "hpa-kv-cache": hpa.on_kv_cache,
    "hpa-concurrency": hpa.on_concurrency,
    "kubeai": kubeai.make,
    "aibrix-apa": aibrix.make_apa,
    "aibrix-kpa": aibrix.make_kpa,
    "kaito": kaito.make,
    "production-stack": production_stack.make,
    "production-stack-operator": production_stack.make_operator,
    "wva": wva.make,
    "greedy": greedy.make,
}
