"""What ``tacho simulate`` prints beside a table: rows, a page, what varies; what it says of odd input."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.commands import Told, call
from tests.unit.cli.simulate.test_command import ENTRY, resource, written

HEADING = "time_s,input_tokens,output_tokens\n"


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """Two requests a second for ten minutes, and ten for the five after them."""
    times = [second / 2 for second in range(1200)] + [600 + tenth / 10 for tenth in range(3000)]
    path = tmp_path / "steps.csv"
    path.write_text(HEADING + "".join(f"{time},400,100\n" for time in times))
    return str(path)


def told(capsys: pytest.CaptureFixture[str], folder: Path, trace: str, *more: str) -> Told:
    return call(
        capsys, "simulate", "--trace", trace, "--measurement", written(folder), "--cold-start", "30", *more
    )


def read(told: Told) -> list[dict[str, str]]:
    assert told.code == 0, told.err
    return list(csv.DictReader(io.StringIO(told.out)))


def test_a_csv_has_a_row_a_policy(capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str) -> None:
    more = ("--slo", "ttft=500ms,tpot=40ms", "--policy", "tacho", "--policy", "static-3", "-o", "csv")
    own, fixed = read(told(capsys, tmp_path, trace, *more))
    assert (own["policy"], fixed["policy"]) == ("tacho", "static-3")
    assert (fixed["gpuHours"], "cost" in fixed, fixed["maxReplicas"]) == ("0.749917", False, "3")
    assert float(own["ttftSeconds.p50"]) <= float(own["ttftSeconds.p99"])
    assert own["requests"] == "4200"


def test_decisions_are_rows_of_their_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str
) -> None:
    more = ("--policy", "tacho", "--policy", "static", "--decisions")
    rows = read(told(capsys, tmp_path, trace, *more, "-o", "csv"))
    assert {row["policy"] for row in rows} == {"tacho"}
    assert (rows[0]["from"], rows[0]["to"]) == ("1", "2")
    shown = told(capsys, tmp_path, trace, *more).out
    assert f"tacho: {len(rows)} change" in shown
    assert rows[0]["reason"].split(":")[0] in " ".join(shown.split())
    assert "static: 0 changes" in shown


def test_what_varies_has_columns_of_its_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str
) -> None:
    more = ("--what-if", "minReplicas=1,3", "--what-if", "slo.ttft=20ms,1s")
    heading, *rows = told(capsys, tmp_path, trace, *more).out.splitlines()[1:]
    assert heading.split()[:3] == ["minReplicas", "slo.ttft", "SLO"]
    assert [row.split()[:2] for row in rows] == [["1", "20ms"], ["1", "1s"], ["3", "20ms"], ["3", "1s"]]
    document = json.loads(told(capsys, tmp_path, trace, *more, "-o", "json").out)
    assert "minReplicas" not in document["setting"]
    assert document["runs"][2]["variant"] == {"minReplicas": "3", "slo.ttft": "20ms"}
    assert document["runs"][2]["setting"] == {"minReplicas": 3, "ttftMilliseconds": 20}
    kept = [run["sloAttainmentPercent"] for run in document["runs"]]
    assert kept[0] < kept[1]
    assert [row["minReplicas"] for row in read(told(capsys, tmp_path, trace, *more, "-o", "csv"))] == [
        "1", "1", "3", "3",
    ]  # fmt: skip


def test_several_resources_are_compared_at_their_own_prices(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str
) -> None:
    folders = [tmp_path / name for name in ("bf16", "fp8")]
    for folder in folders:
        folder.mkdir()
    first, second = (resource(folder) for folder in folders)
    given = call(capsys, "simulate", "--trace", trace, "-f", first, "-f", second, "-o", "json")
    runs = json.loads(given.out)["runs"]
    assert [run["variant"]["resource"] for run in runs] == [first, second]
    assert all(run["cost"] > 0 for run in runs)


def test_a_page_is_written_whole(capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str) -> None:
    found = told(capsys, tmp_path, trace, "--what-if", "maxReplicas=2,4", "-o", "html")
    assert found.out.startswith("<!doctype html>")
    assert found.out.endswith("</html>\n")
    assert "maxReplicas=4: " in found.out
    assert found.out.count("<svg") == 4


def odd(folder: Path, *lines: str) -> str:
    path = folder / "odd.csv"
    path.write_text(HEADING + "".join(f"{line}\n" for line in lines))
    return str(path)


def one(capsys: pytest.CaptureFixture[str], folder: Path, trace: str, *more: str) -> dict[str, Any]:
    given = told(capsys, folder, trace, "--policy", "tacho", *more, "-o", "json")
    assert given.code == 0, given.err
    (run,) = json.loads(given.out)["runs"]
    return dict(run)


@pytest.mark.parametrize("output", ["table", "json", "csv", "html"])
def test_one_request_is_a_trace(capsys: pytest.CaptureFixture[str], tmp_path: Path, output: str) -> None:
    found = told(capsys, tmp_path, odd(tmp_path, "5,100,50"), "-o", output)
    assert found.code == 0
    assert found.out
    assert "tacho: 1 request\n" in found.err


def test_requests_in_any_order_and_before_zero_are_sorted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    mixed = one(capsys, tmp_path, odd(tmp_path, "5,100,50", "-7,100,50", "1,100,50"))
    assert mixed == one(capsys, tmp_path, odd(tmp_path, "0,100,50", "8,100,50", "12,100,50"))


def test_a_request_that_no_replica_ends_in_time_is_lost(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = one(capsys, tmp_path, odd(tmp_path, "1,9000000,9000000"))
    assert (found["failed"], found["sloAttainmentPercent"], found["ttftSeconds"]) == (1, 0.0, None)


def test_too_few_replicas_lose_what_they_cannot_carry(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    flood = odd(tmp_path, *(f"{n / 100},400,400" for n in range(20_000)))
    few = one(capsys, tmp_path, flood, "--max-replicas", "1", "--slo", "ttft=1s")
    assert few["sloAttainmentPercent"] < 20
    assert max(moment["desired"] for moment in few["replicas"]) == 1


def test_a_promise_that_nothing_can_keep_is_told_as_broken(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str
) -> None:
    assert one(capsys, tmp_path, trace, "--slo", "ttft=1ms")["sloAttainmentPercent"] == 0.0
    page = told(capsys, tmp_path, trace, "--policy", "tacho", "--slo", "ttft=1ms", "-o", "html").out
    assert "No run meets the SLO. Closest: tacho" in page


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"capacity": None},
            "tacho scales by no known capacity: the measurement",
        ),
        ({"state": "Stale"}, "there is no current measurement of the capacity"),
        ({"confidence": "Provisional", "flags": ["Contended"]}, "provisional (Contended), and so are these"),
        (
            {"capacity": {**ENTRY["capacity"], "boundary": "NeverMet"}},
            "an idle replica misses the SLO",
        ),
        ({"capacity": {**ENTRY["capacity"], "boundary": "Floor"}}, "the measured capacity is a lower bound"),
    ],
)
def test_a_measurement_that_says_little_is_told_to(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str, changes: dict[str, Any], said: str
) -> None:
    entry = written(
        tmp_path, {key: value for key, value in {**ENTRY, **changes}.items() if value is not None}
    )
    found = call(capsys, "simulate", "--trace", trace, "--measurement", entry, "-o", "html")
    assert found.code == 0
    assert said in found.err
    assert said in found.out.replace("&#39;", "'"), "who reads the page has to know it, too"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--what-if", "minReplicas=8,9", "--max-replicas", "4"), "maxReplicas 4 is below minReplicas 8"),
        (("--policy", "static-1,static-2", "--policy", "static-1"), "--policy static-1: named twice"),
        (("--what-if", "replicas=1,2"), "--what-if replicas=1,2: unknown"),
        (
            ("--policy", "all", "--what-if", f"minReplicas={','.join(map(str, range(1, 40)))}"),
            "the limit is 200",
        ),
    ],
)
def test_questions_that_make_no_sense_are_refused_before_anything_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str, more: tuple[str, ...], said: str
) -> None:
    found = told(capsys, tmp_path, trace, *more)
    assert found.code == 2
    assert said in found.err
    assert found.out == ""
