"""What a person sees of a resource that cannot go on: Ready's reason, its words, and kubectl's row."""

from __future__ import annotations

from typing import Any

from tests.e2e.resource import PATIENCE_SECONDS, Llmd, eventually


def row(llmd: Llmd) -> list[str]:
    """The cells of ``kubectl get llmd NAME``."""
    return llmd.cluster.kubectl("get", "llmd", llmd.name, "-n", llmd.namespace, "--no-headers").split()


def refused(llmd: Llmd, reason: str, *words: str, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
    """Ready once it is False for ``reason`` and the present spec, with every one of ``words`` in the message
    and the reason in the row."""
    generation = llmd.get()["metadata"]["generation"]

    def look() -> dict[str, Any] | None:
        ready = llmd.condition("Ready")
        said = (ready.get("status"), ready.get("reason"), ready.get("observedGeneration"))
        return ready if said == ("False", reason, generation) else None

    found = eventually(f"{llmd.name} with Ready=False {reason}", look, seconds)
    missing = [word for word in words if word not in found["message"]]
    assert not missing, f"{missing} not in: {found['message']}"
    cells = eventually("the reason in kubectl's row", lambda: at if reason in (at := row(llmd)) else None)
    assert cells[cells.index(reason) - 1] == "False"
    print(f"{' '.join(cells)}\n  {found['message']}")
    return found
