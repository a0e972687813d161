"""What an image's reference says of the build in it."""

from __future__ import annotations

import pytest

from tacho_engines.registry import engine_profile
from tacho_engines.shared.images import image_version, is_for_cpu


@pytest.mark.parametrize(
    ("engine", "image", "expected"),
    [
        ("vllm", "registry:5000/vllm:v0.32.0-CPU", True),
        ("vllm", "registry/VLLM-CPU:latest", True),
        ("vllm", "registry/vllm:cpu64", True),
        ("vllm", "registry/vllm:0.32.0_2cpu", True),
        ("vllm", "registry/vllm:v0.32.0-cpuonly", True),
        ("vllm", "registry/vllm:v0.32.0-ubi9cpu@sha256:cafe", True),
        ("vllm", "registry/recpu:v0.32.0", False),
        ("vllm", "registry/vllm:cpus", False),
        ("vllm", "cpu/vllm:v0.32.0", False),
        # By its own name, which does not say so.
        ("llamacpp", "registry/tacho-llamacpp:2026.10", True),
        ("llamacpp", "registry/tacho-llamacpp", True),
        ("llamacpp", "registry/tacho-llamacpp-cuda:2026.10", False),
        ("transformers", "registry/tacho-transformers:2026.10", False),
    ],
)
def test_a_build_for_the_cpu_is_known_by_its_name(engine: str, image: str, expected: bool) -> None:
    assert is_for_cpu(engine_profile(engine), image) is expected


@pytest.mark.parametrize(("engine", "version"), [("llamacpp", "b6123"), ("vllm", "")])
def test_a_builds_number_is_a_version_of_llamacpp_alone(engine: str, version: str) -> None:
    assert image_version(engine_profile(engine), "registry/image:server-b6123") == version
