"""What a bare host with a GPU needs to be a node with tacho on it, as archives to carry there.

    python -m benchmarks.gpu.pack [OUT] [--vllm VERSION]

`node.tar.xz` (46 MiB): the cluster's programs without CoreDNS, the device plugin, and of this machine
containerd, runc, ip, iptables, conntrack, openssl and the CNI plugins with their libraries. `tacho.tar.xz`
(9 MiB): the layer of tacho's image for the host's Python 3.12, the chart as helm renders it, these scripts.
`transformers.tar.xz` (2 MiB): Transformers in the version that tacho serves, with few models. vLLM and
bitsandbytes come beside it: their wheels, installed without dependencies into a folder, and CTranslate2's
in one of its own, `layer/opt/engine/ct2`. It takes minutes, most of them xz.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.gpu.host import CTRANSLATE2, TACHO, TRANSFORMERS, VLLM
from tools import gpu_bundle, lab, zipapp
from tools.cluster import binaries, builds, packages
from tools.steps import say

ROOT = Path(__file__).resolve().parent.parent.parent
OUTPUT = ROOT / "build" / "gpu"
LIBRARIES = Path("usr/lib/x86_64-linux-gnu")
FOUND = (
    *("/usr/bin/containerd", "/usr/bin/ctr", "/usr/bin/containerd-shim-runc-v2", "/usr/sbin/runc"),
    *("/usr/bin/ip", "/usr/bin/openssl", "/usr/sbin/conntrack"),
    *("/usr/sbin/xtables-nft-multi", "/usr/sbin/xtables-legacy-multi"),
    *(f"/usr/lib/cni/{plugin}" for plugin in ("ptp", "host-local", "portmap", "loopback")),
)
OF_LIBC = ("libc.so", "ld-linux", "libm.so", "libpthread", "libdl", "librt")
"""The host's own are newer and stay."""
UNUSED = (
    "hf_xet*",
    "kubernetes/**/api/[!_]*",
    "kubernetes/**/models/[!_]*",
    "tzdata",
)
"""Of tacho's packages: the Hub's transfers, classes of the Kubernetes client that are never imported."""
SHAPES = ("auto", "llama", "gpt2", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe", "phi", "phi3")
STRAY = shutil.ignore_patterns("__pycache__", "go", "go-tools", "h200", "h100")


def machine_programs(root: Path) -> None:
    """This machine's node programs and what they are linked with, under their own paths."""
    packages.ensure(packages.NODE_TOOLS, say)
    linked: set[Path] = set()
    for name in FOUND:
        target = root / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(Path(name).resolve(), target)
        told = subprocess.run(["ldd", name], capture_output=True, text=True, check=False).stdout
        words = (line.split("=>")[1].split()[0] for line in told.splitlines() if "=>" in line)
        linked |= {Path(word) for word in words if not Path(word).name.startswith(OF_LIBC)}
    (root / LIBRARIES).mkdir(parents=True, exist_ok=True)
    shutil.copytree(Path("/") / LIBRARIES / "xtables", root / LIBRARIES / "xtables")
    for library in linked:
        real = library.resolve()
        shutil.copy2(real, root / LIBRARIES / real.name)
        if real.name != library.name:
            (root / LIBRARIES / library.name).symlink_to(real.name)


def cluster_programs(folder: Path) -> None:
    """The multi-call binary under all its names, pause, and the device plugin."""
    folder.mkdir(parents=True)
    found = binaries.find(say)
    for name in (f"tacho-{builds.CLUSTER.name}", "pause"):
        shutil.copy2(found.path(name), folder / name)
    for name in builds.CLUSTER.programs:
        (folder / name).symlink_to(f"tacho-{builds.CLUSTER.name}")
    shutil.copy2(binaries.device_plugin(say), folder / "device-plugin")


def tacho_layer(layer: Path, python: str) -> None:
    """/opt/tacho and the servers of engines that are libraries, in /opt/engine/app."""
    site, app, servers = (layer / "opt" / name for name in ("tacho/site", "tacho/app", "engine/app"))
    uv = Path(sys.executable).with_name("uv")
    where = ["--python-version", python, "--python-platform", gpu_bundle.PLATFORM, "--only-binary", ":all:"]
    lock = ROOT / "requirements" / "image.txt"
    subprocess.run(
        [uv, "pip", "install", "-q", *where, "--no-deps", "--target", site, "-r", lock], check=True
    )
    gpu_bundle.trim(site)
    for pattern in UNUSED:
        for path in site.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for source in (*ROOT.glob("operator/tacho_*"), *ROOT.glob("runtime/tacho_*")):
        shutil.copytree(source, app / source.name, ignore=STRAY)
    for name in ("tacho_server", "tacho_transformers", "tacho_ctranslate2"):
        shutil.copytree(ROOT / "runtime" / name, servers / name, ignore=STRAY)
    shutil.copy(zipapp.build(), layer / "opt" / "tacho" / "tacho-runtime.pyz")


def transformers_layer(layer: Path, python: str) -> None:
    """Transformers alone; what it imports is the host's, or in tacho's own folder."""
    target = layer / "opt" / "engine" / "transformers"
    with tempfile.TemporaryDirectory() as scratch:
        site = Path(scratch)
        gpu_bundle.install(("transformers",), ROOT / "requirements" / "engines.txt", python, site)
        for source in site.glob("transformers*"):
            shutil.copytree(source, target / source.name, ignore=STRAY)
    for folder in (target / "transformers" / "models").iterdir():
        if folder.is_dir() and folder.name not in SHAPES:
            for kind in ("mod", "proc", "image", "video", "feature", "convert"):
                for path in folder.glob(f"{kind}*.py"):
                    path.unlink()


def chart(vllm: str) -> str:
    """The chart with the names of the host's images, as helm renders it."""
    repository, _, tag = TACHO.rpartition(":")
    values = {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "engineImages": {"vllm": VLLM.format(vllm), "transformers": TRANSFORMERS, "ctranslate2": CTRANSLATE2},
        "logFormat": "text",
        "resyncSeconds": 60,
        "prices": {"NVIDIA-H200": "3.50"},
    }
    command = [
        str(binaries.helm(say)),
        "template",
        lab.RELEASE,
        str(lab.CHART),
        "--namespace",
        lab.OPERATOR_NAMESPACE,
    ]
    done = subprocess.run(
        [*command, "--values", "-"], input=json.dumps(values), capture_output=True, text=True, check=True
    )
    return str(done.stdout)


def sources(folder: Path) -> None:
    """What runs on the host: the cluster, the stories, the simulator beside an engine, and SmolLM2's
    tokenizer for models without one."""
    for name in ("tools", *(f"benchmarks/{part}" for part in ("gpu", "engines", "llamacpp", "simulator"))):
        shutil.copytree(ROOT / name, folder / name, ignore=STRAY)
    shutil.copy(ROOT / "benchmarks/__init__.py", folder / "benchmarks/__init__.py")
    from tools import engines

    (folder / "tokenizer").mkdir()
    for path in engines.safetensors_model().iterdir():
        if path.name.startswith(("tokenizer", "chat_template")):
            shutil.copy(path, folder / "tokenizer")


def archive(place: Path, folder: Path, names: tuple[str, ...]) -> None:
    """One stream over everything: programs in Go are alike."""
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
    tar = ["tar", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "-C", str(folder)]
    squeeze = "xz -T1 --x86 --lzma2=preset=9e,dict=256MiB"
    subprocess.run([*tar, "-I", squeeze, "-cf", str(place), *names], check=True)
    print(f"{place}  {place.stat().st_size / 2**20:.1f} MiB")


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.pack", description=__doc__)
    parser.add_argument("out", nargs="?", type=Path, default=OUTPUT)
    parser.add_argument("--python", default="3.12", help="the host's Python")
    parser.add_argument("--vllm", default="0.26.0", help="the version that the engine's archive has")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        machine_programs(place / "root")
        cluster_programs(place / "programs")
        tacho_layer(place / "layer", arguments.python)
        (place / "chart.yaml").write_text(chart(arguments.vllm))
        sources(place / "src")
        archive(arguments.out / "tacho.tar.xz", place, ("layer", "src", "chart.yaml"))
        transformers_layer(place / "engine" / "layer", arguments.python)
        archive(arguments.out / "transformers.tar.xz", place / "engine", ("layer",))
        archive(arguments.out / "node.tar.xz", place, ("root", "programs"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
