"""One grammar for all verbs: formats, shared options, exit codes, colours, completion."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest
import typer
from typer.core import TyperGroup

from tacho_cli.main import app
from tacho_cli.problems import EXIT_MEANINGS, ExitCode
from tests.unit.cli.commands import call, manifest, play_kubectl
from tests.unit.cli.test_status import cluster  # noqa: F401 - a fixture
from tools import cli_page
from tools.cli_page import VERBS
from tools.mock.ggufs import llama

ALL_FORMATS = ("table", "wide", "json", "yaml", "name", "html", "csv")
REQUIRED = {
    "plan": ("-f", "x"),
    "run": ("-f", "x"),
    "probe": ("x",),
    "logs": ("x",),
    "simulate": ("--trace", "x"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_format_without_a_meaning_is_refused_with_those_that_have_one(
    capsys: pytest.CaptureFixture[str],
    cluster: Path,  # noqa: F811
    verb: str,
) -> None:
    possible = cli_page.formats()[verb]
    assert set(possible) <= set(ALL_FORMATS)
    for output in set(ALL_FORMATS) - set(possible):
        told = call(capsys, verb, *REQUIRED.get(verb, ()), "-o", output)
        assert (told.code, told.out) == (ExitCode.BAD_INPUT, "")
        words = " ".join(told.err.split())
        assert f"'{output}' is not " in words
        assert all(f"'{one}'" in words for one in possible)
    assert not (cluster / "asked").exists(), "refused before anything is read"


def test_help_has_no_cut_sentence_and_no_name_of_a_type(capsys: pytest.CaptureFixture[str]) -> None:
    summary = call(capsys, "--help").out.split("Commands:\n")[1].split("Exit codes:")[0]
    rows = [line.split(maxsplit=1) for line in summary.splitlines() if line.strip()]
    assert [verb for verb, _ in rows] == list(VERBS), "a line each"
    assert all(text.endswith(".") and not text.endswith("...") for _, text in rows)
    for verb in VERBS:
        told = call(capsys, verb, "--help").out
        options = told.split("Options:\n")[1]
        assert not re.search(r"<(str|int|int range|float range|list\[str\])>", options), verb
        assert "[[" not in told


@pytest.mark.parametrize("namespace", ["Bad NS", "--all-namespaces", "-A", "a/b"])
def test_a_namespace_that_none_can_be_never_reaches_kubectl(
    capsys: pytest.CaptureFixture[str],
    cluster: Path,  # noqa: F811
    namespace: str,
) -> None:
    told = call(capsys, "status", "-n", namespace)
    assert (told.code, told.out) == (ExitCode.BAD_INPUT, "")
    assert "is no name of an object" in " ".join(told.err.split())
    assert not (cluster / "asked").exists()


def test_every_exit_code_is_in_the_table() -> None:
    assert list(VERBS) == list(cast(TyperGroup, typer.main.get_command(app)).commands)
    assert list(EXIT_MEANINGS) == sorted(ExitCode), "a code has one meaning"
    assert len(ExitCode) == len(ExitCode.__members__), "and one name"


def test_help_ends_with_the_codes(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ((), *((verb,) for verb in VERBS)):
        codes = call(capsys, *verb, "--help").out.split("Exit codes:\n")[1]
        found = [line.split()[0] for line in codes.splitlines() if not line.startswith(" " * 7)]
        assert found == [str(code) for code in EXIT_MEANINGS]


def test_the_page_is_that_of_the_command() -> None:
    assert cli_page.PAGE.read_text() == cli_page.page()


def printed_on_a_terminal(*arguments: str, **environment: str) -> str:
    """What a terminal gets of the command."""
    terminal, screen = pty.openpty()
    command = [sys.executable, "-m", "tacho_cli.main", *arguments]
    plain = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")}
    with subprocess.Popen(command, stdout=screen, env=plain | {"TERM": "xterm"} | environment) as process:
        os.close(screen)
        found = b""
        while True:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # how the end of a terminal reads on Linux
                break
            if not part:
                break
            found += part
    os.close(terminal)
    assert process.returncode == 0
    return found.decode()


def test_only_a_terminal_has_colours_and_not_with_no_color(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    llama(tmp_path / "smollm2" / "a.gguf")
    plan = ("plan", "-f", manifest(tmp_path), "--pvc", f"models={tmp_path}")
    assert "\x1b[1;32msmollm2: fits\x1b[0m" in printed_on_a_terminal(*plan)
    assert "\x1b[1msmollm2: fits\x1b[0m" in printed_on_a_terminal(*plan, NO_COLOR="1"), "bold is no colour"
    assert "\x1b" not in printed_on_a_terminal(*plan, TERM="dumb")
    assert "\x1b" not in call(capsys, *plan).out


PROGRAM = Path(sys.executable).with_name("tacho")
SHELLS = {
    "bash": (
        "source <(tacho --show-completion bash); COMP_WORDS=({words}); COMP_CWORD={last}; "
        '_tacho_completion tacho; printf "%s\\n" "${{COMPREPLY[@]}}"'
    ),
    "zsh": (
        "compdef() {{ :; }}; _arguments() {{ print -r -- $@; }}; words=({words}); CURRENT=$#words; "
        "source <(tacho --show-completion zsh); _tacho_completion"
    ),
    "fish": "tacho --show-completion fish | source; complete -C '{words}'",
}
"""What a shell does with the script that --show-completion prints, after ``words``."""
WITHOUT_SHELL = (
    "_TACHO_COMPLETE=complete_{shell} _TYPER_COMPLETE_FISH_ACTION=get-args "
    "_TYPER_COMPLETE_ARGS='{words}' tacho"
)
"""The command in that script, for a machine that lacks the shell."""


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("tacho sta", ("status",)),
        ("tacho status --all", ("--all-namespaces",)),
        ("tacho plan -o w", ("wide",)),
        ("tacho status mis", ("mistral",)),
        ("tacho logs -n ml mis", ("mistral",)),
    ],
)
def test_each_shell_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str, words: str, expected: tuple[str, ...]
) -> None:
    program = shutil.which(shell)
    script = SHELLS[shell] if program else WITHOUT_SHELL
    play_kubectl(tmp_path, monkeypatch, """echo '{"items": [{"metadata": {"name": "mistral"}}]}'\n""")
    monkeypatch.setenv("PATH", f"{tmp_path}:{PROGRAM.parent}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    script = script.format(shell=shell, words=words, last=len(words.split()) - 1)
    done = subprocess.run([program or "bash", "-c", script], capture_output=True, text=True, check=False)
    found = [line.split("\t")[0] for line in done.stdout.splitlines()]
    if shell == "zsh":
        found = [part.split('"')[1] for part in done.stdout.splitlines() if '"' in part]
    assert tuple(found) == expected, done
