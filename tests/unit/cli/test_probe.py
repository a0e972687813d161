"""``tacho probe URL``: a real server on a socket, measured in a child process."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tacho_cli import served_model
from tacho_cli.figures.read import measurement_view
from tacho_cli.inputs.options import live_config
from tacho_cli.probe import entry_of, verdict
from tacho_cli.problems import CommandError, ExitCode
from tacho_cli.served_model import ServedModel, base_of, find
from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Workload
from tacho_operator.api.crd.schema import at, resource_schema
from tacho_operator.api.rules.structure import check
from tests.unit.cli.commands import call
from tests.unit.cli.figures.measurements import SLO, entry
from tests.unit.cli.processes import started, until
from tests.unit.cli.relay import encrypted
from tests.unit.probe.engines import mock_engine
from tools.harness.documents import plain_measurement

ENTRY_SCHEMA = at(resource_schema(()), "status.measurements")["items"]
SHORT = ["--workload", "32:16", "--budget", "5s", "--concurrency", "4"]


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    with mock_engine(ttft_base_ms=5, itl_base_ms=4, itl_per_seq_ms=0.2) as port:
        yield f"http://127.0.0.1:{port}"


def test_the_json_is_one_entry_of_the_status(capsys: pytest.CaptureFixture[str], engine: str) -> None:
    told = call(capsys, "probe", f"{engine}/v1/", *SHORT, "-o", "json")
    assert told.code in (0, 5), told
    found = json.loads(told.out)
    assert list(check(found, ENTRY_SCHEMA, "status.measurements[0]")) == []
    assert found["state"] in ("Complete", "Partial")
    assert found["workload"]["inputTokens"] == 32
    assert float(found["singleStream"]["decodeTokensPerSecond"]) > 0
    assert found["curve"]
    assert found["engine"] == "vllm", "by what it says of itself"
    assert "revision" not in found
    assert "tacho: warming up\n" in told.err


def test_people_get_a_table_and_a_page(capsys: pytest.CaptureFixture[str], engine: str) -> None:
    told = call(capsys, "probe", engine, *SHORT)
    assert told.code in (0, 5), told
    assert told.out.startswith(f"mock at {engine}\nMeasured: 32 tokens in, 16 out, measured in ")
    assert "STREAMS" in told.out
    assert "\x1b" not in told.out + told.err, "no colour where there is no terminal"
    told = call(capsys, "probe", engine, *SHORT, "-o", "html")
    assert told.out.startswith("<!doctype html>")
    assert told.out.endswith("</html>\n")
    assert "<svg" in told.out


def test_a_key_comes_from_the_environment_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_KEY", "sesame\n")  # as of a Secret that was made of a file
    with mock_engine(api_key="sesame", ttft_base_ms=1, itl_base_ms=2) as port:
        url = f"http://127.0.0.1:{port}"
        refused = call(capsys, "probe", url, *SHORT)
        assert refused.code == 2
        assert "HTTP 401; name the variable that holds its key: --api-key-env" in refused.err
        told = call(capsys, "probe", url, *SHORT, "--api-key-env", "OUR_KEY", "-o", "json")
    assert json.loads(told.out)["curve"]
    assert "sesame" not in told.out + told.err


@pytest.mark.parametrize("url", ["http://h/\x1b[31m", "http://☃..com", f"http://h/{'a' * 70_000}"])
def test_an_address_that_cannot_be_asked_is_no_error_of_tacho(
    capsys: pytest.CaptureFixture[str], url: str
) -> None:
    told = call(capsys, "probe", url)
    assert told.code == 2
    assert "URL" in told.err or "hostname" in told.err
    assert "\x1b" not in told.err


@pytest.mark.parametrize("key", ["sesame\nopen", "ses\x01ame"])
def test_a_key_that_no_header_can_hold_is_not_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """The client's error had it."""
    monkeypatch.setenv("OUR_KEY", key)
    refused = call(capsys, "probe", "http://127.0.0.1:1", "--api-key-env", "OUR_KEY")
    assert refused.code == 2
    assert "characters that no header can hold" in refused.err
    assert "ses" not in refused.err


def test_an_encrypted_server_is_measured_where_its_authority_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    with encrypted(int(engine.rpartition(":")[2]), tmp_path / "pki") as (url, authority):
        unknown = call(capsys, "probe", url, *SHORT)
        assert (unknown.code, unknown.out) == (2, "")
        assert "certificate verify failed" in unknown.err
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        told = call(capsys, "probe", url, *SHORT, "-o", "json")
    assert told.code in (0, 5), told
    assert json.loads(told.out)["curve"]


