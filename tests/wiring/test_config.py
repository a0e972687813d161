"""Settings: every mistake names its variable."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import Iterator

import pytest

from tacho_contract.text import LINES
from tacho_operator.__main__ import configure_logging
from tacho_operator.config import SettingsError, load_settings
from tacho_operator.shell.workqueue import Key, WorkQueue
from tests.unit.contract.test_text import hidden
from tests.wiring.reconciling import KEY, Server, inspected_world, reconciler


def test_defaults_need_only_the_image() -> None:
    settings = load_settings({"TACHO_IMAGE": "example/tacho:1"})
    assert settings.decisions.tacho_image == "example/tacho:1"
    assert settings.watch_namespaces == ()
    assert settings.workers == 16


def test_engine_images_and_namespaces_are_read() -> None:
    settings = load_settings(
        {
            "TACHO_IMAGE": "t",
            "TACHO_ENGINE_IMAGE_LLAMACPP": "example/llamacpp:1",
            "TACHO_ENGINE_IMAGE_VLLM": "",
            "TACHO_WATCH_NAMESPACES": "ml, team-b,ml,",
        }
    )
    assert settings.decisions.engine_images == {"llamacpp": "example/llamacpp:1"}
    assert settings.watch_namespaces == ("ml", "team-b")


def test_prices_are_read() -> None:
    given = {"TACHO_GPU_PRICES": '{"NVIDIA-H200": "3.50"}', "TACHO_CURRENCY": "EUR"}
    decisions = load_settings({"TACHO_IMAGE": "t", **given}).decisions
    assert (decisions.gpu_prices, decisions.currency) == ({"NVIDIA-H200": "3.50"}, "EUR")
    assert load_settings({"TACHO_IMAGE": "t"}).decisions.currency == "USD"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TACHO_IMAGE", ""),
        ("TACHO_WORKERS", "many"),
        ("TACHO_WORKERS", "0"),
        ("TACHO_RESYNC_SECONDS", "1"),
        ("TACHO_LOG_LEVEL", "LOUD"),
        ("TACHO_LOG_FORMAT", "xml"),
        ("TACHO_HEALTH_PORT", "70000"),
        ("TACHO_ALLOW_INSECURE_HUB", "yes"),
        ("TACHO_GPU_TOLERATIONS", "nvidia.com/gpu"),
        ("TACHO_GPU_TOLERATIONS", '[{"effect": "No"}]'),
        ("TACHO_GPU_PRICES", "3.50"),
        ("TACHO_GPU_PRICES", "{NVIDIA-H200: 3.50}"),
        ("TACHO_GPU_PRICES", '{"NVIDIA-H200": 3.5}'),
        ("TACHO_GPU_PRICES", '{"NVIDIA-H200": "0"}'),
        ("TACHO_GPU_PRICES", '{"NVIDIA-H200": "3,50"}'),
        ("TACHO_GPU_PRICES", '{"NVIDIA-L4": "3.5", "nvidia l4": "4"}'),
        ("TACHO_GPU_PRICES", "[" * 100_000),
        ("TACHO_CURRENCY", "euro"),
        ("TACHO_WORKERS", "1_6"),
        ("TACHO_WATCH_NAMESPACES", " , "),
        ("TACHO_WATCH_NAMESPACES", "ml,Team/B"),
        ("TACHO_OPERATOR_NAMESPACE", "../x"),
        ("TACHO_MONITORING_NAMESPACE", "a b"),
        ("TACHO_LEASE_NAME", "a/b"),
        ("TACHO_IMAGE", "a b"),
        ("TACHO_ENGINE_IMAGE_VLLM", " "),
        ("TACHO_IMAGE_PULL_POLICY", "Sometimes"),
        ("TACHO_HUB_ENDPOINT", "https://"),
        ("TACHO_HUB_ENDPOINT", "https://a b"),
    ],
)
def test_a_wrong_setting_names_itself(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load_settings({"TACHO_IMAGE": "t", name: value})


def test_the_image_of_an_engine_that_there_is_not_is_refused() -> None:
    with pytest.raises(
        SettingsError, match=r"TACHO_ENGINE_IMAGE_VLM: there is no such engine; known are .*_VLLM"
    ):
        load_settings({"TACHO_IMAGE": "example/tacho:1", "TACHO_ENGINE_IMAGE_VLM": "example/vllm:1"})


@contextlib.contextmanager
def json_logs() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers.clear()
    configure_logging("INFO", as_json=True)
    try:
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(level)


def logged(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    (line,) = capsys.readouterr().err.splitlines()
    found: dict[str, str] = json.loads(line)
    return found


def test_a_json_log_line_has_exactly_these_fields(capsys: pytest.CaptureFixture[str]) -> None:
    record = logging.makeLogRecord(
        {"name": "tacho_operator.shell", "levelname": "INFO", "levelno": logging.INFO, "msg": "it %s"}
        | {"args": ("runs",), "created": 1792580888.1239, "msecs": 123.9}
        | {"k8s_skip": True, "taskName": "part"}  # kopf adds the one, asyncio the other
    )
    with json_logs():
        logging.getLogger("tacho_operator.shell").handle(record)
    found = logged(capsys)
    assert list(found.items()) == [
        ("timestamp", "2026-10-21T11:08:08.123Z"),
        ("severity", "info"),
        ("logger", "tacho_operator.shell"),
        ("message", "it runs"),
    ]


def test_a_json_log_line_of_an_error_has_its_traceback_too(capsys: pytest.CaptureFixture[str]) -> None:
    with json_logs():
        try:
            raise ValueError("bad")
        except ValueError:
            logging.getLogger("tacho_operator.shell").exception("it %s", "failed")
    found = logged(capsys)
    assert list(found) == ["timestamp", "severity", "logger", "message", "exc_info"]
    assert (found["severity"], found["logger"], found["message"]) == (
        "error",
        "tacho_operator.shell",
        "it failed",
    )
    assert found["exc_info"].startswith("Traceback (most recent call last):\n")
    assert found["exc_info"].endswith("\nValueError: bad")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["timestamp"])


def test_a_json_log_line_hides_no_character(capsys: pytest.CaptureFixture[str]) -> None:
    text = "a\n\x1b[31m\x9b\u202e\u200b"
    with json_logs():
        try:
            raise ValueError(text)
        except ValueError:
            logging.getLogger("tacho_operator.shell").exception("it %s", text)
    found = logged(capsys)
    assert found["message"] == "it a \ufffd[31m\ufffd\ufffd\ufffd"
    assert not hidden(found["exc_info"], LINES)


async def test_a_json_log_line_says_whose_reconcile_it_is_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The line of the queue that tries a failed reconcile again, too: it is what people look for."""
    world = inspected_world()
    server = Server(world)  # which refuses every status
    tried = asyncio.Semaphore(0)
    reconcile = reconciler(server)

    async def process(key: Key) -> float | None:
        try:
            return await reconcile(key)
        finally:
            tried.release()

    with json_logs():
        queue = WorkQueue(process, workers=1)
        running = asyncio.create_task(queue.run())
        queue.add(KEY)
        await tried.acquire()
        while not (lines := capsys.readouterr().err.splitlines()):
            await asyncio.sleep(0)
        logging.getLogger("tacho_operator.shell").warning("of no resource")
        running.cancel()
    found = [json.loads(line) for line in lines]
    assert "next try in" in found[-1]["message"]
    uid = world.raw["metadata"]["uid"]
    assert {(item["object"], item["uid"]) for item in found} == {("ml/smol", uid)}
    (reconcile_id,) = {item["reconcile_id"] for item in found}
    assert re.fullmatch("[0-9a-f]{8}", reconcile_id)
    assert list(logged(capsys)) == ["timestamp", "severity", "logger", "message"]


def test_a_record_whose_fields_are_no_text_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with json_logs():
        logging.getLogger("library").warning("odd", extra={"uid": 7, "object": None})
    found = logged(capsys)
    assert (found["message"], found["uid"], "object" in found) == ("odd", "7", False)


def test_what_kopf_repeats_at_each_failure_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """Its supervisor logs each type of error once."""
    with json_logs():
        for name in ("kopf._cogs.clients.watching", "kopf._core.reactor.running"):
            logging.getLogger(name).error("Request attempt #1/4 failed; will retry")
        assert capsys.readouterr().err == ""
        configure_logging("DEBUG", as_json=True)
        logging.getLogger("kopf._core.reactor.running").error("shown")
        assert logged(capsys)["message"] == "shown"
