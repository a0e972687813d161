"""What the tests of fetch share: a model on a hub, and what a finished or failed fetch leaves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tacho_contract import codec
from tacho_contract.failure import Failure
from tacho_contract.fetch import FetchConfig, FetchProgress, snapshot_dir
from tacho_contract.model import InspectConfig
from tacho_contract.uri import HubUri
from tacho_runtime.hub.fetch import fetch
from tacho_runtime.hub.inspect import inspect

if TYPE_CHECKING:
    from tests.unit.hub.conftest import RunningHub

MODEL = os.urandom(6_000_000)
TOKEN = "hf_not_to_be_written_anywhere"


def planned(
    hub: RunningHub, tmp_path: Path, token: str = "", files: tuple[str, ...] = ("*.bin", "config.json")
) -> FetchConfig:
    """What the operator would configure after an inspection."""
    uri = HubUri("acme/model")
    asked = InspectConfig(uri=uri, endpoint=hub.url, parse=False, files=files, engine="custom")
    facts = inspect(asked, token).facts
    assert facts is not None
    return FetchConfig(
        repository="acme/model",
        files=facts.files,
        cache_dir=str(tmp_path / "cache"),
        endpoint=hub.url,
        state_dir=str(tmp_path / "state"),
    )


def progress(config: FetchConfig) -> FetchProgress:
    return codec.loads(FetchProgress, Path(config.state_dir, "progress.json").read_text())


def failed(config: FetchConfig, token: str = "") -> Failure:
    result = fetch(config, token)
    assert isinstance(result, Failure)
    assert result.next_step
    assert not Path(config.state_dir, "complete").exists()
    assert progress(config).state == "Failed"
    assert progress(config).failure == result
    return result


def check_whole(config: FetchConfig, path: str) -> None:
    assert Path(path) == Path(snapshot_dir(config.cache_dir, config.repository, config.files.commit))
    assert Path(path, "weights.bin").read_bytes() == MODEL
    assert sorted(p.name for p in Path(path).iterdir()) == ["config.json", "weights.bin"]
    assert json.loads(Path(config.state_dir, "complete").read_text()) == {"path": path}
    seen = progress(config)
    assert (seen.state, seen.path, seen.failure) == ("Complete", path, None)
    assert seen.bytes_done == seen.bytes_total == config.files.total_bytes
    assert not list(Path(config.cache_dir).rglob("*.incomplete"))


def fetched(config: FetchConfig) -> FetchProgress:
    """The progress of a fetch that brings all files."""
    path = fetch(config, "")
    assert isinstance(path, str)
    check_whole(config, path)
    return progress(config)


def partial_of(config: FetchConfig, size: int, content: bytes = MODEL) -> Path:
    """What a killed download leaves behind."""
    import hashlib

    blobs = Path(config.cache_dir, "hub/models--acme--model/blobs")
    blobs.mkdir(parents=True)
    partial = blobs / f"{hashlib.sha256(MODEL).hexdigest()}.incomplete"
    partial.write_bytes(content[:size])
    return partial
