"""What is said when the configuration is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tacho_contract import codec
from tacho_contract.failure import Failure
from tacho_contract.launch import ENV_RUNTIME_CONFIG
from tacho_runtime import __main__ as command


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "TACHO_RUNTIME_CONFIG cannot be read"),
        ("{", "not JSON"),
        ("{}", "missing"),
        ('{"revision": 7}', "RuntimeConfig.revision: expected str, got int"),
    ],
)
def test_a_wrong_pod_configuration_reaches_the_termination_message(
    text: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "termination"
    log.touch()
    monkeypatch.setattr(command, "TERMINATION_LOG", str(log))
    monkeypatch.delenv(ENV_RUNTIME_CONFIG, raising=False)
    if text is not None:
        monkeypatch.setenv(ENV_RUNTIME_CONFIG, text)
    assert command.main() == 1
    failure = codec.loads(Failure, log.read_bytes())
    assert failure.failure_class == "InvalidConfig"
    assert words in failure.message


def test_outside_of_a_pod_no_termination_message_is_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "termination"
    monkeypatch.setattr(command, "TERMINATION_LOG", str(log))
    monkeypatch.delenv(ENV_RUNTIME_CONFIG, raising=False)
    assert command.main() == 1
    assert not log.exists()
    assert "InvalidConfig" in capsys.readouterr().err
