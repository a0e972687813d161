"""The page of ``tacho probe`` and ``tacho status``, in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tacho_cli.figures.page import measurement_page
from tacho_cli.figures.read import measurement_view
from tests.pages.browser import Page, open_page
from tests.pages.laws import assert_painted, assert_sound
from tests.unit.cli.figures.measurements import SLO, entry

LINE, SLO_LINE, CAPACITY = "31 111 235", "180 35 24", "11 122 75"
TITLE = "ml/mistral-7b-instruct-with-a-name-as-long-as-they-may-be <fp8>"


def opened(folder: Path, *measured: dict[str, Any]) -> Page:
    file = folder / "page.html"
    found = [measurement_view(item, SLO) for item in measured]
    file.write_text(measurement_page(TITLE, found, ("Ready=False NoReplicas: none & <none>",)))
    return open_page(file, folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return opened(tmp_path_factory.mktemp("whole"), entry())


def test_it_is_sound(whole: Page) -> None:
    assert_sound(whole)
    assert_painted(whole, LINE, SLO_LINE, CAPACITY)


def test_both_curves_are_there_with_their_levels(whole: Page) -> None:
    (picture,) = whole.frame(1200)["pictures"]
    assert picture["title"] == TITLE
    assert picture["drawn"]["line"] + picture["drawn"]["line soft"] == 2 * 5, "between six levels, twice"
    assert picture["drawn"]["point"] == 2 * 5 + 1, "with the legend's"
    assert picture["drawn"]["slo"] == picture["drawn"]["capacity"] == 2
    assert whole.frame(1200)["tables"] == [1 + 6]


def test_several_measurements_stand_below_each_other(tmp_path: Path) -> None:
    found = opened(tmp_path, entry(), entry(curve=[], capacity={}))
    assert_sound(found)
    assert len(found.frame(1200)["pictures"]) == 1, "without a level there is nothing to draw"
    assert found.frame(1200)["text"].count("Measured:") == 2
