"""A failed import ends an engine as a class of its own, with the module's name: from real child processes."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tacho_contract.failure import FAILURE_KINDS, FailureClass
from tacho_engines.base import Exit
from tacho_engines.registry import ENGINES, runtime_adapter
from tacho_engines.shared.log_patterns import import_failure
from tacho_runtime.supervisor.process import TAIL_LINES, LogTail
from tests.unit.runtime.running import custom_config, running

RUNTIME = Path(__file__).parents[3] / "runtime"
BROKEN = f"broken{sysconfig.get_config_var('EXT_SUFFIX')}"
"""A shared object that no loader takes."""
WRAPPED = "try:\n    import no_such_kernels\nexcept ImportError as error:\n    raise {} from error\n"


def last_lines(folder: Path, *words: str) -> tuple[int, list[str]]:
    """Exit code and lines of a child process that runs Python with ``words``."""
    (folder / BROKEN).write_bytes(b"no shared object")
    environment = {**os.environ, "PYTHONPATH": f"{RUNTIME}:{folder}"}
    done = subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


@pytest.mark.parametrize(
    ("words", "module"),
    [
        (("-c", "import no_such_kernels.marlin"), "no_such_kernels"),
        (("-c", "from json import no_such_name"), "json"),
        (("-c", "import broken"), BROKEN),
        (("-m", "no_such_server"), "no_such_server"),
        (("-m", "no_such_server.api"), "no_such_server"),
        (("-c", "import importlib.metadata as m; m.version('no-such-package')"), "no-such-package"),
        (("-c", "raise ImportError('AWQ requires gptqmodel. Run `pip install gptqmodel`')"), "gptqmodel"),
        (("-c", WRAPPED.format("ImportError('kernels: `pip install -U kernels`')")), "kernels"),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_the_class_and_the_module_of_a_failed_import(
    engine: str, words: tuple[str, ...], module: str, tmp_path: Path
) -> None:
    code, lines = last_lines(tmp_path, *words)
    failure = runtime_adapter(engine).classify(Exit(code=code), lines)
    assert failure.failure_class == "ImportFailed", lines
    assert module in failure.message
    assert not failure.retryable


@pytest.mark.parametrize(
    "code",
    [
        WRAPPED.format("ValueError('a wrong size')"),
        "try:\n    import no_such_kernels\nexcept ImportError as error:\n    print(repr(error))\nexit(1)",
        "import traceback\ntry:\n    import no_such_kernels\nexcept ImportError:\n    traceback.print_exc()\n"
        "raise RuntimeError('the device is gone')",
        WRAPPED.format("AssertionError"),
        WRAPPED.format("NotImplementedError()"),
        "import queue\n" + WRAPPED.format("queue.Empty('no answer')"),
        "import traceback\ntry:\n    import no_such_kernels\nexcept ImportError:\n    traceback.print_exc()\n"
        "exit(143)",
        "import traceback\ntry:\n    import no_such_kernels\nexcept ImportError:\n    traceback.print_exc()\n"
        "exit(0)",
    ],
)
def test_an_import_that_the_engine_survives_is_not_its_end(code: str, tmp_path: Path) -> None:
    ended, lines = last_lines(tmp_path, "-c", code)
    assert runtime_adapter("custom").classify(Exit(code=ended), lines).failure_class == "EngineCrashed"


SURVIVED = "ModuleNotFoundError: No module named 'triton_kernels'"


@pytest.mark.parametrize(
    "after",
    [
        ["INFO:     Application startup complete.", "Killed"],
        ["(EngineCore pid=7) AssertionError"],
        ["(EngineCore pid=7) ERROR 11-22 [core.py:9] zmq.error.Again: Resource temporarily unavailable"],
    ],
)
def test_an_import_before_the_engine_served_or_failed_otherwise_is_not_its_end(after: list[str]) -> None:
    engine = runtime_adapter("vllm")
    assert engine.classify(Exit(code=1), [SURVIVED, *after]).failure_class == "EngineCrashed"
    assert engine.classify(Exit(code=1), [*after, SURVIVED]).failure_class == "ImportFailed"


def test_that_the_engine_served_is_remembered_as_long_as_the_import_before_it() -> None:
    tail = LogTail(runtime_adapter("vllm").names_cause)
    for line in (SURVIVED, "INFO:     Application startup complete.", *["request"] * (2 * TAIL_LINES)):
        tail.add(line)
    assert runtime_adapter("vllm").classify(Exit(code=1), tail.lines()).failure_class == "EngineCrashed"


def test_the_import_of_a_worker_counts_where_its_parent_only_points_at_it(tmp_path: Path) -> None:
    code, lines = last_lines(tmp_path, "-c", "import no_such_kernels")
    worker = [f"(EngineCore pid=7) ERROR 11-22 [core.py:9] {line}" for line in lines]
    parent = "RuntimeError: Engine core initialization failed. See root cause above."
    failure = runtime_adapter("vllm").classify(Exit(code=code), [*worker, "Traceback", parent])
    assert failure.failure_class == "ImportFailed"
    assert "no_such_kernels" in failure.message
    assert all(runtime_adapter("vllm").names_cause(line) for line in worker if "Error:" in line)


def test_a_signal_is_not_an_import(tmp_path: Path) -> None:
    _, lines = last_lines(tmp_path, "-c", "import no_such_kernels")
    assert runtime_adapter("vllm").classify(Exit(signal=11), lines).failure_class == "EngineCrashed"


def test_the_runtime_reports_it_and_no_retry_is_expected(tmp_path: Path) -> None:
    config = custom_config(tmp_path)
    assert config.custom is not None
    command = (sys.executable, "-c", "import no_such_kernels")
    engine = dataclasses.replace(config.custom, command=command)
    with running(dataclasses.replace(config, custom=engine), tmp_path) as runtime:
        assert runtime.ended() == 1
    failure = runtime.failure()
    assert failure.failure_class == "ImportFailed"
    assert "no_such_kernels" in failure.message
    kind = FAILURE_KINDS[FailureClass.IMPORT_FAILED]
    assert (failure.retryable, kind.tries_again, kind.needs_user_action) == (False, False, True)


@pytest.mark.parametrize(
    ("why", "failure_class", "next_step"),
    [
        ("libcuda.so.1: cannot open shared object file", "UnsupportedGPU", "update the node's driver"),
        ("libnccl.so.2: cannot open shared object file", "ImportFailed", "an engine image that has it "),
    ],
)
@pytest.mark.parametrize("line", ["ImportError: {}", "transformers-server: failed (ImportError: {})"])
def test_what_an_import_failed_with_says_what_helps(
    line: str, why: str, failure_class: str, next_step: str
) -> None:
    failure = runtime_adapter("vllm").classify(Exit(code=1), [line.format(why)])
    assert failure.failure_class == failure_class
    assert failure.message.endswith(f": {why}")
    assert next_step in failure.next_step


LAUNCH = """
import sys
from tacho_server.launch import serve
from tacho_server.options import ServerSettings

