"""Images without a registry: made here of one static program, imported into the node's containerd."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from tools.cluster.errors import ClusterError, NoSuchClusterError
from tools.cluster.namespaces import run_inside
from tools.cluster.nodeconfig import CONTAINERD_SOCKET
from tools.cluster.state import State, read


def write_single_program_image(archive: Path, program: Path, name: str) -> Path:
    """A docker archive of an image whose only file is `program`, its entry point, run as uid 65532."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as files:
        entry = tarfile.TarInfo(program.name)
        entry.size, entry.mode = program.stat().st_size, 0o755
        files.addfile(entry, io.BytesIO(program.read_bytes()))
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": [f"/{program.name}"], "User": "65532:65532"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    parts = {
        "layer.tar": layer.getvalue(),
        "config.json": config,
        "manifest.json": json.dumps(manifest).encode(),
    }
    with tarfile.open(archive, "w") as image:
        for path, content in parts.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            image.addfile(entry, io.BytesIO(content))
    return archive


def ctr(state: State, *arguments: str, stdin: Path | None = None) -> str:
    """containerd's own client, in the namespace the kubelet uses."""
    return run_inside(
        state.holder_pid, ["ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io", *arguments], stdin
    )


def load_into(name: str, archive: Path) -> list[str]:
    """Imports a docker or OCI archive into the running cluster `name`; returns the images' names.

    Raises ClusterError for a missing file, NoSuchClusterError for an unknown cluster.
    """
    known = read(name)
    if known is None or not known.complete:
        raise NoSuchClusterError(
            f"no cluster {name} is up", f"Run `python -m tools.cluster up --name {name}`"
        )
    return load(known, archive)


def load(state: State, archive: Path) -> list[str]:
    """Imports a docker or OCI archive through `state`'s containerd; returns the images' names."""
    if not archive.is_file():
        raise ClusterError(
            f"{archive} is not a file", "Name an archive that `buildah push … oci-archive:` wrote"
        )
    before = set(names(state))
    imported = ctr(state, "images", "import", "--snapshotter", state.snapshotter, "-", stdin=archive)
    named = [line.split()[1] for line in imported.splitlines() if line.startswith("unpacking ")]
    return named or sorted(set(names(state)) - before)


def names(state: State) -> list[str]:
    """The images the node has, by name."""
    return [
        name for name in ctr(state, "images", "list", "--quiet").split() if not name.startswith("sha256:")
    ]
