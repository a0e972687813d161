"""The ways of scaling that are known, by name, with their defaults."""

from __future__ import annotations

from tacho_operator.simulate.policies import (
    aibrix,
    hpa,
    kaito,
    kubeai,
    oracle,
    production_stack,
    static,
    tacho,
    wva,
)
from tacho_operator.simulate.policy import Factory

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
    "oracle": oracle.make,
}
