"""The validation rules that follow from the engines' profiles: their methods, trust of remote code, cache
types."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tacho_contract.uri import CLAIM_SCHEME
from tacho_engines.profile import EngineProfile, Preset
from tacho_engines.registry import engine_profiles, presets
from tacho_operator.api.rules.rule import Rule

_METHOD = "!has(self.quantization) || !has(self.quantization.method)"
_CACHE_TYPE = "!has(self.quantization) || !has(self.quantization.kvCacheDtype)"
_ENGINE = "!has(self.engine) || !has(self.engine.name)"


def engine_rules() -> Iterator[Rule]:
    """Rules that refuse a method, trustRemoteCode or a KV cache type that the named engine does not
    support."""
    rows = tuple(engine_profiles())
    for row in sorted(rows, key=lambda row: row.name):
        if row.rules.method:
            yield _spec(
                f"method-of-{row.name}",
                f"{_METHOD} || {_ENGINE} || {row.rules.method.cel}",
                row.rules.method.message,
            )
    yield from _caches(rows)
    without_code = sorted(row.name for row in rows if not row.executes_model_code)
    if without_code:
        yield _spec(
            "trust-remote-code-of-engine",
            "!has(self.model.trustRemoteCode) || !self.model.trustRemoteCode"
            f" || {_ENGINE} || !(self.engine.name in {without_code})",
            f"model.trustRemoteCode has no effect with {' and '.join(without_code)}, which execute no"
            " code of a model's repository; remove it",
        )
    owners = tuple(row for row in rows if row.rules.cache_types)
    if len(owners) > 1:
        clauses = (_others_types(row, owners) for row in sorted(owners, key=lambda row: row.name))
        yield _spec(
            "kv-cache-dtype-of-engine",
            f"{_CACHE_TYPE} || {_ENGINE} || ({' && '.join(clauses)})",
            f"kvCacheDtype {' and '.join(map(_owned, owners))}; choose one of the engine",
        )


def _caches(rows: tuple[EngineProfile, ...]) -> Iterator[Rule]:
    """Cache rules: with a model on a claim, the cache holds compiled and converted artifacts and must be
    writable."""
    with_claim = f"!has(self.cache) || !self.model.uri.startsWith('{CLAIM_SCHEME}')"
    for row in sorted(rows, key=lambda row: row.name):
        if not row.keeps:
            yield _spec(
                f"cache-of-{row.name}",
                f"{with_claim} || {_ENGINE} || self.engine.name != '{row.name}'",
                f"{row.name} loads a model on a claim as it is and compiles nothing; remove cache",
            )
    yield _spec(
        "cache-of-claim-writable",
        f"{with_claim} || !has(self.cache.persistentVolumeClaim) || "
        "!has(self.cache.persistentVolumeClaim.readOnly) || !self.cache.persistentVolumeClaim.readOnly",
        "with a model on a claim, cache is for compiled and converted artifacts and must be "
        "writable; remove cache.persistentVolumeClaim.readOnly, or cache",
    )


def _others_types(row: EngineProfile, owners: tuple[EngineProfile, ...]) -> str:
    """CEL that is false where ``row`` has a cache type that only another engine supports."""
    theirs = (other.rules.cache_types for other in owners if other is not row)
    calls = " || ".join(f"self.quantization.kvCacheDtype.{types.cel}" for types in theirs if types)
    calls = f"({calls})" if len(owners) > 2 else calls
    return f"!(self.engine.name == '{row.name}' && {calls})"


def _owned(row: EngineProfile) -> str:
    words = row.rules.cache_types.names if row.rules.cache_types else ()
    verb = "is" if len(words) == 1 else "are"
    return f"{', '.join(words)} {verb} {row.name}'s"


_WITH_NAME = "!has(self.engine) || !has(self.engine.name) || self.engine.name != 'custom'"
_CUSTOM = "!has(self.engine) || !has(self.engine.custom)"
_WITH_PRESET = f"{_CUSTOM} || !has(self.engine.custom.preset)"
_BARE = f"{_WITH_NAME} || {_CUSTOM} || has(self.engine.custom.preset)"

REFERENCES = (
    ("quantization.method", "TACHO_QUANTIZATION", "'none'"),
    ("quantization.kvCacheDtype", "TACHO_KV_CACHE_DTYPE", "'auto'"),
    ("parallelism.tensor", "TACHO_TENSOR_PARALLEL", "1"),
    ("parallelism.pipeline", "TACHO_PIPELINE_PARALLEL", "1"),
)
"""Fields that a custom command receives only through a reference to a variable: path, variable, and the value
that has no effect.
"""


def custom_rules() -> Iterator[Rule]:
    """Rules that refuse fields without an effect on a custom engine."""
    yield from _bare()
    known = tuple(presets().values())
    yield from _exclusive(known)
    yield _spec(
        "preset-on-gpu",
        f"{_WITH_PRESET} || (has(self.gpu) && has(self.gpu.count) && self.gpu.count > 0)",
        "the presets of engine.custom run on GPUs; set gpu.count to 1 or more",
    )
    yield _of_each(known, "quantization.method", lambda preset: tuple(preset.methods))
    yield _of_each(known, "quantization.kvCacheDtype", lambda preset: tuple(preset.cache_types))
    yield _spec(
        "custom-bitsandbytes",
        f"{_CUSTOM} || !has(self.quantization) || !has(self.quantization.bitsandbytes)",
        "quantization.bitsandbytes has no effect with engine.name custom; remove it",
    )


def _bare() -> Iterator[Rule]:
    for path, variable, nothing in REFERENCES:
        yield _spec(
            f"command-{_slug(path)}",
            f"{_BARE} || {_unset(path)} || self.{path} == {nothing} || (has(self.engine.custom.command)"
            f" && self.engine.custom.command.exists(a, a.contains('$({variable})')))",
            f"{path} does not reach a custom command that does not hold $({variable}); write it into"
            " engine.custom.command",
        )
    yield _spec(
        "command-trust-remote-code",
        f"{_BARE} || {_unset('model.trustRemoteCode')} || !self.model.trustRemoteCode",
        "model.trustRemoteCode does not reach a custom command; write the engine's own switch into"
        " engine.custom.command",
    )


def _exclusive(known: tuple[Preset, ...]) -> Iterator[Rule]:
    yield Rule(
        name="preset-or-command",
        path="spec.engine.custom",
        cel="!has(self.preset) || !has(self.command) || self.command.size() == 0",
        message="engine.custom has either a preset, which has a command, or a command; remove one",
    )
    imaged = tuple(preset.name for preset in known if preset.profile.image.reference)
    yield Rule(
        name="custom-image",
        path="spec.engine",
        cel="!has(self.name) || self.name != 'custom' || (has(self.image) && self.image.size() > 0)"
        f" || (has(self.custom) && has(self.custom.preset) && self.custom.preset in {_listed(imaged)})",
        message="engine.name custom needs engine.image: only the presets "
        f"{' and '.join(imaged)} bring an image of their own",
    )


def _of_each(known: tuple[Preset, ...], path: str, values: Callable[[Preset], tuple[str, ...]]) -> Rule:
    """The rule for a field for which each preset accepts different values."""
    clauses = (
        f"(self.engine.custom.preset != '{preset.name}' || self.{path} in {_listed(values(preset))})"
        for preset in known
    )
    takes = "; ".join(f"{preset.name} takes {', '.join(values(preset)) or 'none'}" for preset in known)
    return _spec(
        f"preset-{_slug(path)}",
        f"{_WITH_PRESET} || {_unset(path)} || ({' && '.join(clauses)})",
        f"{path} has a value that the preset does not take: {takes}",
    )


def _spec(name: str, cel: str, message: str) -> Rule:
    return Rule(name, "spec", cel, message)


def _unset(path: str) -> str:
    block, _ = path.split(".")
    return f"!has(self.{block}) || !has(self.{path})"


def _listed(values: tuple[str, ...]) -> str:
    return f"[{', '.join(repr(word) for word in values)}]"


def _slug(path: str) -> str:
    """The last part of a path in kebab case: ``quantization.kvCacheDtype`` gives ``kv-cache-dtype``."""
    leaf = path.rsplit(".", 1)[-1]
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in leaf)
