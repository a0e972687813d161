"""Which level is measured in place of one that decided nothing, or whose requests failed. Pure."""

from __future__ import annotations

from collections.abc import Collection

from tacho_contract.units import counted
from tacho_runtime.probe.level_search import KNEE_CLOSE
from tacho_runtime.probe.session import ProbeFindings


def instead_of(findings: ProbeFindings, streams: int, failing: Collection[int]) -> tuple[int, str]:
    """(the level to measure where the search asks for ``streams``, why there is none, or "").

    ``failing``: levels without a result. Where requests fail, those of more streams do, too: an engine may
    refuse what is beyond its queue. It is an untried level halfway down to the highest that is known.
    """
    lowest = min(failing, default=None)
    beyond = lowest is not None and streams >= lowest
    if not beyond and streams not in findings.results:
        return streams, ""
    decided = [one.concurrency for one in findings.tried() if one.rated or one.slo_ratio is not None]
    streams = lowest if lowest is not None and beyond else streams
    known = max((one for one in decided if one < streams), default=1)
    undecided = min(one for one in (*findings.results, *failing) if one > known)
    while (streams in findings.results or streams in failing) and streams > known:
        streams = (known + streams) // 2
    if streams != known and undecided > KNEE_CLOSE * known:  # else a level below would tell no more
        return streams, ""
    why = "{} could not be measured" if undecided in failing else "{} had no steady rate"
    return 0, why.format(counted(undecided, "stream"))
