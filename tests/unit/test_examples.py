"""The examples together: one format in a folder, prerequisites in each header, one download for replicas."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.images import catalog

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


def resource(example: Path) -> dict[str, Any]:
    documents = yaml.safe_load_all(example.read_text())
    return next(document for document in documents if document["kind"] == "LLMDeployment")


def header(example: Path) -> str:
    return "".join(line for line in example.read_text().splitlines(True) if line.startswith("#"))


def test_a_folder_of_a_claim_has_one_format() -> None:
    found: dict[str, set[bool]] = {}
    for spec in (resource(example)["spec"] for example in EXAMPLES):
        if spec["model"]["uri"].startswith("pvc://"):
            is_gguf = spec["quantization"]["method"] == "gguf"
            found.setdefault(spec["model"]["uri"], set()).add(is_gguf)
    assert {uri for uri, formats in found.items() if len(formats) > 1} == set()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_a_header_says_what_the_example_needs(example: Path) -> None:
    claim = re.fullmatch(r"pvc://([^/]+)/(.+)", resource(example)["spec"]["model"]["uri"])
    if claim:
        words = " ".join(header(example).replace("#", "").split())
        assert f"a claim named {claim[1]}" in words
        assert f"folder {claim[2]}" in words


def test_replicas_that_scale_download_once() -> None:
    for example in EXAMPLES:
        spec = resource(example)["spec"]
        if "autoscaling" in spec and spec["model"]["uri"].startswith("hf://"):
            name = spec["cache"]["persistentVolumeClaim"]["claimName"]
            claims = [
                each for each in yaml.safe_load_all(example.read_text()) if each["kind"] != "LLMDeployment"
            ]
            assert [(claim["metadata"]["name"], claim["spec"]["accessModes"]) for claim in claims] == [
                (name, ["ReadWriteMany"])
            ]


def test_the_nf4_example_builds_the_image_that_it_names() -> None:
    text = header(next(example for example in EXAMPLES if example.name == "vllm-nf4.yaml"))
    (built,) = re.findall(r"build --only (\S+)", text)
    assert built not in {image.name for image in catalog.choose(None)}, "make images would do"
    assert catalog.choose(built)
    assert f"engineImages.vllm=REGISTRY/{built}:" in text
