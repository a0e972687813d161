"""What an engine's last lines say about why it ended, and what all engines have in common when they die."""

from __future__ import annotations

import dataclasses
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field

from tacho_contract.failure import Failure, FailureClass, log_tail
from tacho_contract.units import clipped
from tacho_engines.base import Exit


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """A line that gives a cause away. ``message`` may use the pattern's named groups."""

    pattern: re.Pattern[str]
    failure_class: str
    message: str
    next_step: str
    detail_groups: tuple[str, ...] = field(default=())
    """Named groups that go into the failure's details under their camelCase name."""


COMMON_SIGNS = (
    Sign(
        pattern=re.compile(r"No space left on device"),
        failure_class=FailureClass.DISK_FULL,
        message="the engine found no space left on a disk",
        next_step="give the cache volume or the pod's ephemeral storage more space",
    ),
    Sign(
        pattern=re.compile(r"CUDA out of memory|cudaMalloc failed: out of memory|CUDA error: out of memory"),
        failure_class=FailureClass.GPU_OUT_OF_MEMORY,
        message="the GPU's memory did not suffice",
        next_step="lower spec.context.maxModelLen or spec.context.concurrency, quantize further, or take a "
        "larger GPU; make sure that nothing else uses this one",
    ),
    Sign(
        pattern=re.compile(r"\bX[Ii][Dd]\b\D*\d+|CUDA error: (?:uncorrectable ECC|an illegal memory)"),
        failure_class=FailureClass.GPU_FAULT,
        message="the GPU reported a fault",
        next_step="look for Xid messages in the node's kernel log; drain the node when they repeat",
    ),
)


def telling(signs: Sequence[Sign], line: str) -> bool:
    """Whether ``line`` is a sign of the engine's own or of those that all have in common."""
    return any(sign.pattern.search(line) for sign in (*signs, *COMMON_SIGNS))


def first_sign(signs: Sequence[Sign], lines: Sequence[str]) -> Failure | None:
    """The failure that the first matching sign tells. Signs are ordered from cause to consequence."""
    for sign in signs:
        for index, line in enumerate(lines):
            match = sign.pattern.search(line)
            if match is None:
                continue
            groups = {key: value for key, value in match.groupdict().items() if value}
            return Failure(
                failure_class=sign.failure_class,
                message=clipped(sign.message.format_map(_Known(groups)), 600),
                next_step=sign.next_step,
                details={name: groups[name] for name in sign.detail_groups if name in groups},
                log_tail=log_tail(lines[max(0, index - 3) : index + 7]),
            )
    return None


class _Known(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "?"


def classify(engine: str, end: Exit, lines: Sequence[str], signs: Sequence[Sign]) -> Failure:
    """The engine's own signs first, then those all engines share, then how the process ended.

    A launcher's word counts where none of these names a cause: it sees what was wrong before the start.
    """
    seen = first_sign((*signs, *COMMON_SIGNS), lines)
    if seen is not None:
        return seen
    tail = log_tail(lines)
    certain = bool(end.out_of_memory_kills)
    if certain or end.signal == signal.SIGKILL or end.code == 128 + signal.SIGKILL:
        how = "the kernel killed" if certain else "SIGKILL ended"
        why = "for memory" if certain else "(most often: the container's memory limit, or the node's memory)"
        return Failure(
            failure_class=FailureClass.HOST_OUT_OF_MEMORY,
            message=f"{how} {engine} {why}",
            next_step="raise the memory in spec.engine.resources, or lower spec.context",
            log_tail=tail,
        )
    if end.signal == signal.SIGILL:
        return Failure(
            failure_class=FailureClass.ENGINE_NOT_SUPPORTED,
            message=f"{engine} met an instruction that this node's CPU does not have",
            next_step="place the pod on newer nodes (spec.podTemplate), or take an image built for this CPU",
            log_tail=tail,
        )
    if end.told is not None and end.signal is None:
        return dataclasses.replace(
            end.told,
            message=clipped(end.told.message, 600),
            next_step=clipped(end.told.next_step, 600),
            log_tail=tail,
        )
    ended = f"exit code {end.code}" if end.signal is None else f"signal {_signal_name(end.signal)}"
    last = f": {tail[-1]}" if tail else " without a word"
    return Failure(
        failure_class=FailureClass.ENGINE_CRASHED,
        message=clipped(f"{engine} ended with {ended}{last}", 600),
        next_step="read the engine's last lines (kubectl logs --previous); it is started again with back-off",
        log_tail=tail,
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
