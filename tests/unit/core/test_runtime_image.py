"""Pods of one revision run one runtime, also after its tag was pushed again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_contract.pod import FETCH_DIR, HOME_DIR, STATE_DIR, ZIPAPP, ZIPAPP_IN_IMAGE
from tacho_operator.core.manifests.containers import inject
from tacho_operator.core.revisions.runtime_image import digest_of, frozen_image, repository
from tacho_operator.core.types import RuntimeImage
from tools.harness.resources import CONFIG
from tools.harness.world import World

REPOSITORY = repository(CONFIG.tacho_image)
FIRST, SECOND = (f"{REPOSITORY}@sha256:{digit * 64}" for digit in "ab")
CHANGED = {"maxModelLen": 1024, "concurrency": 2}


def serving(runtime: RuntimeImage) -> World:
    """A world with this operator, in which one revision serves."""
    world = World()
    world.config = dataclasses.replace(CONFIG, runtime=runtime)
    world.come_up()
    return world


def injecting(world: World) -> dict[str, dict[str, Any]]:
    """The inject container of each Deployment."""
    found = {name: world.objects["Deployment", name] for name in world.names("Deployment")}
    return {name: item["spec"]["template"]["spec"]["initContainers"][0] for name, item in found.items()}


def test_a_revision_keeps_its_digest_and_a_new_one_takes_the_new() -> None:
    world = serving(RuntimeImage(image=FIRST))
    ((old, container),) = injecting(world).items()
    assert container["image"] == FIRST
    world.config = dataclasses.replace(CONFIG, runtime=RuntimeImage(image=SECOND))
    world.raw["spec"]["replicas"] = 3
    world.settle(world.serve_all)
    assert injecting(world) == {old: container}, "pods of later scaling too"

    world.change(context=CHANGED)
    world.reconcile(1)
    assert not world.pods("inspect"), "the model is known"
    found = injecting(world)
    assert found.pop(old) == container
    ((new, fresh),) = found.items()
    assert fresh["image"] == SECOND
    assert {item["name"]: item["runtime"] for item in world.status["revisions"]} == {old: FIRST, new: SECOND}


def test_without_a_digest_the_hash_is_frozen() -> None:
    world = serving(RuntimeImage(image=CONFIG.tacho_image, sha256="d" * 64))
    ((name, container),) = injecting(world).items()
    assert container["image"] == CONFIG.tacho_image
    assert "d" * 64 in container["command"]
    assert world.objects["ControllerRevision", name]["data"]["runtimeSha256"] == "d" * 64
    (shown,) = world.status["revisions"]
    assert shown["runtime"] == f"{CONFIG.tacho_image} sha256:{'d' * 64}"


@pytest.mark.parametrize("scheme", ["", "docker-pullable://"])
@pytest.mark.parametrize("tag", ["", ":1.0"])
def test_a_configured_digest_stays_where_the_node_names_another(scheme: str, tag: str) -> None:
    """That of an index names the image of every architecture; a node may name its own architecture's."""
    image = FIRST.replace("@", f"{tag}@")
    assert frozen_image(image, f"{scheme}{SECOND}", "d" * 64) == RuntimeImage(image=image)


def test_the_digest_comes_before_the_hash() -> None:
    tag = f"{REPOSITORY}:1.0"
    assert frozen_image(tag, FIRST, "d" * 64) == RuntimeImage(image=FIRST)
    assert frozen_image(tag, f"sha256:{'c' * 64}", "d" * 64) == RuntimeImage(image=tag, sha256="d" * 64)
    assert frozen_image(tag, "", "") == RuntimeImage(image=tag)


def run_injecting(folder: Path, sha256: str) -> subprocess.CompletedProcess[str]:
    """The inject container's program on files below ``folder``."""
    command = inject(RuntimeImage(image="tacho:1", sha256=sha256), "Always")["command"]
    program = command[command.index("-c") + 1]
    for path in (STATE_DIR, HOME_DIR, FETCH_DIR, ZIPAPP_IN_IMAGE, ZIPAPP):
        program = program.replace(f"'{path}", f"'{folder}{path}")
    arguments = [sys.executable, "-I", "-S", "-c", program, *command[command.index("-c") + 2 :]]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The runtime's file in the image."""
    path = Path(f"{tmp_path}{ZIPAPP_IN_IMAGE}")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"first")
    return path


FIRST_SHA256 = hashlib.sha256(b"first").hexdigest()


def test_another_runtime_is_refused_and_not_injected(tmp_path: Path, image: Path) -> None:
    image.write_bytes(b"second")
    done = run_injecting(tmp_path, FIRST_SHA256)
    assert done.returncode == 1
    assert json.loads(done.stderr)["failureClass"] == "RuntimeChanged"
    assert not Path(f"{tmp_path}{ZIPAPP}").exists()


def test_a_pod_that_starts_again_keeps_its_runtime(tmp_path: Path, image: Path) -> None:
    assert run_injecting(tmp_path, FIRST_SHA256).returncode == 0
    image.write_bytes(b"second")
    assert run_injecting(tmp_path, FIRST_SHA256).returncode == 0
    assert Path(f"{tmp_path}{ZIPAPP}").read_bytes() == b"first"


PART = st.text("abcz09", min_size=1, max_size=6)
PATH = st.lists(PART, min_size=1, max_size=3).map("/".join)
HOST = st.sampled_from(["", "docker.io/", "registry.example/", "registry.example:5000/", "localhost/"])
DIGEST = st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format)


@given(host=HOST, path=PATH, tag=st.sampled_from(["", ":1.0", ":dev"]), digest=DIGEST, scheme=st.booleans())
def test_a_digest_counts_for_its_own_repository(
    host: str, path: str, tag: str, digest: str, scheme: bool
) -> None:
    image = f"{host}{path}{tag}"
    shown = host or "docker.io/"
    full = f"{shown}library/{path}" if shown == "docker.io/" and "/" not in path else f"{shown}{path}"
    prefix = "docker-pullable://" if scheme else ""
    assert repository(image) == repository(f"{image}@{digest}") == f"{host}{path}"
    assert digest_of(f"{prefix}{full}@{digest}", image) == digest
    assert digest_of(f"{prefix}{full}x@{digest}", image) == ""
    assert digest_of(digest, image) == digest_of(f"{full}@{digest[:-1]}", image) == digest_of("", image) == ""


@pytest.mark.parametrize(
    ("image", "image_id", "same"),
    [
        ("index.docker.io/org/tacho:1", "docker.io/org/tacho", True),
        ("index.example.com/x:1", "index.example.com/x", True),
        ("index.example.com/x:1", "example.com/x", False),
    ],
)
def test_only_the_hub_has_an_index_that_is_itself(image: str, image_id: str, same: bool) -> None:
    digest = f"sha256:{'a' * 64}"
    assert digest_of(f"{image_id}@{digest}", image) == (digest if same else "")
