"""What measured pods said of their plans, then and now."""

from __future__ import annotations

import json

import pytest
import yaml

from benchmarks.planner.pods import Pod, Speed, planned_now, pods, table
from tools.pages import ROOT


def pod(place: str, share: float, *, clean: bool = True, within: float = 1.0) -> Pod:
    return Pod(place, "a kind", clean, {"decode": Speed(0.4, 1.0)}, {"decode": Speed(share, within)})


@pytest.mark.parametrize(("share", "held"), [(0.79, False), (0.81, True), (1.24, True), (1.26, False)])
def test_a_band_is_as_wide_up_as_down(share: float, held: bool) -> None:
    assert Speed(share, 0.25).held is held


def test_a_row_counts_its_pods_in_the_band_then_and_now() -> None:
    lines = table([pod("a", 1.0), pod("b", 0.7, within=0.1), pod("c", 0.6, clean=False)]).splitlines()[2:]
    then, now = "0 of 3: 40 % (band 100 %)", "2 of 3: 70 % (band 10 to 100 %)"
    assert lines[0] == f"| a kind | 2 of 3 | {then} | {now} | - | - | - | - |"
    assert lines[2].startswith("| **All clean ones** | 2 of 2 | 0 of 2: 40 % (band 100 %) | 1 of 2: 85 %")
    timed = "| 1 of 1 | 0 of 1: 40 % (band 100 %) | 0 of 1: 70 % (band 10 %)"
    assert lines[3].startswith(f"| **Clean, with steps that were timed** {timed}")


def test_every_pod_that_scored_its_plan_is_there_once() -> None:
    found = pods()
    assert len(found) >= 62
    assert len({item.place for item in found}) == len(found)
    stamps = [
        yaml.load((ROOT / item.place / "resource.yaml").read_text(), yaml.CSafeLoader)["status"][
            "measurements"
        ][0]
        for item in found
    ]
    assert len({(one["observedTime"], one["fingerprint"]) for one in stamps}) == len(found)


def test_the_present_plan_is_of_the_same_pod() -> None:
    """Its engine, GPUs, context and weights; of one gpt-oss-20b too many bytes were planned then."""
    for item in pods():
        resource = yaml.load((ROOT / item.place / "resource.yaml").read_text(), yaml.CSafeLoader)
        plan = resource["status"]["plan"]
        now = planned_now(json.dumps(resource["spec"]), json.dumps([plan["engine"], plan["gpu"]]))
        assert now.engine_version == plan["engine"]["version"]
        assert (now.concurrency, now.max_model_len) == (plan["concurrency"], plan["maxModelLen"])
        assert (now.gpu_product, now.gpu_count) == (plan["gpu"]["product"], plan["gpu"]["count"])
        # Plans called it "none" when these were recorded.
        named = "mxfp4" if "gpt-oss" in item.place else plan["quantizationMethod"]
        assert now.quantization_method == named
        assert now.predicted.weights_bytes == pytest.approx(plan["predicted"]["weightsBytes"], rel=0.05)
