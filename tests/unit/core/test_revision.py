"""What makes a revision and what does not."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest

from tacho_contract.measurement import Environment
from tacho_operator.core import names
from tacho_operator.core.measurement.entry import fingerprint
from tacho_operator.core.revisions.identity import (
    CLASSES,
    FieldClass,
    identity_hash,
    live_config,
    plan_key,
)
from tests.unit.api.leaves import LEAVES
from tools.harness.resources import CLAIM_SPEC, FILES, HUB_SPEC, changed, plan, resource
from tools.harness.world import World


def field_class(path: str) -> FieldClass:
    """The class of a leaf, given as ``model.uri`` or ``engine.env[].name``. KeyError: it has no class."""
    plain = path.replace("[]", "").removeprefix("spec.")
    parts = plain.split(".")
    for end in range(len(parts), 0, -1):
        if (found := CLASSES.get(".".join(parts[:end]))) is not None:
            return found
    raise KeyError(f"spec.{path} has no class in core/revisions/identity.py")


@pytest.mark.parametrize("path", LEAVES)
def test_every_leaf_of_spec_has_a_class(path: str) -> None:
    assert field_class(path) in ("identity", "measured", "live")


def test_the_list_of_leaves_is_whole() -> None:
    assert {"model.uri", "engine.env[].valueFrom.secretKeyRef.name", "probe.budgetSeconds"} <= set(LEAVES)
    assert "podTemplate.spec.volumes[].persistentVolumeClaim.claimName" in LEAVES


def test_no_row_of_the_table_is_idle_or_overlaps_another() -> None:
    plain = [path.replace("[]", "") for path in LEAVES]
    for row in CLASSES:
        assert any(path == row or path.startswith(f"{row}.") for path in plain), row
        assert not any(other.startswith(f"{row}.") for other in CLASSES), row


def test_a_leaf_nobody_classified_is_an_error() -> None:
    with pytest.raises(KeyError, match=r"model\.surprise"):
        field_class("model.surprise")


IDENTITY_CHANGES: list[dict[str, Any]] = [
    {"model": {**CLAIM_SPEC["model"], "servedName": "other"}},
    {"model": {**CLAIM_SPEC["model"], "files": ["*.gguf"]}},
    {"model": {**CLAIM_SPEC["model"], "trustRemoteCode": True}},
    {"cache": {"persistentVolumeClaim": {"claimName": "c"}}},
    {"quantization": {"method": "none"}},
    {"quantization": {"method": "bnb-nf4", "bitsandbytes": {"doubleQuant": False}}},
    {"engine": {"name": "llamacpp", "extraArgs": ["--flash-attn"]}},
    {"engine": {"name": "llamacpp", "env": [{"name": "A", "value": "1"}]}},
    {"gpu": {"count": 1}},
    {"gpu": None},
    {"parallelism": {"tensor": 2}},
    {"context": {"maxModelLen": 4096, "concurrency": 4}},
    {"podTemplate": {"metadata": {"labels": {"team": "a"}}}},
    {"parallelism": {"pipeline": 1}},
    {"podTemplate": {"metadata": {"labels": {"team": ""}}}},
    {"podTemplate": {"metadata": {"annotations": {"note": ""}}}},
    {"podTemplate": {"spec": {"nodeSelector": {"node-role.kubernetes.io/gpu": ""}}}},
    {"podTemplate": {"spec": {"tolerations": [{}]}}},
    {"podTemplate": {"spec": {"affinity": {"podAntiAffinity": {}}}}},
]


@pytest.mark.parametrize("fields", IDENTITY_CHANGES, ids=str)
def test_an_identity_field_makes_a_new_revision(fields: dict[str, Any]) -> None:
    before, after = resource(), resource(changed(CLAIM_SPEC, **fields))
    assert identity_hash(before.spec, "smol") != identity_hash(after.spec, "smol")


SAME_MEANING: list[dict[str, Any]] = [
    {"model": {**CLAIM_SPEC["model"], "revision": "main"}},
    {"model": {**CLAIM_SPEC["model"], "files": []}},
    {"model": {**CLAIM_SPEC["model"], "trustRemoteCode": False}},
    {"model": {**CLAIM_SPEC["model"], "hub": {"endpoint": ""}}},
    {"model": {**CLAIM_SPEC["model"], "tokenSecretRef": {"name": "hf"}}},
    {"cache": {}},
    {"gpu": {"count": 0, "resourceName": "nvidia.com/gpu", "products": []}},
    {"engine": {"name": "llamacpp", "image": "", "env": [], "resources": {}}},
    {"endpoint": {"allowedNamespaces": ["ml"]}},
    {"podTemplate": {"metadata": {"labels": {}}, "spec": {"terminationGracePeriodSeconds": 120}}},
    {"workload": {"inputTokens": 900}},
    {"slo": {"ttftMilliseconds": 500}},
    {"probe": {"policy": "Always"}},
    {"replicas": 3},
    {"autoscaling": {"maxReplicas": 3}},
    {"rollout": {"scheduleTimeoutSeconds": 60}},
    {"cost": {"pricePerGPUHour": "1.20"}},
    {"startupTimeoutSeconds": 100},
]


@pytest.mark.parametrize("fields", SAME_MEANING, ids=str)
def test_what_means_the_same_or_is_not_identity_makes_none(fields: dict[str, Any]) -> None:
    before, after = resource(), resource(changed(CLAIM_SPEC, **fields))
    assert identity_hash(before.spec, "smol") == identity_hash(after.spec, "smol")


def test_served_name_left_out_is_the_resources_name() -> None:
    absent = changed(CLAIM_SPEC, model={"uri": "pvc://models/smollm2"})
    said = changed(CLAIM_SPEC, model={"uri": "pvc://models/smollm2", "servedName": "smol"})
    assert identity_hash(resource(absent).spec, "smol") == identity_hash(resource(said).spec, "smol")


def test_one_stage_is_the_default_beside_a_tensor_size_alone() -> None:
    """Without one the planner may choose stages for GPUs over which heads do not divide."""
    split = changed(CLAIM_SPEC, parallelism={"tensor": 2})
    said = changed(CLAIM_SPEC, parallelism={"tensor": 2, "pipeline": 1})
    assert identity_hash(resource(split).spec, "smol") == identity_hash(resource(said).spec, "smol")


def test_the_hash_of_today_is_the_hash_of_tomorrow() -> None:
    """Another value here restarts every model pod of every cluster on an operator upgrade."""
    assert identity_hash(resource().spec, "smol") == "d92671209d"
    assert identity_hash(resource(HUB_SPEC).spec, "smol") == "ab4f45cf67"


def test_the_keys_of_today_are_the_keys_of_tomorrow() -> None:
    """Other values here make every measurement of every cluster stale on an operator upgrade."""
    spec = resource(HUB_SPEC).spec
    assert plan_key(plan(), spec) == "a29bb8099a"
    assert live_config(spec).measure_key == "8d0ff7f25a"
    here = Environment(cpu_model="EPYC", driver_version="580")
    assert fingerprint("p", "m", "sha256:1", here) == "393643f15c7bff7d"


def test_asking_for_a_new_plan_makes_a_revision() -> None:
    spec = resource().spec
    asked = identity_hash(spec, "smol", {names.REPLAN_ANNOTATION: "2026-11-20"})
    assert asked != identity_hash(spec, "smol")
    assert asked != identity_hash(spec, "smol", {names.REPLAN_ANNOTATION: "2026-11-21"})
    assert identity_hash(spec, "smol", {"other": "x"}) == identity_hash(spec, "smol")


@pytest.mark.parametrize(
    "fields",
    [
        {"workload": {"inputTokens": 129, "outputTokens": 64}},
        {"slo": {"tpotMilliseconds": 50}},
        {"slo": {"percentile": 99}},
        {"probe": {"policy": "Always"}},
        {"probe": {"timeoutSeconds": 91}},
    ],
    ids=str,
)
def test_workload_slo_and_probe_change_the_measure_key(fields: dict[str, Any]) -> None:
    before, after = live_config(resource().spec), live_config(resource(changed(CLAIM_SPEC, **fields)).spec)
    assert before.measure_key != after.measure_key


def test_what_the_probe_is_told_is_what_the_spec_says() -> None:
    spec = resource(changed(CLAIM_SPEC, slo={"tpotMilliseconds": 50}, probe={"timeoutSeconds": 91})).spec
    live = live_config(spec)
    assert (live.workload.input_tokens, live.workload.output_tokens) == (128, 64)
    assert (live.slo.tpot_milliseconds, live.probe.timeout_seconds) == (50, 91)


def test_defaults_said_aloud_keep_the_measure_key() -> None:
    silent = resource(changed(CLAIM_SPEC, workload=None)).spec
    aloud = changed(
        CLAIM_SPEC,
        workload={"inputTokens": 512, "outputTokens": 200},
        slo={"percentile": 95},
        probe={"policy": "Auto", "budgetSeconds": 45, "timeoutSeconds": 90},
        startupTimeoutSeconds=77,
    )
    assert live_config(silent).measure_key == live_config(resource(aloud).spec).measure_key
    assert live_config(resource(aloud).spec).startup_timeout_seconds == 77


def test_plan_key_follows_what_a_measurement_depends_on() -> None:
    spec = resource().spec
    key = plan_key(plan(), spec)
    for fields in (
        {"image": "x:2"},
        {"files": dataclasses.replace(FILES, digest="e" * 64)},
        {"files": dataclasses.replace(FILES, files_digest="e" * 64)},
        {"files": dataclasses.replace(FILES, model_file="other.gguf")},
        {"engine": "custom"},
        {"entrypoint": ("serve",)},
        {"gpu_product": "NVIDIA-L4"},
        {"gpu_count": 1},
        {"pipeline_parallel": 2},
        {"concurrency": 8},
        {"quantization_method": "none"},
        {"arguments": ("--x",)},
        {"tensor_parallel": 2},
        {"max_model_len": 4096},
    ):
        assert plan_key(plan(**fields), spec) != key, fields
    assert plan_key(plan(message="other words"), spec) == key
    empty = copy.deepcopy(CLAIM_SPEC)
    empty["engine"]["resources"] = {}
    assert plan_key(plan(), resource(empty).spec) == key
    assert plan_key(plan(), resource(changed(CLAIM_SPEC, engine=None)).spec) == key
    custom = {"name": "custom", "image": "x", "custom": {"command": ["serve"], "port": 8000}}
    for changes in (
        {"engine": {"name": "llamacpp", "resources": {"requests": {"cpu": "2"}}}},
        {"engine": {"name": "llamacpp", "extraArgs": ["--x"]}},
        {"engine": {"name": "llamacpp", "env": [{"name": "A", "value": "1"}]}},
        {"engine": custom},
        {"quantization": {"method": "gguf", "kvCacheDtype": "q8_0"}},
        {"quantization": None},
        {"podTemplate": {"spec": {"runtimeClassName": "kata"}}},
        {"podTemplate": {"spec": {"resourceClaims": [{"name": "g", "resourceClaimName": "gpu"}]}}},
    ):
        assert plan_key(plan(), resource(changed(CLAIM_SPEC, **changes)).spec) != key, changes


def test_a_file_that_is_mounted_into_the_engine_is_part_of_what_was_measured() -> None:
    """Another settings file kept the curve of the former one, where a short check was within 15 %."""

    def key(config_map: str, path: str = "/etc/engine", others: str = "b") -> str:
        mount = {"name": "settings", "mountPath": path}
        volumes = [
            {"name": "settings", "configMap": {"name": config_map}},
            {"name": "unused", "configMap": {"name": others}},
        ]
        engine = {**CLAIM_SPEC["engine"], "volumeMounts": [mount]}
        spec = changed(CLAIM_SPEC, engine=engine, podTemplate={"spec": {"volumes": volumes}})
        return plan_key(plan(), resource(spec).spec)

    assert len({key("a"), key("b"), key("a", "/etc/other")}) == 3
    assert key("a", others="c") == key("a")


def test_the_fingerprint_holds_what_only_the_pod_shows() -> None:
    here = Environment(cpu_model="EPYC", driver_version="580")
    assert fingerprint("p", "m", "sha256:1", here) == fingerprint("p", "m", "sha256:1", here)
    others = [
        fingerprint("q", "m", "sha256:1", here),
        fingerprint("p", "n", "sha256:1", here),
        fingerprint("p", "m", "sha256:2", here),
        fingerprint("p", "m", "sha256:1", Environment(cpu_model="Xeon", driver_version="580")),
        fingerprint("p", "m", "sha256:1", Environment(cpu_model="EPYC", driver_version="581")),
        fingerprint("p", "m", "sha256:1", dataclasses.replace(here, cpu_count=2)),
        fingerprint("p", "m", "sha256:1", dataclasses.replace(here, cpu_limit_millis=1500)),
    ]
    assert len({fingerprint("p", "m", "sha256:1", here), *others}) == 8


def test_revisions_are_numbered_as_they_are_born() -> None:
    world = World()
    world.come_up()
    for length in (1024, 512):
        world.change(context={"maxModelLen": length, "concurrency": 2})
        world.settle(world.serve_all)
    numbers = [item["revision"] for (kind, _), item in world.objects.items() if kind == "ControllerRevision"]
    assert sorted(numbers) == [1, 2, 3]


def test_a_record_says_of_what_it_was_made() -> None:
    world = World()
    world.come_up()
    (record,) = [item for (kind, _), item in world.objects.items() if kind == "ControllerRevision"]
    assert record["apiVersion"] == "apps/v1"
    assert record["metadata"]["labels"][names.ROLE_LABEL] == "server"
    assert record["data"]["identity"]["spec"]["model"]["uri"] == "pvc://models/smollm2"
    assert record["data"]["facts"] == {
        "digest": FILES.digest,
        "commit": "",
        "format": "gguf",
        "fileCount": 1,
        "totalBytes": FILES.total_bytes,
    }
