"""The pages of ``tacho report``, in a browser: one deployment and a fleet, with hostile texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tacho_cli.report.page import deployment_page, fleet_page
from tests.pages.browser import Page, open_page
from tests.pages.laws import assert_painted, assert_sound
from tests.unit.cli.test_report import deployment

BAR = "31 111 235"


def opened(folder: Path, text: str, *, widths: tuple[int, ...] = (360, 1200)) -> Page:
    file = folder / "report.html"
    file.write_text(text)
    return open_page(file, folder, widths=widths)


def titles(page: Page) -> list[str]:
    return [picture["title"] for picture in page.frame(1200)["pictures"]]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return opened(tmp_path_factory.mktemp("one"), deployment_page(deployment()))


def test_the_page_of_one_is_sound(one: Page) -> None:
    assert_sound(one)
    assert_painted(one, BAR)


def test_the_page_of_one_has_every_chart(one: Page) -> None:
    assert titles(one) == [
        "Memory, GiB: measured, else predicted",
        "The latest start, from the pod's creation to Ready",
        "History",
        "Replicas, by the latest decisions",
        "ml/mistral-7b<b>",
    ]


def test_the_page_of_a_fleet_is_sound(tmp_path: Path) -> None:
    fleet: list[dict[str, Any]] = [deployment(f"model-{number}-{'x' * 30}") for number in range(50)]
    page = opened(tmp_path, fleet_page([*fleet, deployment("new", status={})], "all namespaces"))
    assert_sound(page)
    assert titles(page) == ["GPUs of server pods", "Load, in percent of the measured capacity"]


def test_every_column_of_a_fleet_is_seen_without_scrolling(tmp_path: Path) -> None:
    raw = deployment("mistral-7b-instruct-v0-2-quantized-for-two-gpus")
    raw["status"]["plan"].update(
        engine={"name": "transformers"},
        quantizationMethod="compressed-tensors",
        gpu={"product": "NVIDIA-H100-80GB-HBM3", "count": 1},
    )
    raw["status"]["conditions"] = [
        {"type": "Ready", "status": "Unknown", "reason": "WaitingForOperator"},
        {"type": "Measured", "status": "Unknown", "reason": "MeasurementProvisional"},
    ]
    widths = (800, 1100, 1400)
    page = opened(tmp_path, fleet_page([raw, deployment()], "all namespaces"), widths=widths)
    assert_sound(page)
    for frame in page.frames:
        assert frame["cut"] == [], frame["width"]
        assert "REPLICAS" in frame["text"]
