"""The rules that follow from what the engines say of themselves."""

from __future__ import annotations

from collections.abc import Iterator

from tacho_contract.uri import CLAIM_SCHEME
from tacho_engines.registry import engine_rows
from tacho_engines.row import EngineRow
from tacho_operator.api.rules.rule import Rule

_METHOD = "!has(self.quantization) || !has(self.quantization.method)"
_CACHE_TYPE = "!has(self.quantization) || !has(self.quantization.kvCacheDtype)"
_ENGINE = "!has(self.engine) || !has(self.engine.name)"


def engine_rules() -> Iterator[Rule]:
    """Methods that do not go with an engine, trust that does nothing, and another engine's cache types."""
    rows = tuple(engine_rows())
    for row in sorted(rows, key=lambda row: row.name):
        if row.method_rule:
            yield Rule(
                name=f"method-of-{row.name}",
                path="spec",
                cel=f"{_METHOD} || {_ENGINE} || {row.method_rule.cel}",
                message=row.method_rule.message,
            )
    yield from _caches(rows)
    deaf = sorted(row.name for row in rows if not row.executes_model_code)
    if deaf:
        yield Rule(
            name="trust-remote-code-of-engine",
            path="spec",
            cel="!has(self.model.trustRemoteCode) || !self.model.trustRemoteCode"
            f" || {_ENGINE} || !(self.engine.name in {deaf})",
            message=f"model.trustRemoteCode has no effect with {' and '.join(deaf)}, which execute no code of"
            " a model's repository; remove it",
        )
    owners = tuple(row for row in rows if row.cache_types)
    if len(owners) > 1:
        clauses = (_others_types(row, owners) for row in sorted(owners, key=lambda row: row.name))
        yield Rule(
            name="kv-cache-dtype-of-engine",
            path="spec",
            cel=f"{_CACHE_TYPE} || {_ENGINE} || ({' && '.join(clauses)})",
            message=f"kvCacheDtype {' and '.join(map(_owned, owners))}; choose one the engine has",
        )


def _caches(rows: tuple[EngineRow, ...]) -> Iterator[Rule]:
    """Beside a model that is on a claim, a cache is for what the engine compiles and converts, and has to be
    writable for that."""
    beside = f"!has(self.cache) || !self.model.uri.startsWith('{CLAIM_SCHEME}')"
    for row in sorted(rows, key=lambda row: row.name):
        if not row.keeps:
            yield Rule(
                name=f"cache-of-{row.name}",
                path="spec",
                cel=f"{beside} || {_ENGINE} || self.engine.name != '{row.name}'",
                message=f"{row.name} loads a model on a claim as it is and compiles nothing; remove cache",
            )
    yield Rule(
        name="cache-of-claim-writable",
        path="spec",
        cel=f"{beside} || !has(self.cache.persistentVolumeClaim) || "
        "!has(self.cache.persistentVolumeClaim.readOnly) || !self.cache.persistentVolumeClaim.readOnly",
        message="beside a model on a claim, cache is for what the engine compiles and converts, which it has "
        "to write; remove cache.persistentVolumeClaim.readOnly, or cache",
    )


def _others_types(row: EngineRow, owners: tuple[EngineRow, ...]) -> str:
    """CEL that is false where ``row`` is asked for a cache type of another engine's own."""
    theirs = (other.cache_types for other in owners if other is not row)
    calls = " || ".join(f"self.quantization.kvCacheDtype.{types.cel}" for types in theirs if types)
    calls = f"({calls})" if len(owners) > 2 else calls
    return f"!(self.engine.name == '{row.name}' && {calls})"


def _owned(row: EngineRow) -> str:
    words = row.cache_types.words if row.cache_types else ()
    verb = "is" if len(words) == 1 else "are"
    return f"{', '.join(words)} {verb} {row.name}'s"
