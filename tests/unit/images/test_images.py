"""Building images: what their keys depend on, where the base comes from, what a person is told."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tacho_engines.base import EngineProfile
from tacho_engines.registry import engine_profile
from tools import cache, demo, engines, lab, wheels
from tools.images import __main__ as images, base, buildah, catalog, machine
from tools.images.key import content_key
from tools.steps import StepError, run

DOCKERFILE = "FROM x"
SOURCES = """\
Debian|Debian Backports|bookworm-backports|main|http://backports.example/debian/
Vendor|Debian|bookworm|main|http://vendor.example/apt/
Debian|Debian-Security|bookworm-security|main|http://security.example/debian-security/
Debian|Debian|bookworm-updates|main|http://updates.example/debian/
Debian|Debian|bookworm|contrib|http://contrib.example/debian/
Debian|Debian|bookworm|main|http://main.example/debian/
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("print(1)")
    return tmp_path


def test_the_key_is_the_same_for_the_same_content_elsewhere(context: Path, tmp_path: Path) -> None:
    twin = shutil.copytree(context, tmp_path.parent / f"{tmp_path.name}-twin")
    os.utime(twin / "app" / "main.py", (0, 0))
    assert content_key(context, DOCKERFILE, "base") == content_key(twin, DOCKERFILE, "base")


def test_the_key_changes_with_everything_that_goes_in(context: Path) -> None:
    keys = [content_key(context, DOCKERFILE, "base")]
    keys += [content_key(context, "FROM y", "base"), content_key(context, DOCKERFILE, "other")]
    path = context / "app" / "main.py"
    path.write_text("print(2)")
    keys.append(content_key(context, DOCKERFILE, "base"))
    path.chmod(0o755)
    keys.append(content_key(context, DOCKERFILE, "base"))
    path.rename(context / "app" / "other.py")
    keys.append(content_key(context, DOCKERFILE, "base"))
    assert len(set(keys)) == len(keys)


def test_the_mirror_is_apts_own_for_the_main_archive() -> None:
    assert machine.choose_mirrors(SOURCES)["Debian"] == "http://main.example/debian"
    assert machine.choose_mirrors("") == {}


def test_a_mirror_list_gives_its_first_address() -> None:
    text = "# cloud\n\nhttps://one.example/debian/ priority:1\nhttps://two.example/debian\n"
    assert machine.first_address(text) == "https://one.example/debian"


def test_root_is_asked_for_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StepError, match=r"NotRoot: .*sudo make images.*tacho run"):
        images.build(None)


def test_a_full_disk_is_named_with_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 500_000_000))
    with pytest.raises(StepError, match=r"DiskFull: the base image needs 2\.0 GB .* 0\.5 GB are free"):
        cache.require_space(tmp_path, 2 * 10**9, "the base image")


def test_a_failing_command_shows_its_end_and_the_next_step() -> None:
    command = ["sh", "-c", "echo out; echo because >&2; exit 3"]
    with pytest.raises(StepError, match=r"(?s)BuildFailed: .*exited with 3\. Do this\..*because"):
        run(command, failure_class="BuildFailed", next_step="Do this.")


