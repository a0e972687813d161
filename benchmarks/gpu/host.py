"""A node with a GPU, on a bare host without a network: the test cluster, a device plugin, tacho.

    python3 -m benchmarks.gpu.host PLACE [--gpus 0,1] [--stand-in] [--python FOLDER]

PLACE is where the archives of pack.py were unpacked, on a tmpfs of its own: overlayfs takes no layer that
lies inside another, and one of the images' layers is this host's root; the other is PLACE/layer. Nothing is
copied: both are bind mounts over the layers of an empty image. The cluster runs on when this ends. --stand-in
offers /dev/null as the GPU, to rehearse where there is none.
--gpus offers these alone. On a host that is a node already it only offers others: what has a GPU keeps it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

NAME = "gpu"
RESOURCE = "nvidia.com/gpu"
TACHO = "docker.io/local/tacho:gpu"
VLLM = "docker.io/local/tacho-vllm:v{}"
TRANSFORMERS = "docker.io/local/tacho-transformers:v5.19.0"
CTRANSLATE2 = "docker.io/local/tacho-ctranslate2:v4.8.5"
LAYERS = (".layer-host", ".layer-tacho")
"""A file in each of the image's empty layers, by which its folder is found."""
DRIVER = Path("/usr/local/nvidia")
TORCH = Path("opt/engine/torch")
"""In PLACE/layer, where the engine does not run with the host's PyTorch."""
OWN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RULES = (
    "-t nat -A POSTROUTING -m comment --comment x -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully",
    "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j ACCEPT",
    "-t nat -A OUTPUT -p tcp -m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.0.0.1",
    "-t filter -A FORWARD -m conntrack --ctstate INVALID -j DROP",
)
"""What kube-proxy needs of the kernel."""
NFT, LEGACY = "xtables-nft-multi", "xtables-legacy-multi"
OFFER_SECONDS = 30
STARTED = time.monotonic()


def say(line: str) -> None:
    print(f"[{time.monotonic() - STARTED:6.1f}] {line}", flush=True)


def vllm_image(site: Path) -> str:
    """The name of the image whose vLLM lies in ``site``."""
    (found,) = site.glob("vllm-[0-9]*.dist-info")
    return VLLM.format(found.name.removeprefix("vllm-").removesuffix(".dist-info"))


