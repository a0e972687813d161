"""Prepares the model's folder for CTranslate2: unchanged, from the cache, or converted now."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tacho_ctranslate2 import worker
from tacho_ctranslate2.conversion import ensure
from tacho_ctranslate2.source import CONVERTED, has_tokenizer, is_converted
from tacho_server.backend import LoadError

PROGRAM = "tacho-ctranslate2"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionPlan:
    """The model to serve, and how it is converted."""

    source: Path
    quantization: str
    """CTranslate2's name for it; "": the model is converted already."""
    cache: Path | None
    """Where converted models are kept; None: for this process only."""
    trust_remote_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A folder that CTranslate2 loads."""

    folder: Path
    scratch: Path | None = None
    """Made for this process only."""

    def close(self) -> None:
        if self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)


def check(plan: ConversionPlan) -> None:
    """What can be seen before anything is loaded. Raises LoadError."""
    if not plan.source.is_dir():
        raise LoadError("ModelNotFound", f"{plan.source} is no folder", "name the model's folder")
    if not plan.quantization and not is_converted(plan.source):
        message = f"{plan.source} has no {CONVERTED} and no --quantization to convert it to"
        raise LoadError("InvalidConfig", message, "set quantization.method to none, ct2-int8 or another")
    if not has_tokenizer(plan.source):
        message = f"{plan.source} has no tokenizer: neither chat nor completions can be answered"
        step = "put tokenizer.json, or the files of the model's tokenizer, beside the model"
        raise LoadError("ModelInvalid", message, step)


def prepared(plan: ConversionPlan, version: str) -> Prepared:
    """The model in CTranslate2's format. Blocks while it is converted. Raises LoadError."""
    if is_converted(plan.source):
        print(f"{PROGRAM}: the model is converted already", flush=True)
        return Prepared(folder=plan.source)
    scratch = None if plan.cache else Path(tempfile.mkdtemp(prefix="tacho-ctranslate2-"))
    cache = plan.cache or scratch
    assert cache is not None
    begin = time.monotonic()

    def make(target: Path) -> None:
        print(f"{PROGRAM}: converting to {plan.quantization}", flush=True)
        worker.convert(plan.source, target, plan.quantization, trust_remote_code=plan.trust_remote_code)

    try:
        found = ensure(plan.source, cache, plan.quantization, version, make)
    except BaseException:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        raise
    how = "found converted in the cache" if found.cached else "converted"
    print(f"{PROGRAM}: {how} after {time.monotonic() - begin:.3f} s", flush=True)
    return Prepared(folder=found.folder, scratch=scratch)
