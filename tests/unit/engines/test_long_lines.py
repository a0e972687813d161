"""Lines of a log that hold what a client or a model's author chose, as long as they like."""

from __future__ import annotations

import pytest

from tacho_engines.base import EngineStartup
from tacho_engines.registry import ENGINES, runtime_adapter
from tacho_runtime.probe.load.engine_counters import _LABEL

LENGTH = 200_000
"""Characters for which a pattern of quadratic time takes minutes."""
CHOSEN = (
    "0", "0.", "a", "a.", "é", "(", "python(", "_", "x ", "error: argument --", "CUDA ",
    "Model architectures [", "model type `a", "max seq len (", "allocating 1 MiB on device 1",
    "Free memory on device (", "Xid ",
)  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("engine", ENGINES)
def test_no_line_keeps_the_reader_of_a_log_for_long(engine: str) -> None:
    """While it reads, nobody empties the engine's output, and an engine that cannot log stands still."""
    run = runtime_adapter(engine)
    for chosen in CHOSEN:
        for begin in ("", "error: argument "):
            line = begin + chosen * (LENGTH // len(chosen))
            run.names_cause(line)
            run.read(EngineStartup(), line)


@pytest.mark.timeout(60)
def test_no_label_of_a_metric_does() -> None:
    assert len(_LABEL.findall('a="' + 'b=\\"' * LENGTH)) == 1
    assert _LABEL.findall('a="1",b="x\\"y",c=""') == [("a", "1"), ("b", 'x\\"y'), ("c", "")]
