"""The runtime zipapp: what is in it, that its bytes follow from its sources, and that it runs bare."""

from __future__ import annotations

import ast
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tacho_engines.registry import ENGINES
from tacho_engines.run_parts import dialects
from tools import wheels, zipapp
from tools.steps import StepError

OLDEST_PYTHON = (3, 10)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zipapp.build(tmp_path_factory.mktemp("zipapp") / "tacho-runtime.pyz")


def bare(built: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run as in a pod: isolated, without site-packages, with an empty environment."""
    command = [sys.executable, "-I", "-S", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={}, cwd="/", check=False)


def test_it_starts_without_site_packages(built: Path) -> None:
    done = bare(built, str(built))
    assert done.returncode == 1
    assert "InvalidConfig: TACHO_RUNTIME_CONFIG cannot be read" in done.stderr


def test_every_module_of_the_runtime_imports_from_the_zip_alone(built: Path) -> None:
    program = (
        f"import sys, importlib, pkgutil; sys.path.insert(0, {str(built)!r})\n"
        "import tacho_contract, tacho_engines, tacho_runtime, pynvml, prometheus_client, h11\n"
        "packages = (tacho_contract, tacho_engines, tacho_runtime)\n"
        "names = [m.name for p in packages for m in pkgutil.walk_packages(p.__path__, p.__name__ + '.')]\n"
        "modules = [importlib.import_module(n) for n in names if not n.endswith('__main__')]\n"
        "outside = [m for m in modules if '.pyz' not in m.__file__]\n"
        "print(len(modules) > 10, outside)"
    )
    done = bare(built, "-c", program)
    assert (done.stdout.strip(), done.stderr) == ("True []", "")


def test_headers_can_be_read_in_the_pod(built: Path, tmp_path: Path) -> None:
    """By the engine image's own Python: what was planned can be compared with what is there."""
    table = b'{"w":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}'
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(table)) + table + bytes(12))
    key, value, name = b"general.architecture", b"llama", b"token_embd.weight"
    pair = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(value)) + value
    tensor = struct.pack("<Q", len(name)) + name + struct.pack("<IQQIQ", 2, 32, 2, 8, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + pair + tensor
    (tmp_path / "m.gguf").write_bytes(head + bytes(-len(head) % 32) + bytes(68))
    program = (
        f"import sys, pathlib; sys.path.insert(0, {str(built)!r})\n"
        "from tacho_runtime.headers import gguf, safetensors\n"
        "from tacho_runtime.headers.source import FolderSource\n"
        f"source = FolderSource(pathlib.Path({str(tmp_path)!r}), name='here')\n"
        "sizes = {entry.path: entry.size_bytes for entry in source.files()}\n"
        "header = gguf.read_header(lambda at, n: source.read('m.gguf', at, n), sizes['m.gguf'])\n"
        "print(header.metadata['general.architecture'], header.tensors)\n"
        "size = sizes['m.safetensors']\n"
        "raw = safetensors.read_header(lambda at, n: source.read('m.safetensors', at, n), size)\n"
        "print(raw.tensors)\n"
        "print('tacho_runtime.hub' in sys.modules, 'huggingface_hub' in sys.modules)"
    )
    done = bare(built, "-c", program)
    assert done.stderr == ""
    first, second, third = done.stdout.splitlines()
    assert first == (
        "llama (StoredTensor(name='token_embd.weight', dtype='Q8_0', shape=(32, 2), "
        "stored_bytes=68, copies=1),)"
    )
    assert second == "(StoredTensor(name='w', dtype='BF16', shape=(2, 3), stored_bytes=12, copies=1),)"
    assert third == "False False"


def test_an_engines_half_of_the_run_is_found_in_the_zip(built: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(built)!r})\n"
        "from tacho_engines.registry import ENGINES, runtime_adapter\n"
        "from tacho_engines.run_parts import dialects, loadable_files\n"
        "print([runtime_adapter(name).name for name in ENGINES], sorted(dialects()))\n"
        "print(loadable_files('llamacpp').formats)"
    )
    assert bare(built, "-c", program).stdout.splitlines() == [
        f"{list(ENGINES)} {sorted(dialects())}",
        "('gguf',)",
    ]


def test_it_is_pure_python_without_the_hub_client(built: Path) -> None:
    with zipfile.ZipFile(built) as archive:
        names = archive.namelist()
    assert "tacho_contract/launch.py" in names
    assert not [name for name in names if name.endswith((".so", ".pyc"))]
    assert not [name for name in names if "huggingface" in name or name.startswith("tacho_runtime/hub/")]
    assert not [name for name in names if name.startswith(("tacho_operator", "tacho_llamacpp"))]


def test_licences_travel_with_the_code(built: Path) -> None:
    with zipfile.ZipFile(built) as archive:
        names = archive.namelist()
    distributions = {name.split("/")[0] for name in names if ".dist-info/" in name}
    licensed = {name.split("/")[0] for name in names if "LICEN" in name.upper() or "NOTICE" in name.upper()}
    # nvidia-ml-py states its licence (BSD) in its metadata only.
    assert {name for name in distributions - licensed if not name.startswith("nvidia_ml_py")} == set()


def test_the_oldest_python_can_read_all_of_it(built: Path) -> None:
    with zipfile.ZipFile(built) as archive:
        for name in archive.namelist():
            if name.startswith("tacho_") and name.endswith(".py"):
                ast.parse(archive.read(name), name, feature_version=OLDEST_PYTHON)


def test_a_signal_while_it_imports_ends_it(tmp_path: Path) -> None:
    """PID 1 ignored it: a pod that was deleted as it started ran to the end of its grace period."""
    slow = b"import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\ndef main():\n    return 7\n"
    entries = [("__main__.py", zipapp.MAIN.encode()), ("tacho_runtime/__init__.py", b""),
               ("tacho_runtime/__main__.py", slow)]  # fmt: skip
    (tmp_path / "a.pyz").write_bytes(zipapp.pack(entries))
    assert subprocess.run([sys.executable, "-I", "-S", tmp_path / "a.pyz"], check=False).returncode == 0


def test_the_same_sources_give_the_same_bytes(built: Path, tmp_path: Path) -> None:
    assert zipapp.build(tmp_path / "again.pyz").read_bytes() == built.read_bytes()


def test_order_and_dates_do_not_matter() -> None:
    entries = [("b.py", b"2"), ("a.py", b"1")]
    assert zipapp.pack(entries) == zipapp.pack(entries[::-1])


def test_two_files_of_one_name_are_refused() -> None:
    with pytest.raises(StepError, match="NameConflict"):
        zipapp.pack([("a.py", b"1"), ("a.py", b"2")])


def test_a_compiled_wheel_is_refused() -> None:
    with pytest.raises(StepError, match="NotPurePython: x-1-cp311-cp311-linux_x86_64"):
        list(zipapp.from_wheel(Path("x-1-cp311-cp311-linux_x86_64.whl")))


def test_markers_are_dropped_and_hashes_kept() -> None:
    lock = "a==1 ; python_full_version < '3.11' \\\n    --hash=sha256:x\n    # via b\nc==2 \\\n    --hash=y\n"
    expected = "a==1 \\\n    --hash=sha256:x\n    # via b\nc==2 \\\n    --hash=y\n"
    assert wheels.without_markers(lock) == expected


def test_the_locks_need_no_index_address() -> None:
    locks = list((zipapp.ROOT / "requirements").glob("*.txt"))
    assert locks
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text, lock.name
        options = [line for line in text.splitlines() if line.startswith("-")]
        assert options == [], lock.name
