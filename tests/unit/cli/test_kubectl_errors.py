"""What a command says where kubectl fails: its words without its library's log, and the next step."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.commands import call, play_kubectl

LOG = (
    'E1123 17:42:34.907055   27523 memcache.go:265] "Unhandled Error" err="could not get the groups: Get '
    'http://127.0.0.1:1/api: dial tcp 127.0.0.1:1: connect: connection refused"'
)
REFUSED = "The connection to the server {} was refused - did you specify the right host or port?"


@pytest.mark.parametrize(
    ("said", "step"),
    [
        (REFUSED.format("localhost:8080"), "No cluster is named: set KUBECONFIG"),
        (REFUSED.format("127.0.0.1:1"), "Check that the cluster runs"),
        ("Unable to connect to the server: dial tcp: lookup x: no such host", "Check that the cluster runs"),
        ("error: context was not found for specified context: x", "kubectl config get-contexts"),
        ('error: context "x" does not exist', "kubectl config get-contexts"),
        ('error: the server doesn\'t have a resource type "llmdeployments"', "Install the chart"),
        ('Error from server (NotFound): llmdeployments.tacho.dev "x" not found', "tacho status -A lists all"),
        ("Error from server (Forbidden): x is forbidden", "Ask for the role view"),
        ("error: You must be logged in to the server (Unauthorized)", "Log in again"),
    ],
)
@pytest.mark.parametrize("command", ["status", "status x", "logs x", "report", "doctor"])
def test_a_kubectl_that_fails_is_quoted_with_the_next_step(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    said: str,
    step: str,
) -> None:
    (tmp_path / "said").write_text(f"{LOG}\n{said}\n")
    play_kubectl(tmp_path, monkeypatch, f"cat {tmp_path}/said >&2\nexit 1\n")
    told = call(capsys, *command.split())
    assert (told.code, told.out) == (2, "")
    first, *words, last = told.err.splitlines()
    assert first.startswith("tacho: ")
    assert words == [said]
    assert last.startswith(f"  -> {step}")


def test_a_failure_of_another_kind_is_quoted_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    play_kubectl(tmp_path, monkeypatch, "echo 'something else' >&2\nexit 1\n")
    assert call(capsys, "status").err.splitlines()[1:] == ["something else"]


LOGIN = """\
Unable to connect to the server: getting credentials: exec: executable cloud-login not found

It looks like you are trying to use a client-go credential plugin that is not installed.

To learn more about this feature, consult the documentation available at:
      https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""
NESTED = """\
E1126 02:03:15.983907   22596 memcache.go:265] "Unhandled Error" err=<
\tcouldn't get current server API group list: getting credentials: exec: executable cloud-login not found
 >
"""


def test_a_login_program_that_is_not_installed_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "said").write_text(f"{NESTED}{LOGIN}")
    play_kubectl(tmp_path, monkeypatch, f"cat {tmp_path}/said >&2\nexit 1\n")
    _, error, *_, last = call(capsys, "status").err.splitlines()
    assert error == LOGIN.splitlines()[0]
    assert last == "  -> Install the login program that the kubeconfig names, or log in again."
