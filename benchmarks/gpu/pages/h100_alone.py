"""benchmarks/lab/h100/gguf.md: a pod of a GGUF file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.gpu.pages import held, pods
from benchmarks.gpu.pages.recorded import RAW, fill, number, read, row, status
from benchmarks.planner import gguf as planner

H100 = RAW.parent / "h100"
GGUF = H100 / "pods/llama-8b-gguf/resource.yaml"
SHOWN_TOKENS = (1, 8, 32, 48, 104, 256, 1024)


def doubts(found: dict[str, Any]) -> dict[int, str]:
    """Why the levels of a measurement do not hold, by streams; empty of one that does."""
    return {
        level["concurrency"]: ", ".join(held.doubts(found, level, began_mixed=True))
        for level in found["curve"]
    }


def holding(found: dict[str, Any]) -> list[int]:
    """Streams of the levels that hold."""
    return [streams for streams, doubt in doubts(found).items() if not doubt]


def levels(found: dict[str, Any], digits: int) -> Iterator[tuple[str, ...]]:
    """Cells of a measurement's levels, with ``digits`` of tokens a second."""
    for level, doubt in zip(found["curve"], doubts(found).values(), strict=True):
        yield (
            str(level["concurrency"]),
            f"{number(level['outputTokensPerSecond'], digits)} ± {level['ciPercent']} %",
            number(level["ttftMillisecondsP50"]),
            number(level["tpotMillisecondsP50"], 1),
            str(level["requests"]),
            str(level["windowSeconds"]),
            doubt or "yes",
        )


def ready(found: dict[str, Any]) -> str:
    """The reason of a status's condition Ready."""
    return str(next(each["reason"] for each in found["conditions"] if each["type"] == "Ready"))


def rates(plan: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """Expected then, found and expected now."""
    expected, capacity = plan["predicted"], found["capacity"]
    loop, streams = planner.loop(plan["engine"]["version"]), capacity["concurrency"]
    yield row(
        "one stream, tok/s",
        number(expected["expectedDecodeTokensPerSecond"]),
        number(found["singleStream"]["decodeTokensPerSecond"]),
        number(1 / loop.gap(1)),
    )
    yield row(
        "capacity, streams and tok/s",
        pods.expected_capacity(expected),
        f"{streams}, {number(capacity['outputTokensPerSecond'])} ± {capacity['ciPercent']} %",
        f"{streams}, {number(loop.tokens_per_second(streams))}",
    )


def gguf() -> str:
    resource = status(GGUF)
    found, start = resource["measurements"][0], resource["startup"]
    installed, whole = (read(H100 / f"gguf/{name}.json") for name in ("products-as-installed", "products"))
    steps: dict[tuple[int, str], float] = {
        (each["tokens"], each["way"]): each["step"] for each in whole["rows"]
    }
    default = planner.loop("0.32.0")
    return fill(
        "h100_gguf",
        reason=ready(resource),
        total=start["totalSeconds"],
        load=start["loadSeconds"],
        compiled=start["compileSeconds"],
        graphs=start["graphSeconds"],
        probe=start["probeSeconds"],
        state=found["state"],
        flags=", ".join(found["flags"]),
        memory=(row(title, *pair) for title, pair in pods.memory(found["memory"]).items()),
        rows=(row(*cells) for cells in levels(found, 0)),
        rates=rates(resource["plan"], found),
        symbol=installed["extension"].rpartition(" ")[2],
        torch=installed["torch"],
        steps=step_rows(steps),
        faster=steps[1, "triton"] / steps[1, "cuda vec"],
        slower=steps[1024, "cuda mat"] / steps[1024, "triton"],
        one=number(1 / default.gap(1)),
        many=number(default.tokens_per_second(103)),
        holding=len(holding(found)),
        levels=len(found["curve"]),
        streams=" and ".join(map(str, holding(found))),
        requests=found["singleStream"]["requests"],
    )


def step_rows(steps: dict[tuple[int, str], float]) -> Iterator[str]:
    """Milliseconds of the kernels, by tokens."""
    for tokens in SHOWN_TOKENS:
        cuda = min(steps[tokens, way] for way in ("cuda vec", "cuda mat") if (tokens, way) in steps)
        times = (steps[tokens, "triton"], cuda, steps[tokens, "bf16"])
        yield row(str(tokens), *(number(each, 1) for each in times))