def test_a_server_that_answers_nothing_is_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with mock_engine(fail="errors") as port:
        told = call(capsys, "probe", f"http://127.0.0.1:{port}", *SHORT)
    assert (told.code, told.out) == (3, "")
    assert "tacho: not measured: " in told.err
    assert "HTTP 500" in told.err


def test_what_can_be_changed_is_named_by_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    with mock_engine(max_model_len=128, ttft_base_ms=5, itl_base_ms=100) as port:
        url = f"http://127.0.0.1:{port}"
        told = call(
            capsys,
            "probe",
            url,
            "--workload",
            "300:100",
            "--budget",
            "5s",
            "--concurrency",
            "2",
            "-o",
            "json",
        )
    message = json.loads(told.out)["message"]
    assert "(lower --workload)" in message
    assert "(raise --budget)" in message
    assert "probe.budget" not in message
    assert "context.max" not in message


def test_an_interrupt_leaves_nothing(tmp_path: Path, engine: str) -> None:
    with started(tmp_path, "probe", engine, "--workload", "32:16", "--budget", "60s") as running:
        running.wait_for("measuring one stream")
        running.process.send_signal(signal.SIGINT)
        assert running.end() == 130
        until(lambda: not running.family(), f"processes are left: {running.family()}")
    assert running.lines[-1] == "tacho: interrupted"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument"),
        (["http://h", "--concurrency", "0"], "Invalid value for '--concurrency'"),
        (["http://h", "-o", "wide"], "'wide' is not one of"),
        (["ftp://h"], "http://HOST[:PORT] or https://HOST[:PORT]"),
        (["http://h:x"], "http://HOST[:PORT]"),
        (["http://u:p@h"], "http://HOST[:PORT]"),
        (["http://:p@h"], "http://HOST[:PORT]"),
        (["http://h:0"], "http://HOST[:PORT]"),
        (["http://[::1"], "http://[::1: http://HOST[:PORT]"),
        (["http://h", "--workload", "512"], "INPUT:OUTPUT tokens are expected"),
        (
            ["http://h", "--workload", "512:1"],
            "512:1: outputTokens: Input should be greater than or equal to 2",
        ),
        (["http://h", "--slo", "tpot=50"], "ttft=500ms, tpot=50ms or both"),
        (["http://h", "--slo", "e2e=5s"], "ttft=500ms, tpot=50ms or both"),
        (["http://h", "--slo", "p=95"], "ttft=500ms, tpot=50ms or both"),
        (
            ["http://h", "--slo", "ttft=1s,p=20"],
            "percentile: Input should be greater than or equal to 50",
        ),
        (["http://h", "--slo", "ttft=1.5ms"], "ttft=500ms, tpot=50ms or both"),
        (["http://h", "--slo", "ttft=5ms,p=²"], "ttft=500ms, tpot=50ms or both"),
        (["http://h", "--slo", f"ttft={'9' * 400}ms"], "ttft=500ms, tpot=50ms or both"),
        (["http://h", "--workload", f"{'9' * 5000}:1"], "INPUT:OUTPUT tokens are expected"),
        (["http://h", "--levels", "9" * 5000], "numbers of streams from 1"),
        (["http://h", "--budget", "45"], "whole seconds or minutes"),
        (
            ["http://h", "--budget", "2s"],
            "budgetSeconds: Input should be greater than or equal to 5",
        ),
        (["http://h", "--api-key-env", "NOT_SET_ANYWHERE"], "that variable is not set"),
    ],
)
def test_wrong_usage_is_no_answer(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    told = call(capsys, "probe", *arguments)
    assert (told.code, told.out) == (2, "")
    assert words in told.err


def test_options_are_what_a_spec_would_say() -> None:
    found = live_config("1024:64", "ttft=1.5s, tpot=50ms,p=99", "2m")
    assert (found.workload.input_tokens, found.workload.output_tokens) == (1024, 64)
    assert found.slo == ServiceLevel(ttft_milliseconds=1500, tpot_milliseconds=50, percentile=99)
    assert (found.probe.budget_seconds, found.probe.timeout_seconds) == (120, 240)
    assert live_config("", "", "").probe.budget_seconds == 45
    assert live_config("", "", "").measure_key != found.measure_key


@pytest.mark.parametrize(
    ("changes", "slo", "code"),
    [
        ({}, SLO, ExitCode.OK),
        ({}, ServiceLevel(), ExitCode.OK),
        ({"boundary": "NeverMet"}, SLO, ExitCode.NOT_MET),
        ({"boundary": "Floor"}, SLO, ExitCode.OK),
        ({"basis": "Knee"}, SLO, ExitCode.FAILED),
        ({"basis": "Knee"}, ServiceLevel(), ExitCode.OK),
    ],
)
def test_the_exit_code_is_the_answer(changes: dict[str, Any], slo: ServiceLevel, code: int) -> None:
    found = entry(capacity={**entry()["capacity"], **changes})
    assert verdict(measurement_view(found, slo)) == code
    disturbed = measurement_view({**found, "flags": ["Contended"]}, slo)
    assert verdict(disturbed) == ExitCode.PROVISIONAL, "provisional figures decide nothing"
    assert verdict(measurement_view({**found, "flags": ["FrontendBound"]}, slo)) == code


def test_without_a_capacity_nothing_is_judged() -> None:
    assert verdict(measurement_view(entry(capacity={}), SLO)) == ExitCode.FAILED


@pytest.mark.parametrize("given", ["http://h:80", "http://h:80/", "http://h:80/v1", "http://h:80/v1/"])
def test_the_path_of_the_api_may_be_given_or_not(given: str) -> None:
    assert base_of(given) == "http://h:80"
    assert base_of("http://h/models/one/v1") == "http://h/models/one"


class Listing:
    """A server that lists these models."""

    def __init__(self, body: str, status: int = 200) -> None:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever).start()
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def listed(*names: str, owner: str = "llamacpp") -> str:
    return json.dumps({"data": [{"id": name, "owned_by": owner} for name in names]})