def variables(python: Path, vllm: str) -> dict[str, dict[str, str]]:
    """Image to its environment: the folders of PLACE/layer and of the host's Python."""
    common = {"HOME": "/tmp", "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
    path = f"{python}/bin:{OWN}"
    without = {"VLLM_USE_FLASHINFER_SAMPLER": "0", "VLLM_USE_DEEP_GEMM": "0"}
    without |= {"PYTORCH_SKIP_CUDNN_COMPATIBILITY_CHECK": "1"}  # the host's may be older by a patch
    engine = {"PATH": f"/opt/engine/bin:{path}", "PYTHONPATH": f"/opt/engine/site:/{TORCH}"}
    library = {**common, "PATH": path}
    sites = "/opt/engine/transformers:/opt/tacho/site:/opt/engine/site"
    return {
        TACHO: {**common, "PATH": f"/opt/tacho/venv/bin:{OWN}"},
        vllm: common | without | engine,
        TRANSFORMERS: {**library, "PYTHONPATH": f"/opt/engine/app:{sites}"},
        CTRANSLATE2: {**library, "PYTHONPATH": f"/opt/engine/app:/opt/engine/ct2:{sites}"},
    }


def install_programs(place: Path) -> None:
    """containerd, runc, ip, iptables and their libraries where the host has none; nothing is replaced."""
    pack = subprocess.Popen(["tar", "-C", place / "root", "-cf", "-", "."], stdout=subprocess.PIPE)
    unpack = ["tar", "-C", "/", "--skip-old-files", "--keep-directory-symlink", "--no-same-owner", "-xf", "-"]
    subprocess.run(unpack, stdin=pack.stdout, check=True)
    subprocess.run(["ldconfig"], check=True)
    for variant in (NFT, LEGACY):
        script = " && ".join(f"/usr/sbin/{variant} iptables {rule}" for rule in RULES)
        tried = subprocess.run(
            ["unshare", "--net", "sh", "-c", script], capture_output=True, text=True, check=False
        )
        say(f"{variant}: {'works' if tried.returncode == 0 else tried.stderr.strip()[-400:]}")
        if tried.returncode == 0:
            for family in ("iptables", "ip6tables"):
                for verb in ("", "-save", "-restore"):
                    link = Path(f"/usr/sbin/{family}{verb}")
                    link.unlink(missing_ok=True)
                    link.symlink_to(variant)
            return
    say("no iptables works: Services will not answer")


def make_image(archive: Path, name: str, environment: dict[str, str]) -> None:
    """A docker archive of two layers that hold a marker each."""
    layers = {}
    for marker in LAYERS:
        content = BytesIO()
        with tarfile.open(fileobj=content, mode="w") as layer:
            layer.addfile(tarfile.TarInfo(marker))
        layers[marker] = content.getvalue()
    digests = [f"sha256:{hashlib.sha256(packed).hexdigest()}" for packed in layers.values()]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Env": [f"{key}={value}" for key, value in environment.items()],
            "WorkingDir": "/",
            "User": "10001:10001",
            "Entrypoint": ["python3", "-m", "tacho_operator"],
        },
        "rootfs": {"type": "layers", "diff_ids": digests},
    }
    manifest = [
        {"Config": "config.json", "RepoTags": [name], "Layers": [f"{marker}.tar" for marker in LAYERS]}
    ]
    parts = {f"{marker}.tar": packed for marker, packed in layers.items()}
    parts |= {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(archive, "w") as image:
        for path, part in parts.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(part)
            image.addfile(entry, BytesIO(part))


def load_images(place: Path, python: Path) -> None:
    from tools.cluster import images, namespaces, state

    known = state.read(NAME)
    assert known is not None
    vllm = vllm_image(place / "layer/opt/engine/site")
    for number, (name, environment) in enumerate(variables(python, vllm).items()):
        archive = place / f"image-{number}.tar"
        make_image(archive, name, environment)
        images.load(known, archive)
    snapshots = (
        state.directory_of(NAME) / "containerd" / "io.containerd.snapshotter.v1.overlayfs" / "snapshots"
    )
    for marker, source in zip(LAYERS, (Path("/"), place / "layer"), strict=True):
        (found,) = snapshots.glob(f"*/fs/{marker}")
        namespaces.run_inside(known.holder_pid, ["mount", "--bind", str(source), str(found.parent)])


def make_layer(place: Path, python: Path) -> None:
    """tacho's own virtual environment on the host's Python, and the `vllm` command without its benchmarks."""
    venv = place / "layer" / "opt" / "tacho" / "venv"
    subprocess.run([python / "bin" / "python3", "-m", "venv", "--without-pip", venv], check=True)
    (packages,) = venv.glob("lib/python3*/site-packages")
    (packages / "tacho.pth").write_text("/opt/tacho/app\n/opt/tacho/site\n")
    command = place / "layer" / "opt" / "engine" / "bin" / "vllm"
    command.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).with_name("vllm_command.py"), command)
    command.chmod(0o755)
    for folder in place.glob("layer/opt/engine/ct2/ctranslate2.libs"):
        link_cublas(folder, python)
    if (place / "layer" / TORCH).is_dir():
        link_cuda(place / "layer" / TORCH / "nvidia", python)
    subprocess.run(["chmod", "-R", "a+rX", place / "layer"], check=True)


def link_cublas(folder: Path, python: Path) -> None:
    """The host's cuBLAS beside CTranslate2's library, which loads version 12 by its name: of the eight
    functions that it asks for, 13 has the same."""
    for name, found in (("libcublas.so.12", "libcublas.so.1?"), ("libcublasLt.so.1?", "libcublasLt.so.1?")):
        library = next(python.glob(f"lib/python3*/site-packages/nvidia/**/{found}"), None)
        if library is None:
            say(f"CTranslate2 has no {name}")
            continue
        (folder / (library.name if "?" in name else name)).symlink_to(library)


def link_cuda(folder: Path, python: Path) -> None:
    """The host's CUDA libraries where a carried PyTorch looks for them, but for those that came with it."""
    command = [str(python / "bin" / "python3"), "-c", "import nvidia; print(*nvidia.__path__, sep=chr(10))"]
    own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    found = subprocess.run(command, env=own, capture_output=True, text=True, check=True)
    for line in found.stdout.splitlines():
        for library in Path(line).iterdir():
            if library.is_dir() and library.name != "__pycache__" and not (folder / library.name).exists():
                (folder / library.name).symlink_to(library.resolve())


def gpu_labels() -> dict[str, str]:
    """As GPU feature discovery writes them, from what the driver says."""
    query = "name,memory.total,compute_cap,driver_version"
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    name, memory, capability, driver = (word.strip() for word in told[0].split(","))
    major, _, minor = capability.partition(".")
    return {
        "product": name.replace(" ", "-"),
        "memory": memory,
        "replicas": "1",
        "compute.major": major,
        "compute.minor": minor,
        "driver": driver,
    }


def stand_in_labels() -> dict[str, str]:
    return {"product": "NVIDIA-H200", "memory": "143771", "replicas": "1"} | {
        "compute.major": "9",
        "compute.minor": "0",
    }


