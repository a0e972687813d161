"""The front door: exit codes, help, and what help need not import."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tacho_contract import __version__
from tests.unit.cli.commands import call, manifest, play_kubectl
from tools.cluster.ports import free_port
from tools.mock.ggufs import llama

HEAVY = (
    "pydantic",
    "yaml",
    "rich",
    "httpx",
    "kubernetes",
    "aiohttp",
    "huggingface_hub",
    "cel",
    "plotille",
    "jinja2",
    "tacho_operator.core",
)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "Missing option '--file'"),
        (["plan"], "Missing option '--file'"),
        (["nonsense"], "No such command 'nonsense'"),
        (["plan", "-f", "x", "-o", "xml"], "'xml' is not one of 'table', 'wide', 'json', 'yaml', 'name'"),
        (["run", "-f", "x", "--port", "99999"], "Invalid value for '--port'"),
        (["run", "-f", "x", "--frobnicate"], "No such option"),
        (["run", "-f", "x", "--port", "nine"], "Invalid value for '--port'"),
        (["run", "-f", "/nowhere.yaml"], "/nowhere.yaml: No such file"),
        (["plan", "-f", "/nowhere.yaml"], "/nowhere.yaml: No such file"),
    ],
)
def test_usage_errors_are_bad_input(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    told = call(capsys, *arguments)
    assert told.code == 2
    assert words in told.err
    assert told.out == ""


def test_help_and_version_end_well(capsys: pytest.CaptureFixture[str]) -> None:
    told = call(capsys, "--version")
    assert (told.code, told.out) == (0, f"tacho {__version__}\n")
    assert call(capsys, "plan", "--help").code == 0


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom tacho_cli.main import main\nmain(['--help'])\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Commands:" in done.stdout
    assert done.stderr.strip() == "[]"


NEVER = ("prompt_toolkit", "cel.cli", "httpx", "kubernetes", "kopf", "numpy", "plotille")


@pytest.mark.parametrize(
    ("verb", "words", "unneeded"),
    [
        # It fails at the folder: by then the manifest has been checked, by every rule.
        ("run -f {manifest} --pvc models={folder}/none", "none is not a folder", NEVER),
        (
            "status mistral",
            "kubectl is needed to read the cluster and is not installed",
            (*NEVER, "yaml", "tacho_operator.api.types"),
        ),
        ("probe mistral", "of an OpenAI-compatible server is expected", (*NEVER[:2], *NEVER[3:])),
    ],
)
def test_a_verb_imports_what_it_needs(
    tmp_path: Path, verb: str, words: str, unneeded: tuple[str, ...]
) -> None:
    arguments = verb.format(manifest=manifest(tmp_path), folder=tmp_path).split()
    program = (
        f"import sys\nfrom tacho_cli.main import main\nmain({arguments!r})\n"
        f"print([name for name in {unneeded!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert words in done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["tacho", "kubectl-tacho"])
def test_both_names_are_the_same_command(name: str) -> None:
    program = Path(sys.executable).with_name(name)
    done = subprocess.run([str(program), "--help"], capture_output=True, text=True, check=True)
    shown = "kubectl tacho" if name == "kubectl-tacho" else "tacho"
    assert done.stdout.startswith(f"Usage: {shown} [OPTIONS] COMMAND")
    assert done.stdout.split("\n", 1)[1].count("Plan an LLMDeployment") == 1


def test_names_of_the_cluster_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = '{"items": [{"metadata": {"name": "mistral"}}, {"metadata": {"name": "llama"}}]}'
    play_kubectl(tmp_path, monkeypatch, f"echo '{names}'\n")
    done = subprocess.run(
        [sys.executable, "-c", "from tacho_cli.main import complete\ncomplete()", "status", "mis"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["mistral", ":4"]


def test_ctrl_c_is_told_and_has_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_kubectl(tmp_path, monkeypatch, 'echo \'{"metadata": {"name": "x"}}\'\n')
    program = (
        "import signal, sys\nfrom tacho_cli.main import main\n"
        # A shell's background processes ignore Ctrl-C.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\nsys.exit(main(['status', 'x', '--watch']))"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "asked").exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert err.endswith("tacho: interrupted\n")


GONE = {
    "help": "plan --help",
    "bad input": "plan -f /nowhere.yaml",
    "plan": "plan -f {file} --gpu L4 -o json",
    "simulate": "simulate --trace {trace} --measurement examples/simulate/vllm-bf16.json -o csv",
    "status": "status",
    "logs": "logs tiny",
    "doctor": "doctor",
}


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["at the end", "at once"])
def test_a_reader_that_has_gone_is_no_verdict(unbuffered: str) -> None:
    done = into_nothing(["--version"], errors=subprocess.PIPE, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_verdict(closed: str) -> None:
    tacho = f"{sys.executable} -m tacho_cli.main --version"
    assert subprocess.run(["bash", "-c", f"{tacho} {closed}"], check=False).returncode == 0


def test_with_a_closed_stdin_a_model_is_inspected(tmp_path: Path) -> None:
    """The inspection's answer had the number of its stdin, and was lost."""
    tacho = f"{sys.executable} -m tacho_cli.main plan -f {manifest(tmp_path)} --pvc models={tmp_path}"
    done = subprocess.run(["bash", "-c", f"{tacho} <&-"], check=False, stderr=subprocess.PIPE)
    assert done.stderr.startswith(b"tacho: ModelNotFound")


