"""The page of claims is that of the raw data."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benchmarks.gpu import bars, claims

SVG = "{http://www.w3.org/2000/svg}"


def test_the_page_and_its_pictures_have_not_drifted(capsys: pytest.CaptureFixture[str]) -> None:
    assert claims.main(["--check"]) == 0, capsys.readouterr().out


def test_a_claim_says_its_ratios_by_the_raw_data() -> None:
    said = {row[0]: row for row in claims.rows()}
    assert len(said) == 8
    phi = next(row for claim, row in said.items() if "1.95x" in claim)
    assert "6.13x" in phi[1]  # 362.7 / 59.2
    slow = next(row for claim, row in said.items() if claim.startswith("bitsandbytes"))
    assert "NF4 0.92x, int8 0.25x" in slow[1]  # 37.6 and 10.3 of 40.9


@pytest.mark.parametrize(("over", "under", "said"), [(3.0, 2.0, "1.50x"), (96.0, 1.0, "96x")])
def test_a_ratio_has_the_digits_that_mean_something(over: float, under: float, said: str) -> None:
    assert claims.times(over, under) == said


@pytest.mark.parametrize("name", sorted(claims.pictures()))
def test_a_picture_is_whole_and_stays_on_its_paper(name: str) -> None:
    drawn = ElementTree.fromstring(claims.pictures()[name])
    height = float(drawn.attrib["height"])
    texts = drawn.findall(f".//{SVG}text")
    assert len(texts) >= 8
    assert all(0 <= float(each.attrib["y"]) <= height for each in texts)
    assert drawn.findall(f"{SVG}path") or drawn.findall(f"{SVG}rect[@class='bar']")


def test_longer_bars_are_larger_values() -> None:
    drawn = ElementTree.fromstring(bars.bars("t", [("a", 1.0, "1"), ("b", 2.0, "2")]))
    short, long = (float(bar.attrib["width"]) for bar in drawn.findall(f"{SVG}rect[@class='bar']"))
    assert long == pytest.approx(2 * short, abs=0.2)
