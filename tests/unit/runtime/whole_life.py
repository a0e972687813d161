"""The zipapp from its start over readiness, a report and metrics to a drain, on one interpreter."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tests.unit.runtime.running import FAKE_CHILD, custom_config, running


def live(python: str, zipapp: Path, folder: Path) -> None:
    """As in a pod: isolated, without site-packages, with the engine on the same interpreter."""
    program = (python, "-I", "-S", str(zipapp))
    plain = custom_config(folder)
    assert plain.custom is not None
    engine = (python, str(FAKE_CHILD), "--port", "$(TACHO_PORT)", "--healthy-after", "0.2")
    config = dataclasses.replace(plain, custom=dataclasses.replace(plain.custom, command=engine))
    with running(config, folder, program=program) as runtime:
        runtime.until_ready()
        assert runtime.get("/livez")[0] == 200
        assert runtime.report()["revision"] == config.revision
        assert "tacho_runtime_" in runtime.get("/metrics")[1]
        assert runtime.stop() == 0
        assert "Traceback" not in runtime.log()
        assert "Warning" not in runtime.log()
