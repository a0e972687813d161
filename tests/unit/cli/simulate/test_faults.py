"""``--fault``: what goes wrong is what was said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tacho_cli.problems import CommandError
from tacho_cli.simulate.faults import faults
from tacho_simulate.run import Faults
from tests.unit.cli.commands import call
from tests.unit.cli.simulate.test_command import written


def test_each_kind() -> None:
    said = ("crash@60", "hang@90.5", "metrics@100-200", "scaler@5-6", "slow=2", "crash@70")
    assert faults(said) == Faults(
        failing=((60.0, None), (70.0, None)),
        hanging=((90.5, None),),
        metrics_outages=((100.0, 200.0),),
        scaler_outages=((5.0, 6.0),),
        stragglers=((0, 2.0),),
    )
    assert faults(()) == Faults()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("crash", "unknown"),
        ("crash@soon", "unknown"),
        ("slow=0.5", "unknown"),
        ("slow=1e9", "unknown"),
        ("metrics@600", "one of: crash@600, hang@600, metrics@600-900"),
        ("scaler@9-9", "ends before it begins"),
    ],
)
def test_what_is_no_fault(text: str, said: str) -> None:
    with pytest.raises(CommandError, match="--fault") as caught:
        faults([text])
    assert said in str(caught.value)


def test_the_first_pod_is_slow_once() -> None:
    for said in (("slow=2", "slow=3"), ("slow=1", "slow=3")):
        with pytest.raises(CommandError, match="slow=3: slow may be given once"):
            faults(said)


def few(folder: Path) -> tuple[str, ...]:
    """Options for one replica and a request a second, the last at 96 s."""
    trace = folder / "few.csv"
    rows = "".join(f"{second},400,10\n" for second in range(97))
    trace.write_text(f"time_s,input_tokens,output_tokens\n{rows}")
    return ("--trace", str(trace), "--measurement", written(folder), "--policy", "static-1")


@pytest.mark.parametrize("text", ["crash@97", "hang@99999999", "metrics@97-98", "scaler@96.1-99"])
def test_nothing_goes_wrong_after_the_last_request(
    text: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told = call(capsys, "simulate", *few(tmp_path), "--fault", text)
    assert told.code == 2
    assert f"--fault {text}: the last request of few arrives at 96 s" in told.err


def test_what_ends_after_the_last_request_may_begin_before_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = ("--fault", "crash@96", "--fault", "metrics@90-200")
    assert call(capsys, "simulate", *few(tmp_path), *asked).code == 0


def test_a_fault_that_found_no_pod_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The one replica starts anew for 60 s."""
    asked = (*few(tmp_path), "--cold-start", "60", "-o", "json")
    faults_asked = [word for at in ("crash@20", "crash@30", "hang@40.5") for word in ("--fault", at)]
    told = call(capsys, "simulate", *asked, *faults_asked)
    said = ["crash@30 had no effect: no pod was ready", "hang@40.5 had no effect: no pod was ready"]
    found = [remark for remark in json.loads(told.out)["remarks"] if "had no effect" in remark]
    assert found == [f"static-1: {words}" for words in said]
    assert all(words in told.err for words in said)


def test_a_crash_loses_what_the_pod_had(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trace = tmp_path / "even.csv"
    rows = "".join(f"{second / 4},400,100\n" for second in range(1200))
    trace.write_text(f"time_s,input_tokens,output_tokens\n{rows}")
    asked = ("--trace", str(trace), "--measurement", written(tmp_path), "--policy", "static-1", "-o", "json")
    calm = json.loads(call(capsys, "simulate", *asked).out)
    crashed = json.loads(call(capsys, "simulate", *asked, "--fault", "crash@100").out)
    assert calm["runs"][0]["failed"] == 0
    assert crashed["runs"][0]["failed"] > 0
    assert crashed["setting"]["faults"] == ["crash@100"]
    slow = json.loads(call(capsys, "simulate", *asked, "--fault", "slow=3").out)
    assert slow["runs"][0]["tpotSeconds"]["p50"] > 2.5 * calm["runs"][0]["tpotSeconds"]["p50"]
    shown = call(capsys, "simulate", *asked[:-2], "--fault", "hang@100")
    assert "hang@100" in shown.out.splitlines()[0]
