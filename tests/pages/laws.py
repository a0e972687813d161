"""What every page has to be."""

from __future__ import annotations

from itertools import pairwise

from tests.pages.browser import Page

PAPER = {"light": "255 255 255", "dark": "13 17 23"}


def assert_sound(page: Page) -> None:
    """Shown whole and legible in each width, light and dark; silent; alone."""
    assert page.console == (), "an error, a warning, or something that the page's policy refused"
    assert page.requests == ()
    assert page.frames
    for frame in page.frames:
        where = (frame["width"], frame["scheme"])
        assert frame["paper"] == PAPER[frame["scheme"]]
        assert frame["sideways"] == 0, f"{where}: wider than its window"
        assert frame["pale"] == [], f"{where}: contrast below 4.5"
        assert frame["scripts"] == 0
        assert frame["language"] == "en"
        assert frame["headings"][:1] == [1]
        assert frame["headings"].count(1) == 1
        assert all(two - one <= 1 for one, two in pairwise(frame["headings"])), (
            f"{where}: a heading skips a level"
        )
        assert frame["nameless"] == 0, f"{where}: a table without a name"
        for picture in frame["pictures"]:
            assert picture["title"]
            assert picture["role"] == "img"
            assert min(picture["width"], picture["height"]) > 50
            assert picture["outside"] == [], f"{where}, {picture['title']}: text outside the picture"
            assert picture["covered"] == [], f"{where}, {picture['title']}: texts over each other"


def assert_painted(page: Page, *colours: str) -> None:
    """The screenshot is mostly paper, and has each of the ``colours`` in more than specks."""
    assert max(page.colours, key=page.colours.__getitem__) == PAPER["light"]
    for colour in colours:
        painted = sum(count for found, count in page.colours.items() if _near(found, colour))
        assert painted > 100, f"{colour} is not in {page.screenshot}"


def _near(one: str, two: str) -> bool:
    """A thin line is blended with what it lies on."""
    return all(abs(int(a) - int(b)) <= 90 for a, b in zip(one.split(), two.split(), strict=True))
