"""The runtime from outside: a real process, a scripted child in the engine's place."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tacho_contract import codec
from tacho_contract.failure import Failure
from tacho_contract.fetch import COMPLETE_FILE, PROGRESS_FILE, FetchProgress
from tacho_contract.launch import Again, LiveConfig, ProbeSettings
from tacho_contract.measurement import Environment
from tacho_contract.report import CutRequests, Report
from tacho_runtime.files import replace_file
from tacho_runtime.supervisor import state_files
from tests.unit.runtime.running import DISABLED, custom_config, running
from tools.harness.documents import plain_measurement, plain_report


def test_becomes_ready_and_drains_when_asked(tmp_path: Path) -> None:
    with running(custom_config(tmp_path, "--healthy-after", "2"), tmp_path) as runtime:
        runtime.until(lambda: runtime.report().get("phase") == "Starting", "phase Starting")
        status, reason = runtime.get("/readyz")
        assert (status, runtime.get("/livez")[0]) == (503, 200)
        assert "Starting" in reason
        runtime.until_ready()
        report = runtime.report()
        assert report["phase"] == "Serving"
        assert report["engineVersion"] == "7.7"
        assert report["measurement"]["state"] == "Skipped"
        assert "Disabled" in report["measurement"]["message"]
        assert report["startup"]["total"] >= 2
        assert runtime.stop() == 0
    assert not Path(runtime.config.paths.termination_log).exists()


def test_engine_runs_in_its_own_session_without_the_runtimes_configuration(tmp_path: Path) -> None:
    facts = tmp_path / "facts"
    with running(custom_config(tmp_path, "--facts", str(facts)), tmp_path) as runtime:
        runtime.until_ready()
        pid, session, variables = facts.read_text().split(" ")
    assert pid == session
    assert variables == "TACHO_ENGINE_FAILURE,TACHO_OTHER,TACHO_USABLE_CPUS"


def test_what_a_launcher_leaves_behind_is_the_failure(tmp_path: Path) -> None:
    told = Failure(failure_class="InvalidConfig", message="--lora is refused", next_step="take it out")
    left = custom_config(tmp_path, "--say", "some line", "--exit", "2", "--leave", codec.dumps(told))
    with running(left, tmp_path) as runtime:
        assert runtime.ended() == 1
        assert runtime.failure() == dataclasses.replace(told, log_tail=("some line",))
    silent = custom_config(tmp_path, "--say", "some line", "--exit", "2")
    with running(silent, tmp_path) as runtime:
        assert runtime.ended() == 1
        assert runtime.failure().failure_class == "EngineCrashed", "an earlier run's failure was believed"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"failureClass": 1}', "x" * 100_000])
def test_nonsense_in_the_place_of_a_launchers_failure_is_nothing(tmp_path: Path, text: str) -> None:
    Path(state_files.engine_failure_path(str(tmp_path))).write_text(text)
    assert state_files.read_engine_failure(str(tmp_path)) is None


def test_a_pipe_or_a_link_in_the_place_of_a_launchers_failure_is_nothing(tmp_path: Path) -> None:
    place = Path(state_files.engine_failure_path(str(tmp_path)))
    os.mkfifo(place)
    assert state_files.read_engine_failure(str(tmp_path)) is None
    place.unlink()
    told = tmp_path / "told"
    told.write_text('{"failureClass": "InvalidConfig", "message": "m", "nextStep": "n"}')
    place.symlink_to(told)
    assert state_files.read_engine_failure(str(tmp_path)) is None


def test_colours_and_progress_bars_are_not_in_the_last_lines(tmp_path: Path) -> None:
    said = "\x1b[1;36mINFO\x1b[0m 10 %\r\x1b[2KINFO 100 %\x07\r"
    with running(custom_config(tmp_path, "--say", said, "--exit", "2"), tmp_path) as runtime:
        assert runtime.ended() == 1
        assert runtime.failure().log_tail == ("INFO 100 %",)


def test_waits_for_running_requests_with_readiness_off(tmp_path: Path) -> None:
    count = tmp_path / "running"
    count.write_text("2")
    with running(custom_config(tmp_path, "--running", str(count)), tmp_path) as runtime:
        runtime.until_ready()
        assert json.loads(runtime.get("/load")[1])["running"] == 2
        runtime.process.send_signal(signal.SIGTERM)
        runtime.until(lambda: "waiting for 2" in runtime.report().get("message", ""), "the drain")
        assert runtime.get("/readyz")[0] == 503
        assert runtime.get("/livez")[0] == 200
        count.write_text("0")
        assert runtime.ended() == 0
    assert "no requests left" in runtime.log()
    assert not Path(runtime.config.paths.termination_log).exists(), "nothing was cut"


def test_counts_connections_where_the_engine_counts_nothing(tmp_path: Path) -> None:
    with running(custom_config(tmp_path), tmp_path) as runtime:
        runtime.until_ready()
        assert json.loads(runtime.get("/load")[1]).keys() == {"observedTime", "podUid"}
        with socket.create_connection(("127.0.0.1", runtime.config.engine_port)):
            runtime.process.send_signal(signal.SIGTERM)
            runtime.until(lambda: "waiting for 1" in runtime.report().get("message", ""), "the drain")
        assert runtime.ended() == 0


def test_drain_ends_with_its_time(tmp_path: Path) -> None:
    count = tmp_path / "running"
    count.write_text("1")
    config = custom_config(tmp_path, "--running", str(count), drain_seconds=1)
    with running(config, tmp_path) as runtime:
        runtime.until_ready()
        assert runtime.stop() == 0
    assert "the drain time is over with 1 request left" in runtime.log()
    cut = codec.loads(CutRequests, Path(config.paths.termination_log).read_text())
    assert cut == CutRequests(drain_seconds=1, cut_requests=1)


def test_second_signal_does_not_wait_for_requests(tmp_path: Path) -> None:
    count = tmp_path / "running"
    count.write_text("1")
    with running(custom_config(tmp_path, "--running", str(count), drain_seconds=600), tmp_path) as runtime:
        runtime.until_ready()
        runtime.process.send_signal(signal.SIGINT)
        runtime.until(lambda: runtime.report().get("phase") == "Draining", "the drain")
        assert runtime.stop(signal.SIGINT) == 0


def test_signal_before_anything_began_ends_at_once(tmp_path: Path) -> None:
    """As soon as it runs at all: the parts that are slow to import are not there yet."""
    started = tmp_path / "started"
    environment = {**os.environ, "TACHO_RUNTIME_CONFIG": codec.dumps(custom_config(tmp_path))}
    program = (
        "import os, pathlib, sys, time\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'tacho_runtime.supervisor.supervise':\n"
        f"            pathlib.Path({str(started)!r}).touch(); time.sleep(60)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "from tacho_runtime.__main__ import main\n"
        "sys.exit(main())"
    )
    with subprocess.Popen([sys.executable, "-c", program], env=environment) as process:
        deadline = time.monotonic() + 60
        while not started.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_signal_before_the_engine_serves_ends_at_once(tmp_path: Path) -> None:
    with running(custom_config(tmp_path, "--healthy-after", "600"), tmp_path) as runtime:
        runtime.until(lambda: runtime.report().get("phase") == "Starting", "phase Starting")
        assert runtime.stop() == 0


def test_dead_engine_ends_the_container_with_its_last_lines(tmp_path: Path) -> None:
    with running(
        custom_config(tmp_path, "--say", "cannot go on: teapot", "--exit", "3"), tmp_path
    ) as runtime:
        assert runtime.ended() == 1
    failure = runtime.failure()
    assert failure.failure_class == "EngineCrashed"
    assert "exit code 3" in failure.message
    assert failure.log_tail[-1] == "cannot go on: teapot"
    assert "cannot go on: teapot" in runtime.log()


def test_an_engine_that_ends_with_its_key_does_not_have_it_shown(tmp_path: Path) -> None:
    config = custom_config(tmp_path, "--say", "the key is kept", "--exit", "3")
    custom = dataclasses.replace(config.custom, api_key_variable="TACHO_OTHER")
    with running(dataclasses.replace(config, custom=custom), tmp_path) as runtime:
        assert runtime.ended() == 1
    assert runtime.failure().log_tail[-1] == "the key is ***"
    assert "kept" not in runtime.failure().message


def test_engine_killed_while_serving_is_out_of_memory(tmp_path: Path) -> None:
    sign = tmp_path / "die"
    with running(custom_config(tmp_path, "--die-when", str(sign)), tmp_path) as runtime:
        runtime.until_ready()
        sign.touch()
        assert runtime.ended() == 1
    failure = runtime.failure()
    assert failure.failure_class == "HostOutOfMemory"
    assert failure.retryable


def test_startup_budget_is_read_anew_while_the_engine_starts(tmp_path: Path) -> None:
    with running(custom_config(tmp_path, "--healthy-after", "600"), tmp_path) as runtime:
        runtime.until(lambda: "503" in runtime.report().get("message", ""), "the engine's first answer")
        shorter = dataclasses.replace(DISABLED, startup_timeout_seconds=1)
        Path(runtime.config.paths.live_file).write_text(codec.dumps(shorter))
        assert runtime.ended() == 1
    failure = runtime.failure()
    assert failure.failure_class == "StartupTimeout"
    assert "503" in failure.message
    assert "startupTimeoutSeconds" in failure.next_step


def test_waits_for_fetch_and_shows_its_progress(tmp_path: Path) -> None:
    fetch, model = tmp_path / "fetch", tmp_path / "model"
    fetch.mkdir()
    model.mkdir()
    config = custom_config(tmp_path, model_path="", fetch_dir=str(fetch))
    with running(config, tmp_path) as runtime:
        runtime.until(lambda: runtime.report().get("phase") == "WaitingForModel", "the wait")
        progress = FetchProgress(state="Downloading", bytes_done=2**20, bytes_total=4 * 2**20)
        (fetch / PROGRESS_FILE).write_text(codec.dumps(progress))
        runtime.until(lambda: "1.0 of 4.2 MB (25 %)" in runtime.report()["message"], "the progress")
        assert "tacho_runtime_download_bytes 1.048576e+06" in runtime.get("/metrics")[1]
        done = dataclasses.replace(progress, state="Complete", bytes_done=4 * 2**20)
        (fetch / PROGRESS_FILE).write_text(codec.dumps(done))
        (fetch / COMPLETE_FILE).write_text(json.dumps({"path": str(model)}))
        runtime.until_ready()
        report = runtime.report()
    assert report["fetch"]["state"] == "Complete"
    assert report["startup"]["download"] > 0


def test_fetch_marker_without_a_folder_is_a_failure(tmp_path: Path) -> None:
    fetch = tmp_path / "fetch"
    fetch.mkdir()
    (fetch / COMPLETE_FILE).touch()
    with running(custom_config(tmp_path, model_path="", fetch_dir=str(fetch)), tmp_path) as runtime:
        assert runtime.ended() == 1
    assert runtime.failure().failure_class == "InvalidConfig"
    assert str(fetch) in runtime.failure().message


def test_broken_probe_leaves_a_pod_that_serves(tmp_path: Path) -> None:
    # The fake child answers 404 to every completion.
    probe = ProbeSettings(policy="Auto", budget_seconds=2, timeout_seconds=4)
    live = LiveConfig(measure_key="m", probe=probe)
    with running(custom_config(tmp_path), tmp_path, live=live) as runtime:
        runtime.until_ready()
        measurement = runtime.report()["measurement"]
    assert measurement["state"] == "Failed"
    assert measurement["message"]
    assert (measurement["planKey"], measurement["measureKey"]) == ("plan", "m")


def known(folder: Path, environment: Environment = Environment()) -> Report:  # noqa: B008 - it is frozen
    """What a run before this one left in the state folder."""
    measurement = plain_measurement(plan_key="plan", observed_time="2026-01-02T03:04:05Z", probe_seconds=40.0)
    report = plain_report(
        runtime_version="0",
        revision="demo-1",
        plan_key="plan",
        engine="custom",
        engine_restarts=1,
        environment=environment,
        measurement=measurement,
        observed_time="2026-01-02T03:04:06Z",
    )
    (folder / "state").mkdir()
    (folder / "state" / "report.json").write_text(codec.dumps(report))
    return report


def test_restarted_container_keeps_its_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TACHO_POD_UID", "uid-1")
    known(tmp_path)
    live = LiveConfig(measure_key="m")
    with running(custom_config(tmp_path, "--answers"), tmp_path, live=live) as runtime:
        runtime.until_ready()
        report, load = runtime.report(), json.loads(runtime.get("/load")[1])
    assert report["measurement"]["observedTime"] == "2026-01-02T03:04:05Z"
    assert (report["engineRestarts"], report["podUid"], load["podUid"]) == (2, "uid-1", "uid-1")


@pytest.mark.parametrize(
    ("changes", "live", "machine"),
    [
        ({}, LiveConfig(measure_key="other"), Environment()),
        ({}, LiveConfig(measure_key="m", probe=ProbeSettings(policy="Always")), Environment()),
        ({"plan_key": "other"}, LiveConfig(measure_key="m"), Environment()),
        ({}, LiveConfig(measure_key="m"), Environment(cpu_model="before the boot")),
    ],
    ids=["workload changed", "policy Always", "plan changed", "another driver or CPU"],
)
def test_measures_again_when_it_must(
    tmp_path: Path, changes: dict[str, str], live: LiveConfig, machine: Environment
) -> None:
    known(tmp_path, machine)
    probe = dataclasses.replace(live.probe, budget_seconds=2, timeout_seconds=4)
    live = dataclasses.replace(live, probe=probe)
    with running(custom_config(tmp_path, **changes), tmp_path, live=live) as runtime:
        runtime.until_ready()
        assert runtime.report()["measurement"]["observedTime"] != "2026-01-02T03:04:05Z"


IMPATIENT = (
    "import sys; from tacho_runtime import __main__; from tacho_runtime.supervisor import supervise; "
    "supervise.LEAVE_SECONDS = 0.5; supervise.HEALTH_SECONDS = 0.2; sys.exit(__main__.main())"
)


def test_a_serving_pod_that_is_asked_leaves_the_service_measures_and_comes_back_once(tmp_path: Path) -> None:
    known(tmp_path)
    count = tmp_path / "running"
    count.write_text("1")
    probe = ProbeSettings(budget_seconds=2, timeout_seconds=4)
    live = LiveConfig(measure_key="m", probe=probe)
    config = custom_config(tmp_path, "--answers", "--running", str(count))
    with running(config, tmp_path, live=live, program=(sys.executable, "-c", IMPATIENT)) as runtime:
        runtime.until_ready()
        before = runtime.report()["startup"]
        mine = Again(request="gate-1", hostname=os.uname().nodename)
        replace_file(Path(config.paths.live_file), codec.dumps(dataclasses.replace(live, again=mine)))
        runtime.until(lambda: "waiting for 1" in runtime.report().get("message", ""), "the leave")
        assert runtime.get("/readyz")[0] == 503, "no request may come while it is measured"
        assert runtime.get("/livez")[0] == 200
        assert runtime.report()["phase"] == "Probing"
        count.write_text("0")
        runtime.until(lambda: runtime.report()["measurement"].get("request") == "gate-1", "the answer")
        runtime.until_ready()
        answered = runtime.report()
        assert answered["measurement"]["observedTime"] != "2026-01-02T03:04:05Z"
        assert answered["startup"] == before, "it is no part of the start"
        other = Again(request="gate-2", hostname="another-pod")
        replace_file(Path(config.paths.live_file), codec.dumps(dataclasses.replace(live, again=other)))
        time.sleep(1.5)
        assert runtime.report()["phase"] == "Serving"
        assert runtime.stop() == 0
    assert runtime.log().count("remeasurement requested") == 1


def test_a_pod_that_is_stopped_as_it_leaves_the_service_waits_for_its_clients(tmp_path: Path) -> None:
    known(tmp_path)
    count = tmp_path / "running"
    count.write_text("1")
    config = custom_config(tmp_path, "--answers", "--running", str(count), drain_seconds=2)
    mine = Again(request="gate-1", hostname=os.uname().nodename)
    live = LiveConfig(measure_key="m", probe=ProbeSettings(budget_seconds=2, timeout_seconds=4))
    with running(config, tmp_path, live=live, program=(sys.executable, "-c", IMPATIENT)) as runtime:
        runtime.until_ready()
        replace_file(Path(config.paths.live_file), codec.dumps(dataclasses.replace(live, again=mine)))
        runtime.until(lambda: runtime.report().get("phase") == "Probing", "the leave")
        assert runtime.stop() == 0
    cut = codec.loads(CutRequests, Path(config.paths.termination_log).read_text())
    assert cut == CutRequests(drain_seconds=2, cut_requests=1)


def test_orphans_are_reaped_and_the_engine_still_counts(tmp_path: Path) -> None:
    sign = tmp_path / "die"
    config = custom_config(tmp_path, "--orphans", "5", "--die-when", str(sign))
    with running(config, tmp_path, adopt_orphans=True) as runtime:
        runtime.until_ready()
        children = Path(f"/proc/{runtime.process.pid}/task/{runtime.process.pid}/children")
        runtime.until(lambda: len(children.read_text().split()) == 1, "the end of all orphans")
        sign.touch()
        assert runtime.ended() == 1
    assert runtime.failure().failure_class == "HostOutOfMemory"


def test_nothing_of_the_engine_is_left_when_it_ignores_signals(tmp_path: Path) -> None:
    facts = tmp_path / "facts"
    config = custom_config(tmp_path, "--deaf", "--facts", str(facts))
    with running(config, tmp_path, stop_seconds=2.0) as runtime:
        runtime.until_ready()
        pid = int(facts.read_text().split()[0])
        began = time.monotonic()
        assert runtime.stop() == 0
        assert time.monotonic() - began > 2, "SIGKILL must not come before its time"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_killed_runtime_takes_its_engine_along(tmp_path: Path) -> None:
    with running(custom_config(tmp_path), tmp_path) as runtime:
        runtime.until_ready()
        runtime.process.kill()
        runtime.ended()
    deadline = time.monotonic() + 10
    while True:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", runtime.config.engine_port)):
                return
        assert time.monotonic() < deadline, "the engine still listens"
        time.sleep(0.05)