class Backend:
    name, version = "b", "1"
    def load(self):
        import no_such_kernels
    def problem(self):
        return ""

sys.exit(serve(Backend(), ServerSettings(host="127.0.0.1", port=0, served_name="m", max_requests=1,
    require_chat=False), "server"))
"""


def test_a_launcher_reports_the_import_of_its_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "failure.json"
    monkeypatch.setenv("TACHO_ENGINE_FAILURE", str(report))
    code, _ = last_lines(tmp_path, "-c", LAUNCH)
    found = json.loads(report.read_text())
    assert (code, found["failureClass"]) == (1, "ImportFailed")
    assert "no_such_kernels" in found["message"]


MODULES = st.from_regex(r"[a-z_]{1,8}(\.[a-z_]{1,8}){0,2}", fullmatch=True)


@given(
    MODULES,
    st.lists(
        st.text(st.characters(exclude_characters="."), max_size=40).filter(
            lambda line: "rror" not in line and "xception" not in line
        )
    ),
)
def test_any_module_is_named_whatever_follows_its_traceback(module: str, after: list[str]) -> None:
    lines = [f"ModuleNotFoundError: No module named '{module}'", *after]
    failure = import_failure("vLLM", lines)
    assert failure is not None
    assert f"'{module}'" in failure.message


@given(st.lists(st.text(max_size=80)))
def test_lines_of_any_text_are_read(lines: list[str]) -> None:
    failure = import_failure("vLLM", lines)
    assert failure is None or failure.failure_class == "ImportFailed"