def plugin_arguments(stand_in: bool, gpus: list[str], torch: Path) -> list[str]:
    """``gpus``: numbers of those that are offered; []: all. ``torch``: a carried PyTorch, if there is one."""
    if stand_in:
        return [word for gpu in gpus or ["0"] for word in ("--device", f"gpu{gpu}=/dev/null")]
    nodes = sorted(Path("/dev").glob("nvidia[0-9]*"))
    nodes = [node for node in nodes if not gpus or node.name.removeprefix("nvidia") in gpus]
    shared = [path for path in (Path("/dev/nvidiactl"), *Path("/dev").glob("nvidia-uvm*")) if path.exists()]
    line: list[str] = []
    for node in nodes:
        line += ["--device", f"gpu{node.name.removeprefix('nvidia')}={node}"]
    for path in shared:
        line += ["--with", str(path)]
    if DRIVER.exists():
        libraries = [str(DRIVER / name) for name in ("lib64", "lib")]
        libraries += [f"/{TORCH}/nvidia/{path.parent.name}/lib" for path in torch.glob("nvidia/*/lib")]
        line += ["--mount", str(DRIVER), "--env", f"LD_LIBRARY_PATH={':'.join(libraries)}"]
    return line


def offer_gpus(cluster: Any, stand_in: bool, gpus: list[str], torch: Path) -> None:
    """Labels the node and starts the device plugin beside its kubelet, in place of one that runs."""
    from tools.cluster import devices

    line = plugin_arguments(stand_in, gpus, torch)
    count = line.count("--device")
    labels = (stand_in_labels() if stand_in else gpu_labels()) | {"count": str(count)}
    driver = labels.pop("driver", "")
    labelled = [f"nvidia.com/gpu.{key}={value}" for key, value in labels.items()]
    cluster.kubectl("label", "node", NAME, "--overwrite", *labelled)
    say(f"labels: {labels} driver {driver}")
    subprocess.run(["pkill", "-f", f"device-plugin --resource {RESOURCE}"], check=False)
    devices.offer(cluster, RESOURCE, line, say)
    deadline = time.monotonic() + OFFER_SECONDS
    while devices.allocatable(cluster, RESOURCE) != count and time.monotonic() < deadline:
        time.sleep(0.2)
    say(f"the node offers {devices.allocatable(cluster, RESOURCE)} of {count} GPUs")


def without_dns(chart: str) -> str:
    """The rendered chart with the API server's name in the operator's own hosts file: kopf asks by that name,
    and what is carried has no CoreDNS."""
    import yaml

    from tools.cluster import state

    known = state.read(NAME)
    assert known is not None
    documents = [each for each in yaml.safe_load_all(chart) if each and not _is_hook(each)]
    for document in documents:
        if document["kind"] == "Deployment":
            alias = {"ip": known.network.service_address, "hostnames": ["kubernetes.default.svc"]}
            document["spec"]["template"]["spec"]["hostAliases"] = [alias]
    return str(yaml.safe_dump_all(documents))


def _is_hook(document: dict[str, Any]) -> bool:
    """Whether helm alone would run it, as `helm test` does."""
    return "helm.sh/hook" in (document["metadata"].get("annotations") or {})


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.host", description=__doc__)
    parser.add_argument("place", type=Path)
    parser.add_argument("--gpus", default="", help="numbers, e.g. 0,1; all by default")
    parser.add_argument("--stand-in", action="store_true")
    parser.add_argument("--python", type=Path, default=Path(sys.executable).parent.parent)
    arguments = parser.parse_args()
    place = arguments.place.resolve()
    os.environ["TACHO_CLUSTER_PROGRAMS"] = str(place / "programs")
    os.environ["XDG_STATE_HOME"] = str(place / "state")
    os.environ["PATH"] = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    from tools.cluster import binaries, node, preflight, state

    gpus = [number for number in arguments.gpus.split(",") if number]
    torch = place / "layer" / TORCH
    if state.read(NAME) is not None:
        offer_gpus(node.handle(NAME, binaries.find(say)), arguments.stand_in, gpus, torch)
        return 0
    install_programs(place)
    for finding in preflight.check():
        say(f"{'ok' if finding.ok else 'NO'} {finding.name}: {finding.detail}")
    cluster = node.up(NAME, binaries.find(say), say)
    make_layer(place, arguments.python)
    load_images(place, arguments.python)
    say("images")
    offer_gpus(cluster, arguments.stand_in, gpus, torch)
    cluster.create_namespace("tacho-system")
    cluster.kubectl(
        *("apply", "--server-side", "-n", "tacho-system", "-f", "-"),
        stdin=without_dns((place / "chart.yaml").read_text()),
        timeout_seconds=60,
    )
    wait = ("rollout", "status", "deployment/tacho", "-n", "tacho-system", "--timeout=60s")
    say(cluster.kubectl(*wait, timeout_seconds=70).strip())
    return 0


if __name__ == "__main__":
    if shutil.which("tar") is None:
        sys.exit("tar is not installed")
    sys.exit(main())
