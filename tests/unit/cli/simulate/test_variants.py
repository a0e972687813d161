"""``--what-if``: which settings are combined, and what is said of those that make no sense."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tacho_cli.problems import CommandError, ExitCode
from tacho_cli.simulate.measurements import MeasurementSource
from tacho_cli.simulate.simulated_deployment import DeploymentOptions, simulated_deployment
from tacho_cli.simulate.variants import variants

GIVEN = DeploymentOptions(slo="ttft=500ms,tpot=50ms", min_replicas=1)


def test_without_a_question_there_is_one_that_has_no_name() -> None:
    (only,) = variants(GIVEN, ["one.yaml"], [], [])
    assert (only.name, only.values) == ("", ())
    assert (only.given.file, only.given.min_replicas) == ("one.yaml", 1)


def test_every_combination_is_made_the_first_setting_varies_slowest() -> None:
    found = variants(GIVEN, [], ["a/bf16.json", "a/fp8.json"], ["minReplicas=1,4", "slo.ttft=300ms,1s"])
    assert [item.name for item in found][:3] == [
        "measurement=bf16, minReplicas=1, slo.ttft=300ms",
        "measurement=bf16, minReplicas=1, slo.ttft=1s",
        "measurement=bf16, minReplicas=4, slo.ttft=300ms",
    ]
    assert len(found) == 8
    last = found[-1].given
    assert (last.measurement, last.min_replicas, last.ttft_milliseconds) == ("a/fp8.json", 4, 1000)
    assert last.tpot_milliseconds is None, "the promise of the options holds"


def test_a_setting_with_one_value_is_set_and_not_named() -> None:
    (only,) = variants(GIVEN, [], [], ["maxReplicas=6"])
    assert (only.given.max_replicas, only.name) == (6, "")
    first, second = variants(GIVEN, [], [], ["slo.tpot=20ms", "maxReplicas=6,8"])
    assert (first.name, second.name) == ("maxReplicas=6", "maxReplicas=8")
    assert first.given.tpot_milliseconds == 20


def test_files_of_one_name_are_called_by_their_places() -> None:
    first, second = variants(GIVEN, ["a/llmd.yaml", "b/llmd.yaml"], [], [])
    assert (first.name, second.name) == ("resource=a/llmd.yaml", "resource=b/llmd.yaml")


MEASURED = (
    MeasurementSource("none", "bf16.json", {"measurement": "bf16.json"}),
    MeasurementSource("fp8", "all.yaml (eight)", {"file": "all.yaml", "name": "eight"}),
    MeasurementSource("awq", "all.yaml (four)", {"file": "all.yaml", "name": "four"}),
    MeasurementSource("awq", "all.yaml (other)", {"file": "all.yaml", "name": "other"}),
    MeasurementSource("", "all.yaml (silent)", {"file": "all.yaml", "name": "silent"}),
)


def test_a_quantization_is_chosen_from_what_was_measured() -> None:
    what_if = ["quantization=none,fp8", "minReplicas=1,4"]
    found = variants(GIVEN, ["all.yaml"], [], what_if, MEASURED)
    assert [item.name for item in found] == [
        "quantization=none, minReplicas=1",
        "quantization=none, minReplicas=4",
        "quantization=fp8, minReplicas=1",
        "quantization=fp8, minReplicas=4",
    ]
    assert (found[0].given.measurement, found[0].given.file) == ("bf16.json", "")
    assert (found[2].given.file, found[2].given.name, found[2].given.measurement) == ("all.yaml", "eight", "")
    every = variants(GIVEN, [], ["a", "b"], ["quantization=all"], MEASURED[:2])
    assert [item.name for item in every] == ["quantization=none", "quantization=fp8"]


def test_measurements_are_chosen_for_a_resource_that_was_named() -> None:
    (only,) = variants(GIVEN, ["chat.yaml"], ["bf16.json"], ["quantization=none"], MEASURED[:1])
    assert (only.given.file, only.given.measurement) == ("chat.yaml", "bf16.json")


@pytest.mark.parametrize("value", ["fb8", "awq", "all", ""])
def test_a_quantization_that_cannot_be_chosen_is_told_with_those_that_can(value: str) -> None:
    with pytest.raises(CommandError) as caught:
        variants(GIVEN, [], [], [f"quantization={value}"], MEASURED)
    text = str(caught.value)
    assert "one file with such a measurement is needed" in text
    assert "measured: none in bf16.json, fp8 in all.yaml (eight), awq in all.yaml (four) and in all" in text
    assert "unknown in all.yaml (silent)" in text
    with pytest.raises(CommandError, match="measured: none; add files"):
        variants(GIVEN, [], [], ["quantization=all"])


@pytest.mark.parametrize(
    "what_if",
    [
        "minreplicas=1,2", "quantisation=fp8", "minReplicas", "minReplicas=1,,2",
        "minReplicas=0,2", "maxReplicas=2,many", "maxReplicas=-1,2", "maxReplicas=1001", "slo.ttft=500,600",
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_told_with_what_does(what_if: str) -> None:
    with pytest.raises(CommandError) as caught:
        variants(GIVEN, [], [], [what_if])
    assert f"--what-if {what_if}: unknown" in str(caught.value)
    assert "slo.ttft=300ms,1s" in str(caught.value)
    assert caught.value.code == ExitCode.BAD_INPUT


def test_what_is_named_twice_is_refused() -> None:
    with pytest.raises(CommandError, match="minReplicas: more than once"):
        variants(GIVEN, [], [], ["minReplicas=1,2", "minReplicas=3,4"])
    with pytest.raises(CommandError, match="--what-if minReplicas=3,2,2: 2 is named twice"):
        variants(GIVEN, [], [], ["minReplicas=3,2,2"])
    with pytest.raises(CommandError, match="the same resource is named twice"):
        variants(GIVEN, ["a.yaml", "a.yaml"], [], [])


def test_a_measurement_that_is_no_model_names_both_ways_to_another(tmp_path: Path) -> None:
    file = tmp_path / "entry.json"
    file.write_text('{"fingerprint": "a", "state": "Complete"}')
    with pytest.raises(CommandError, match="cannot be simulated") as caught:
        simulated_deployment(dataclasses.replace(GIVEN, measurement=str(file), max_replicas=2))
    assert "tacho probe URL, or a new value of tacho.dev/measure-again" in str(caught.value)
