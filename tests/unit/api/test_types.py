"""Reading and writing: names, nulls, unknown fields, absence."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tacho_operator.api.crd.schema import resource_schema
from tacho_operator.api.spec.service import CostSpec
from tacho_operator.api.status.measurement import MeasuredEnvironment, MeasuredMemory
from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.api.types import LLMDeployment, LLMDeploymentSpec
from tests.unit.api.leaves import LEAVES
from tests.unit.api.rows import Row
from tests.unit.api.samples import sample

SCHEMA = resource_schema(())


def read(**spec: object) -> LLMDeployment:
    return LLMDeployment.read(Row(name="x", change=spec).document())


def test_what_is_absent_stays_absent() -> None:
    spec = LLMDeploymentSpec.model_validate({"model": {"uri": "hf://a/b"}})
    assert (spec.engine, spec.gpu, spec.context, spec.slo, spec.model.revision) == (None,) * 5
    assert spec.replicas == 1
    assert spec.model.files == []


def test_every_field_of_spec_survives_reading_and_writing() -> None:
    everything = sample(SCHEMA["properties"]["spec"])
    assert LLMDeploymentSpec.model_validate(everything).to_wire() == everything


def test_every_field_of_status_survives_reading_and_writing() -> None:
    everything = sample(SCHEMA["properties"]["status"])
    assert LLMDeploymentStatus.model_validate(everything).to_wire() == everything


def test_what_a_newer_version_wrote_is_read() -> None:
    document = Row(name="x").document()
    document["spec"]["engine"]["later"] = {"a": 1}
    document["status"] = {
        "conditions": [],
        "later": [],
        "measurements": [{"fingerprint": "f", "state": "Later"}],
    }
    assert LLMDeployment.read(document).status.measurements[0].state == "Later"


def test_nulls_are_absent() -> None:
    document = Row(name="x", change={"model.files": None, "cache": None, "replicas": None}).document()
    assert LLMDeployment.read(document).spec == read(**{"model.files": []}).spec


def test_a_resource_cannot_be_changed() -> None:
    resource = read()
    with pytest.raises(ValidationError):
        resource.spec.replicas = 2  # type: ignore[misc]  # it is frozen


def test_acronyms_are_written_as_people_write_them() -> None:
    assert CostSpec(price_per_gpu_hour="1.20").to_wire() == {"pricePerGPUHour": "1.20"}
    assert MeasuredMemory(predicted_kv_cache_tokens=3).to_wire() == {"predictedKVCacheTokens": 3}
    assert MeasuredEnvironment(image_id="x@sha256:0").to_wire() == {"imageID": "x@sha256:0"}


def test_leaves_name_every_field_once() -> None:
    leaves = LEAVES
    assert len(set(leaves)) == len(leaves)
    assert {"model.uri", "model.files", "engine.env[].name", "replicas", "podTemplate.metadata.labels"} < set(
        leaves
    )
    tops = {leaf.split(".")[0].removesuffix("[]") for leaf in leaves}
    assert tops == set(SCHEMA["properties"]["spec"]["properties"])
    assert not [leaf for leaf in leaves if any(other.startswith(f"{leaf}.") for other in leaves)]
