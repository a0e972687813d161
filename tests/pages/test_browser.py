"""The browser sees what the tests of the pages rely on it to see."""

from __future__ import annotations

import pytest

from tests.pages.browser import Page, open_page

BAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>bad</title>
<link rel="stylesheet" href="http://style.invalid/page.css">
<style>:root { color-scheme: light dark; } body { background: #ffffff; color: #111111; }
@media (prefers-color-scheme: dark) { body { background: #222222; } }</style></head>
<body><h1>bad</h1><img alt="" src="http://127.0.0.1:9/picture.png">
<script>console.log("said"); throw new Error("thrown");</script>
<div style="width: 900px">wide</div>
<div class="wide" aria-label="figures" style="width: 600px; max-width: 100%; overflow-x: auto">
<div style="width: 500px">five</div></div>
<svg viewBox="0 0 100 20" width="100" height="20"><rect class="paper" width="100" height="20" fill="#ffffff"/>
<text x="0" y="15" fill="#0000ff">first</text><text x="5" y="15" fill="#eeeeee">second</text>
<text x="90" y="15" fill="#0000ff">beyond</text></svg></body></html>
"""


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "bad.html").write_text(BAD)
    return open_page(folder / "bad.html", folder)


def test_requests_are_seen(bad: Page) -> None:
    assert {"http://style.invalid/page.css", "http://127.0.0.1:9/picture.png"} <= set(bad.requests)


def test_what_is_said_and_thrown_is_seen(bad: Page) -> None:
    text = "\n".join(bad.console)
    assert "said" in text
    assert "thrown" in text


def test_a_page_that_is_too_wide_is_seen(bad: Page) -> None:
    assert bad.frame(360)["sideways"] > 0
    assert bad.frame(1200)["sideways"] == 0


def test_a_table_that_has_to_be_scrolled_is_seen(bad: Page) -> None:
    assert bad.frame(360)["cut"] == ["figures"]
    assert bad.frame(1200)["cut"] == []


def test_text_that_is_covered_or_outside_is_seen(bad: Page) -> None:
    (picture,) = bad.frame(1200)["pictures"]
    assert picture["covered"] == [["first", "second"]]
    assert picture["outside"] == ["beyond"]


def test_pale_text_is_seen_in_each_scheme(bad: Page) -> None:
    assert [text for text, _ in bad.frame(1200)["pale"]] == ["second"]
    assert {"bad", "wide", "second"} <= {text for text, _ in bad.frame(1200, "dark")["pale"]}


def test_colours_of_the_screenshot_are_counted(bad: Page) -> None:
    assert max(bad.colours, key=bad.colours.__getitem__) == "255 255 255"
    assert bad.colours["0 0 255"] > 5