def test_a_wheel_with_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lock = (catalog.LOCKS / "pip.txt").read_text()
    wrong = re.sub(r"sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, lock)
    with pytest.raises(StepError, match=r"(?s)DownloadFailed: .*(HASHES|hash)"):
        wheels.download("pip", wrong)
    assert not list((tmp_path / "tacho" / "wheels").glob("pip-*"))


def test_wheels_are_asked_for_by_the_images_python_and_library() -> None:
    options = wheels.tags("aarch64")
    assert options[:2] == ["--python-version", "3.11"]
    assert {"manylinux_2_17_aarch64", "manylinux_2_36_aarch64", "manylinux2014_aarch64"} <= set(options)
    assert "manylinux_2_37_aarch64" not in options


def test_an_image_brings_what_it_is_built_on() -> None:
    assert [image.name for image in catalog.choose("tacho-fakes")] == ["tacho", "tacho-fakes"]
    names = [image.name for image in catalog.choose(None)]
    assert names.index("tacho") < names.index("tacho-fakes")
    with pytest.raises(StepError, match="UnknownImage: there is no image 'nope': choose one of tacho, "):
        catalog.choose("nope")


def test_the_dockerfiles_take_their_base_as_an_argument_and_run_as_nobody_special() -> None:
    for image in catalog.IMAGES:
        text = (catalog.ROOT / image.dockerfile).read_text()
        assert re.search(r"^ARG BASE=(docker|ghcr)\.io/", text, re.MULTILINE), image.name
        assert not re.search(r"^FROM (?!\$\{BASE\}|dependencies|engine)", text, re.MULTILINE), image.name
        theirs = image.name == "tacho-vllm"  # its makers run it as root; the pod says as whom
        assert image.base or theirs or re.search(r"^USER (10001|65532):", text, re.MULTILINE), image.name


def test_the_default_base_is_the_release_and_python_of_the_one_made_here() -> None:
    text = (catalog.ROOT / "operator" / "Dockerfile").read_text()
    assert f"python:{wheels.PYTHON_VERSION}-slim-{base.SUITE}" in text


def test_an_archive_carries_every_name(tmp_path: Path) -> None:
    manifest = {"digest": "sha256:1", "annotations": {buildah.REFERENCE_NAME: "x:1"}}
    (tmp_path / "index.json").write_text(json.dumps({"manifests": [manifest]}))
    buildah.name_also(tmp_path, ["x:dev"])
    manifests = json.loads((tmp_path / "index.json").read_text())["manifests"]
    assert [entry["annotations"][buildah.REFERENCE_NAME] for entry in manifests] == ["x:1", "x:dev"]
    assert {entry["digest"] for entry in manifests} == {"sha256:1"}


def test_every_dockerfile_of_an_engine_makes_the_image_its_row_names() -> None:
    built = {image.name for image in catalog.IMAGES}
    assert catalog.engines()
    for engine in catalog.engines():
        assert engine_profile(engine).build_for(on_host=True).image.reference in built


def test_every_dockerfile_of_runtime_has_its_image() -> None:
    made = {image.dockerfile for image in catalog.IMAGES}
    assert {f"runtime/Dockerfile.{name}" for name in catalog.dockerfiles()} <= made


@pytest.mark.parametrize(
    ("name", "row"),
    [
        *((name, engine_profile(name)) for name in ("transformers", "ctranslate2")),
        ("llamacpp", engine_profile("llamacpp").build_for(on_host=True)),
        ("llamacpp-cuda", engine_profile("llamacpp")),
        ("vllm-cpu", engine_profile("vllm").build_for(on_host=True)),
    ],
)
def test_an_images_user_and_command_are_what_its_engines_row_says(name: str, row: EngineProfile) -> None:
    text = (catalog.RUNTIME / f"Dockerfile.{name}").read_text()
    assert re.findall(r"^USER (\d+):", text, re.MULTILINE)[-1] == str(row.image.uid)
    (command,) = re.findall(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)
    assert json.loads(command.replace('"python"', '"python3"')) == list(row.image.entrypoint)


def test_the_demo_builds_what_its_engine_needs_and_no_more() -> None:
    known = {image.name for image in catalog.choose(None)}
    assert set(demo.IMAGES) == set(demo.EXAMPLES)
    for engine, wanted in demo.IMAGES.items():
        assert {"tacho", "tacho-llamacpp"} <= set(wanted) <= known, "the chart names both"
        assert (lab.NODE_IMAGE in wanted) == (engine != "llamacpp")
        assert demo.EXAMPLES[engine].is_file()


def test_images_of_gigabytes_are_built_by_name_alone() -> None:
    assert {image.name for image in catalog.choose(None)}.isdisjoint(
        f"tacho-{name}" for name in (catalog.TORCH, *catalog.ON_TORCH, *catalog.UPSTREAM, *catalog.COMPILED)
    )
    assert [image.name for image in catalog.choose("tacho-transformers")] == [
        "tacho-torch",
        "tacho-transformers",
    ]
    assert [image.name for image in catalog.choose("tacho-vllm")] == ["tacho-vllm"]


def test_torch_is_in_one_layer() -> None:
    def packages(name: str) -> set[str]:
        return set(locked(catalog.LOCKS / f"{name}.txt"))

    assert "torch" in packages(catalog.TORCH)
    for engine in catalog.ON_TORCH:
        assert not {"torch", "nvidia-cudnn-cu13"} & packages(engine)


def test_ctranslate2_finds_the_cublas_of_torch() -> None:
    """Its wheel loads ``libcublas.so.12`` by name from its own folder (RPATH), which no package brings."""
    text = (catalog.RUNTIME / "Dockerfile.ctranslate2").read_text()
    links = dict(reversed(pair) for pair in re.findall(r'ln -s "\$cuda/(\S+)" "\$packages/(\S+)"', text))
    assert links == {
        "ctranslate2.libs/libcublas.so.12": "libcublas.so.13",
        "ctranslate2.libs/": "libcublasLt.so.13",
    }
    assert locked(catalog.LOCKS / "torch.txt")["nvidia-cublas"].startswith("13.")
    assert engine_profile("ctranslate2").image.cuda.startswith("13.")


@pytest.mark.parametrize("name", ["transformers", "ctranslate2"])
def test_an_image_reads_a_tokenizer_that_is_sentencepieces_file_alone(name: str) -> None:
    """As Vicuna's. Source: transformers tokenization_utils_sentencepiece.py SentencePieceExtractor."""
    assert {"sentencepiece", "protobuf"} <= set(locked(catalog.LOCKS / f"{name}.txt"))


def locked(lock: Path) -> dict[str, str]:
    """Package to version."""
    lines = (
        line.split(" ")[0] for line in lock.read_text().splitlines() if "==" in line and line[0].isalnum()
    )
    return dict(line.split("==") for line in lines)


@pytest.mark.parametrize("name", [catalog.TORCH, *catalog.ON_TORCH, "vllm"])
def test_an_image_has_the_versions_that_are_tested_together(name: str) -> None:
    tested = locked(catalog.LOCKS / "engines.txt")
    mine = locked(catalog.LOCKS / f"{name}.txt")
    wanted = (catalog.LOCKS / f"{name}.in").read_text().splitlines()
    names = {re.split(r"[<>=]", line)[0] for line in wanted if not line.startswith("#")}
    assert names
    assert names <= set(mine)
    assert {package: version for package, version in mine.items() if tested.get(package) != version} == {}


BASES = {
    "vllm": ("3.12", "x86_64-manylinux_2_35"),  # upstream's image: Ubuntu 22.04
    **dict.fromkeys(
        (*(name for name in catalog.engine_locks() if name not in catalog.UPSTREAM), "llamacpp-cuda-build"),
        (wheels.PYTHON_VERSION, f"x86_64-manylinux_2_{wheels.NEWEST_GLIBC_MINOR}"),
    ),
}
"""Python and C library of what the engines' images stand on."""


@pytest.mark.parametrize(
    ("name", "python", "library"), [(name, *base) for name, base in BASES.items()], ids=list(BASES)
)
def test_what_an_image_installs_is_in_the_index_for_its_bases_python(
    name: str, python: str, library: str
) -> None:
    """Each package in its version, as a wheel for that Python and C library, with the hashes of the lock."""
    lock = catalog.LOCKS / f"{name}.txt"
    options = ("--no-deps", "--generate-hashes", "--no-header", "--no-annotate", "--only-binary=:all:")
    where = (f"--python-version={python}", f"--python-platform={library}")
    uv = Path(sys.executable).with_name("uv")
    done = subprocess.run(
        [uv, "pip", "compile", "--quiet", *options, *where, lock], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    written = [line for line in lock.read_text().splitlines() if not line.lstrip().startswith("#")]
    assert done.stdout.splitlines() == written


def test_engines_that_are_installed_otherwise_are_others() -> None:
    assert "--compile-bytecode" in engines.OPTIONS
    found = {engines.key(lock, options) for lock in ("a", "b") for options in ((), engines.OPTIONS)}
    assert len(found) == 4


def test_apt_packages_are_those_that_the_base_takes_from_debians_archive() -> None:
    named = {
        package
        for path in (*catalog.ENGINE_DOCKERFILES, catalog.ROOT / "operator" / "Dockerfile")
        for found in re.findall(r"--no-install-recommends ([^&]+)&&", path.read_text())
        for package in found.split()
    }
    compilers = {"g++", "python3-dev"}
    assert named == {"libgomp1", "libnuma1", *compilers}
    assert named - compilers <= set(base.PACKAGES)


def test_what_a_dockerfile_copies_of_the_runtime_is_found() -> None:
    assert catalog.copied_packages("llamacpp") == ("tacho_server", "tacho_llamacpp")
    assert catalog.copied_packages("transformers") == ("tacho_server", "tacho_transformers")
    assert catalog.copied_packages("vllm") == ()


def test_a_dockerfile_without_a_base_to_replace_is_refused(tmp_path: Path) -> None:
    dockerfile = tmp_path / "Dockerfile.x"
    dockerfile.write_text("FROM scratch\n")
    with pytest.raises(StepError, match="BaseMissing"):
        catalog.named_base(dockerfile)
    assert catalog.named_base(catalog.RUNTIME / "Dockerfile.vllm").startswith("docker.io/vllm/vllm-openai:v")


def test_an_engine_brings_the_packages_that_its_dockerfile_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("tacho_swift", "tacho_other"):
        (tmp_path / "runtime" / package).mkdir(parents=True)
        (tmp_path / "runtime" / package / "__main__.py").touch()
    (tmp_path / "runtime" / "Dockerfile.swift").write_text(
        "FROM scratch\nCOPY tacho_swift /app/tacho_swift\n"
    )
    monkeypatch.setattr(catalog, "RUNTIME", tmp_path / "runtime")
    monkeypatch.setattr(catalog, "ROOT", tmp_path)
    monkeypatch.setattr(catalog, "engine_locks", lambda: ())
    context = tmp_path / "context"
    catalog.stage_engine("swift", context)
    assert [str(path.relative_to(context)) for path in context.rglob("*.py")] == ["tacho_swift/__main__.py"]


def test_the_report_counts_shared_layers_once() -> None:
    def image(name: str, *layers: tuple[str, int]) -> images.Built:
        described = [{"digest": digest, "size_bytes": size} for digest, size in layers]
        return images.Built(name, f"{name}:dev", f"{name}:1", "", described)

    text = images.report(
        [image("a", ("base", 50_000_000), ("x", 5_000_000)), image("b", ("base", 50_000_000))]
    )
    assert text.splitlines() == [
        "a:1: 55.0 MB, 50.0 MB of it shared",
        "b:1: 50.0 MB, 50.0 MB of it shared",
        "all together: 55.0 MB in 2 layers, compressed",
    ]


def test_an_image_that_left_the_cache_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "INDEX", tmp_path / "images.json")
    with pytest.raises(
        StepError, match="NotBuilt: no images have been built in this clone: run `make images`"
    ):
        images.recorded()
    archive = tmp_path / "a.tar"
    archive.touch()
    images.record([images.Built("a", "a:dev", "a:1", str(archive), [])])
    images.record([images.Built("b", "b:dev", "b:1", str(archive), [])])
    assert [entry["name"] for entry in images.recorded()] == ["a", "b"]
    archive.unlink()
    with pytest.raises(StepError, match="NotBuilt: a, b left the cache"):
        images.recorded()


def test_what_is_compiled_has_the_version_of_the_build_for_cpus_and_its_source_by_hash() -> None:
    source = (catalog.LOCKS / "llamacpp.txt").read_text()
    assert catalog.COMPILED == ("llamacpp-cuda",)
    compilers = locked(catalog.LOCKS / "llamacpp-cuda-build.txt")
    linked = locked(catalog.LOCKS / "llamacpp-cuda.txt")
    assert {name: compilers[name] for name in linked} == linked
    dockerfile = (catalog.RUNTIME / "Dockerfile.llamacpp-cuda").read_text()
    (cuda,) = re.findall(r"CUDA_VERSION=(\S+)", dockerfile)
    assert linked["nvidia-cuda-runtime"].startswith(f"{cuda}.")
    assert compilers["nvidia-cuda-nvcc"].startswith(f"{cuda}.")
    assert "-r /build/source.txt" in dockerfile
    assert locked(catalog.LOCKS / "llamacpp.txt").keys() == {"xllamacpp"}
    assert source.count("--hash") > 1


def test_an_image_that_is_removed_while_others_are_listed_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[str | StepError] = [StepError("BuildFailed", "image not known"), '[{"names": ["a:1"]}]']

    def listing(*_: str) -> str:
        answer = answers.pop(0)
        if isinstance(answer, StepError):
            raise answer
        return answer

    monkeypatch.setattr(buildah, "_buildah", listing)
    assert buildah.exists("a:1")
    answers[:] = [StepError("BuildFailed", "no space")]
    with pytest.raises(StepError, match="no space"):
        buildah.exists("a:1")


def test_an_archive_that_was_pruned_since_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "tacho.tar"
    there.write_text("x")
    archives = {"tacho": there, lab.NODE_IMAGE: tmp_path / "gone.tar"}
    entries = [
        {"name": name, "archive": str(archive), "content_reference": f"{name}:1"}
        for name, archive in archives.items()
    ]
    index = tmp_path / "images.json"
    index.write_text(json.dumps(entries))
    monkeypatch.setattr(lab, "INDEX", index)
    imported: list[Path] = []
    monkeypatch.setattr("tools.lab.images.load_into", lambda _, archive: imported.append(archive))
    cluster: Any = SimpleNamespace(name="demo")
    assert lab.load_images(cluster) == {"tacho": "tacho:1"}
    assert imported == [there]
