"""The command line: where the configuration comes from, and what is said when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tacho_contract import __version__, codec
from tacho_contract.failure import Failure
from tacho_contract.launch import ENV_RUNTIME_CONFIG
from tacho_runtime import __main__ as command


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "TACHO_RUNTIME_CONFIG is not set"),
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
    assert command.main([]) == 1
    failure = codec.loads(Failure, log.read_bytes())
    assert failure.failure_class == "InvalidConfig"
    assert words in failure.message


def test_outside_of_a_pod_no_termination_message_is_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "termination"
    monkeypatch.setattr(command, "TERMINATION_LOG", str(log))
    monkeypatch.delenv(ENV_RUNTIME_CONFIG, raising=False)
    assert command.main([]) == 1
    assert not log.exists()
    assert "InvalidConfig" in capsys.readouterr().err


def test_a_configuration_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["run", "--config", "/nowhere.json"]) == 1
    assert "InvalidConfig: /nowhere.json cannot be read" in capsys.readouterr().err
