"""The audit passes only where an advisory database answered."""

from __future__ import annotations

import json
import subprocess

import pytest

from tools import audit

TOLD = json.dumps({"dependencies": [{"name": "jinja2", "version": "2.10", "vulns": [{"id": "A"}]}]})
SILENT = json.dumps({"dependencies": [{"name": "jinja2", "version": "2.10", "vulns": []}]})
SKIPPED = json.dumps({"dependencies": [{"name": "jinja2", "skip_reason": "not found"}]})


@pytest.mark.parametrize("answer", ["", "[]", "null", SILENT, SKIPPED])
def test_without_a_database_it_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    monkeypatch.setattr(audit, "audited", lambda *_: subprocess.CompletedProcess([], 0, answer, ""))
    assert audit.main() == 1
    assert "NoAdvisories" in capsys.readouterr().err


@pytest.mark.parametrize(("of_a_lock", "expected"), [(0, 0), (1, 1)])
def test_with_one_the_locks_decide(monkeypatch: pytest.MonkeyPatch, of_a_lock: int, expected: int) -> None:
    seen: list[str] = []

    def audited(*options: str) -> subprocess.CompletedProcess[str]:
        seen.append(options[-1])
        known = "--format" in options
        return subprocess.CompletedProcess([], 1 if known else of_a_lock, TOLD if known else "", "")

    monkeypatch.setattr(audit, "audited", audited)
    assert audit.main() == expected
    assert set(map(str, audit.LOCKS.glob("*.txt"))) <= set(seen)
    assert "--strict" in audit.COMMAND, "an unknown package is not audited"