@pytest.mark.parametrize("command", GONE.values(), ids=GONE)
def test_a_reader_of_everything_may_go_at_any_write(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in: tacho plan ... 2>&1 | head -1: the first write may be an error's."""
    play_kubectl(tmp_path, monkeypatch, "echo '{\"items\": []}'\n")
    trace = tmp_path / "trace.csv"
    trace.write_text("time_s,input_tokens,output_tokens\n" + "".join(f"{at},400,100\n" for at in range(99)))
    words = command.format(file=manifest(tmp_path), trace=trace).split()
    assert into_nothing(words).returncode == 141


def into_nothing(
    arguments: list[str], errors: int | None = None, **env: str
) -> subprocess.CompletedProcess[bytes]:
    """A command whose stdout is a pipe that nobody reads; stderr, too, unless ``errors`` says otherwise."""
    unread, output = os.pipe()
    os.close(unread)
    program = "import sys\nfrom tacho_cli.main import main\nsys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        stdout=output,
        stderr=output if errors is None else errors,
        env=os.environ | env,
        check=False,
    )
    os.close(output)
    return done


def test_a_missing_engine_names_the_extra_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacho_cli.run.setup.find_spec", lambda _: None)
    told = call(capsys, "run", "-f", manifest(tmp_path))
    assert told.code == 3
    assert "uv pip install '.[llamacpp]'" in told.err
    assert "inspecting" not in told.err


def test_what_does_not_fit_on_this_machine_is_not_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    llama(tmp_path / "smollm2" / "a.gguf")
    small = {"name": "llamacpp", "resources": {"limits": {"memory": "8Mi"}}}
    ports = ["--port", str(free_port()), "--report-port", str(free_port())]
    file = manifest(tmp_path, engine=small)
    told = call(capsys, "run", "-f", file, "--pvc", f"models={tmp_path}", *ports)
    assert told.code == 4
    assert "tacho: DoesNotFit: " in told.err
    assert "\n  -> " in told.err


def test_a_log_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ports = ["--port", str(free_port()), "--report-port", str(free_port())]
    told = call(capsys, "run", "-f", manifest(tmp_path), "--log", f"{tmp_path}/no/log", *ports)
    assert told.code == 2
    assert told.err == f"tacho: --log {tmp_path}/no/log: No such file or directory\n"