def test_the_one_model_is_found_and_several_are_named() -> None:
    with Listing(listed("a", owner="llama.cpp")) as url:
        assert find(url, "", "") == ServedModel(base_url=url, model="a", engine="llamacpp")
        with pytest.raises(CommandError, match="serves no b; it serves: a"):
            find(url, "b", "")
    with Listing(listed("a", "b", owner="someone")) as url:
        with pytest.raises(CommandError, match=r"several models \(a, b\); choose one with --model"):
            find(url, "", "")
        assert find(url, "b", "") == ServedModel(base_url=url, model="b", engine="")


def test_a_server_forges_no_line() -> None:
    with Listing(listed("a", "b\ntacho: ok")) as url:
        for model in ("", "c"):
            with pytest.raises(CommandError, match="b tacho: ok"):
                find(url, model, "")
    failed = plain_measurement(
        state="Failed", message="HTTP 500: a\ntacho: ok", workload=Workload(input_tokens=1, output_tokens=1)
    )
    with pytest.raises(CommandError, match="HTTP 500: a tacho: ok"):
        entry_of(failed, "custom")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("[]", 200),
        ("<html>", 200),
        ('{"data": 3}', 200),
        ("[" * 100_000, 200),
        ('{"data": [{"id": "a"}]' + " " * 5_000_000 + "}", 200),
        ("", 404),
    ],
)
def test_a_server_without_a_list_is_asked_for_the_model_that_is_named(body: str, status: int) -> None:
    with Listing(body, status) as url:
        with pytest.raises(CommandError, match=r"no list of models|HTTP 404") as refused:
            find(url, "", "")
        assert refused.value.code == 2
        assert find(url, "a", "").model == "a"


def test_a_list_of_models_without_end_is_not_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_model, "REQUEST_SECONDS", 0.5)

    def drip(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                connection.sendall(b" ")
                time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: drip(server.accept()[0]), daemon=True).start()
        with pytest.raises(CommandError, match="no full answer within"):
            find(f"http://127.0.0.1:{server.getsockname()[1]}", "", "")


def test_given_levels_are_measured_instead_of_a_search(
    capsys: pytest.CaptureFixture[str], engine: str
) -> None:
    options = ["--workload", "32:16", "--budget", "12s", "--levels", "6, 3"]
    told = call(capsys, "probe", engine, *options, "-o", "json")
    assert told.code in (0, 5), told
    assert {1, 3, 6} >= {point["concurrency"] for point in json.loads(told.out)["curve"]} > {1}


@pytest.mark.parametrize("text", ["a", "²", "0", "4,", "5000", ",".join(map(str, range(1, 18)))])
def test_levels_that_are_no_numbers_of_streams_are_refused(
    capsys: pytest.CaptureFixture[str], engine: str, text: str
) -> None:
    told = call(capsys, "probe", engine, "--levels", text)
    assert told.code == 2
    assert "--levels" in told.err
