"""Under which names images go into a registry, and that a base comes back out of its archive."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tacho_contract import __version__
from tacho_engines.registry import engine_profile
from tacho_engines.shared.images import engine_image
from tools.images import __main__ as images, buildah, catalog, push


@pytest.mark.parametrize("engine", ["llamacpp", "transformers", "ctranslate2", "vllm", "vllm-cpu"])
def test_the_planner_reads_the_engines_version_from_the_tag(engine: str) -> None:
    row = engine_profile("vllm").build_for(on_host=True) if engine == "vllm-cpu" else engine_profile(engine)
    image = f"registry.example/team/tacho-{engine}:{push.tag(f'tacho-{engine}')}"
    assert engine_image(row, image, {}) == (image, row.image.version)


def test_the_chart_finds_what_was_pushed() -> None:
    chart = (catalog.ROOT / "charts" / "tacho" / "Chart.yaml").read_text()
    assert re.findall(r"^appVersion: (.*)$", chart, re.MULTILINE) == [push.tag("tacho")] == [__version__]
    readme = (catalog.ROOT / "README.md").read_text()
    assert f"REGISTRY/tacho-llamacpp:{push.tag('tacho-llamacpp')}\n" in readme


def test_what_clusters_run_is_pushed_and_only_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done: list[tuple[str, str, bool]] = []
    monkeypatch.setattr(buildah, "exists", lambda reference: "llamacpp" not in reference)
    monkeypatch.setattr(
        buildah, "load", lambda archive, reference: done.append((archive.name, reference, True))
    )

    def pushed(built: str, to: str, *, secure: bool) -> str:
        done.append((built, to, secure))
        return "sha256:0"

    monkeypatch.setattr(buildah, "push", pushed)
    names = ("tacho", "tacho-llamacpp", "tacho-torch", "tacho-fakes", "smollm2", "tacho-node-engines")
    entries = [{"name": name, "content_reference": f"{name}:1", "archive": f"{name}.tar"} for name in names]
    references = push.pushed(entries, "localhost:5000")
    llamacpp = f"localhost:5000/tacho-llamacpp:{engine_profile('llamacpp').image.version}"
    assert references == [f"localhost:5000/tacho:{__version__}@sha256:0", f"{llamacpp}@sha256:0"]
    assert done == [
        ("tacho:1", f"localhost:5000/tacho:{__version__}", False),
        ("tacho-llamacpp.tar", "tacho-llamacpp:1", True),
        ("tacho-llamacpp:1", llamacpp, False),
    ]
    push.pushed(entries[:1], "registry.example:5000/team")
    pushed_name = f"registry.example:5000/team/tacho:{__version__}"
    assert done[-1] == ("tacho:1", pushed_name, True)
    plain = push.pushed(entries[:1], "http://registry.example:5000/team/")
    assert plain == [f"{pushed_name}@sha256:0"]
    assert done[-1] == ("tacho:1", pushed_name, False)


def test_a_base_that_left_the_storage_comes_back_out_of_its_archive(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The storage is emptied when it grows too large; archives outlive that."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(images, "OUTPUT", tmp_path / "build")
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("FROM x")
    done: list[str] = []
    monkeypatch.setattr(buildah, "exists", lambda reference: False)
    monkeypatch.setattr(
        buildah, "load", lambda archive, reference: done.append(f"load {archive} {reference}")
    )
    monkeypatch.setattr(
        buildah, "build", lambda context, file, on, *_, offline: done.append(f"build on {on}")
    )

    def export(reference: str, names: list[str], archive: Path) -> list[buildah.Layer]:
        archive.touch()
        return []

    monkeypatch.setattr(buildah, "export", export)
    below = images.Built("tacho-torch", "torch:dev", "docker.io/local/torch:1", "/cache/torch.tar", [])
    image = catalog.Image("top", str(dockerfile), lambda context: None, base="tacho-torch")
    images.build_one(image, below.content_reference, below)
    assert done == ["load /cache/torch.tar docker.io/local/torch:1", "build on docker.io/local/torch:1"]
