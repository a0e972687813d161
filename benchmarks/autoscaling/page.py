"""Writes benchmarks/lab/scaling/README.md from judging.csv, and the picture docs/evidence/policies.svg.

python -m benchmarks.autoscaling.page [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean

from benchmarks.autoscaling import example, records
from benchmarks.autoscaling.__main__ import JUDGING_SEEDS, judging_seeds
from benchmarks.autoscaling.drawing import picture
from benchmarks.autoscaling.first_burst import WITH_BURSTS, reachable
from benchmarks.autoscaling.goals import (
    BOUND,
    NEAR,
    OWN,
    REFERENCE,
    STATIC,
    Goal,
    Score,
    goal_of,
    goals,
    is_off,
)
from benchmarks.autoscaling.records import Row
from benchmarks.autoscaling.scenarios import SCENARIOS as ALL
from tacho_simulate.tuning import TRIED
from tools.pages import ROOT, settle

FOLDER = ROOT / "benchmarks/lab/scaling"
PICTURE = ROOT / "docs/evidence/policies.svg"
HEAD = """# Scaling policies on the same traffic

`python -m benchmarks.autoscaling --seeds judging` runs tacho's algorithm and those of other projects on the
same traces, and appends to [judging.csv](../../../benchmarks/autoscaling/judging.csv).
`python -m benchmarks.autoscaling.page` writes this page from it.

- **Seeds**: {count}, drawn from the hash of the last commit that changed code, `{commit}`:
  {seeds}. Values are means over the seeds. What changed after that commit is
  judged by the next run.{since}
- **Scenarios**: {scenarios}.
- **Traffic**: drawn from the seed, and an hour of
  [public production traffic](../../../benchmarks/autoscaling/traces/README.md). Requests go to a random pod,
  as by a Service. "least-loaded": to the pod with the fewest requests, as by a gateway.
- **Replicas**: a known performance model of a large model, 1 to 16 replicas, cold starts of 90 s.
- **SLO**: 3 s to the first token, 0.1 s for each further token; on long prompts 10 s and 1 s.
  tacho's percentile is 99, as the goals'; in the run of a2958bf5a44f it was 95, the default.
- **Other policies** follow their published [code](../../../operator/tacho_simulate/policies). Their
  parameters were tuned on a training trace: the fewest GPU-hours with 99 % SLO attainment, else the highest
  attainment. Static counts that ran are candidates, too: {statics}.
- **Greedy reference**: sees requests as they arrive, knows what replicas carry, decides every second, and
  waits for nothing but cold starts. Others can beat it.
- **Clairvoyant bound**: GPU-hours without which no policy keeps 99 %, even if it knows the future.

## Goals

- Where the greedy reference reaches 99 %, tacho does, at no more than 1.05 times the GPU-hours of the
  cheapest tuned policy that does. Static counts do not take part.
- Elsewhere no policy within half a point of tacho's attainment or better is 5 % cheaper, static counts
  included.
- Everywhere tacho keeps 95 % of what the reference keeps at no more than 1.1 times its GPU-hours, and no
  static count that keeps as much is 10 % cheaper.
- TTFT p90 on long prompts with starts of 120 s is at most twice that with 0 s, at no more than 1.25 times its
  GPU-hours.

{passed} of {goals} are kept.

| scenario | goal | SLO attainment at GPU-hours |
|---|---|---|
"""
AGAIN = """
  The rows of {names} are of `{present}`, on the same seeds: no others were drawn for it. Results on
  these seeds had been seen before. Nothing was chosen by them."""
SCENARIOS = """
## Each policy

SLO % at GPU-hours. "Static": the fewest replicas within half a point of tacho's attainment or better.

"""
MEANS = """
![Each policy by GPU-hours and SLO attainment](../../../docs/evidence/policies.svg)

## Parameters

| policy | chosen on the training trace |
|---|---|
"""
REACHABLE = """
## Without foretelling the first burst

No policy knows when the first burst begins. `python -m benchmarks.autoscaling.first_burst` requests
replicas in the second in which it begins, and keeps them to the end: 4 to 9 of them, or 16. Of scenarios
whose goal is missed:

- "At most": the highest SLO attainment among these, for its GPU-hours.
- "Below": whatever a policy keeps without foretelling, it keeps the goal of the scenario for less than these
  GPU-hours alone. Another policy within half a point of that attainment or better costs 5 % less.
- "Goal": the cheapest of these that keeps the goal of the scenario, and no less than tacho does.

| scenario | tacho | at most | below | goal |
|---|---|---|---|---|
"""
AS_GREEDY = """
Beside the greedy reference, at its GPU-hours times 1.1. "At most": the highest SLO attainment among these
that cost no more. What costs more is replicas that are kept for the next burst. "No memory":
`burstMemorySeconds: 0` keeps none, by [the run without bursts](ablation.md).

| scenario | tacho | greedy reference | at most | no memory | its goal |
|---|---|---|---|---|---|
"""
CUT = """
## The latest run

`{commit}`, on its own seeds {seeds}.
It was cut off: {scenarios} of {every} scenarios, beside the greedy reference, static counts and {judged}.
{passed} of {goals} goals are kept beside these, and beside others where they ran. The rest may be better.

| scenario | goal | SLO attainment at GPU-hours |
|---|---|---|
"""
RUNS = """
## Runs

| commit | scenarios | goals kept | tacho: mean SLO % at GPU-hours | greedy reference |
|---|---|---|---|---|
"""


def whole(rows: Iterable[Row]) -> dict[str, dict[str, Score]]:
    """Scores of the scenarios that ran to their last policies, the static counts; in the order of ALL, as a
    run may have another one.
    """
    found = records.scores(rows)
    return {name: found[name] for name in ALL if any(map(_is_static, found.get(name, ())))}


def _is_whole(run: Sequence[Row]) -> bool:
    """Whether all policies ran in all scenarios."""
    scores = whole(run)
    return len(scores) == len(ALL) and len(_judged(scores)) == len(TRIED)


def _is_static(policy: str) -> bool:
    return policy.startswith(STATIC)


def cell(score: Score | None) -> str:
    return f"{100 * score.attainment:.1f} · {score.gpu_hours:.1f}" if score else ""


def policies(scores: Mapping[str, Mapping[str, Score]]) -> Iterator[str]:
    shown = [OWN, REFERENCE, *_judged(scores)]
    yield f"| scenario | {' | '.join(shown)} | static | bound |"
    yield "|---" * (len(shown) + 3) + "|"
    for name, found in scores.items():
        cells = [cell(found.get(policy)) for policy in shown]
        bound = found.get(BOUND)
        hours = f"{bound.gpu_hours:.1f}" if bound else ""
        yield f"| {name} | {' | '.join(cells)} | {static(found)} | {hours} |"


def static(found: Mapping[str, Score]) -> str:
    enough = {
        name: score
        for name, score in found.items()
        if _is_static(name) and score.attainment >= found[OWN].attainment - NEAR
    }
    if not enough:
        return "none"
    name = min(enough, key=lambda name: enough[name].gpu_hours)
    return f"{name.removeprefix(STATIC)}: {cell(enough[name])}"


def statics(scores: Mapping[str, Mapping[str, Score]]) -> str:
    """Which counts ran in some scenario, as spans; and how many of them in each."""
    counts = [sorted(_count(name) for name in found if _is_static(name)) for found in scores.values()]
    spans: list[list[int]] = []
    for count in sorted(set().union(*counts)):
        if spans and count == spans[-1][1] + 1:
            spans[-1][1] = count
        else:
            spans.append([count, count])
    told = " and ".join(f"{first} to {last}" if last > first else f"{first}" for first, last in spans)
    least, most = min(map(len, counts)), max(map(len, counts))
    return f"{told}; in a scenario {least} to {most} of them"


def _count(policy: str) -> int:
    return int(policy.removeprefix(STATIC))


def parameters(rows: Iterable[Row]) -> Iterator[str]:
    chosen = {row.policy: row.parameters for row in rows}
    for name in filter(chosen.__contains__, TRIED):
        yield f"| {name} | {chosen[name].replace(':', ', ') or 'defaults'} |"


def _judged(scores: Mapping[str, Mapping[str, Score]]) -> list[str]:
    """The other policies that ran in all scenarios."""
    return [name for name in TRIED if all(name in found for found in scores.values())]


def means(scores: Mapping[str, Mapping[str, Score]]) -> dict[str, Score]:
    """Of the policies that ran in all scenarios."""
    names = set.intersection(*(set(found) for found in scores.values())) - {BOUND}
    return {
        name: Score(
            fmean(found[name].attainment for found in scores.values()),
            fmean(found[name].gpu_hours for found in scores.values()),
        )
        for name in sorted(names)
    }


def _judged_again(latest: Sequence[Row]) -> str:
    return " and ".join(dict.fromkeys(row.policy for row in latest if row.commit == latest[-1].commit))


def _goal(goal: Goal) -> str:
    return f"| {goal.scenario} | {'kept' if goal.passed else '**missed**'} | {goal.reason} |"


def _reachable(
    commit: str, scores: Mapping[str, Mapping[str, Score]], ablated: Iterable[Row]
) -> Iterator[str]:
    """What scenarios with bursts allow whose goal is missed, on the seeds of ``commit``. Those that were not
    run are left out.
    """
    forgetful = {row.scenario: row.score for row in ablated if (row.commit, row.policy) == (commit, "bursts")}
    here = {name: scores[name] for name in WITH_BURSTS if name in scores}
    known = {name: found for name in here if (found := reachable(commit, name, scores[name])) is not None}
    missed = [name for name in known if not goal_of(name, here[name]).passed]
    yield from [REACHABLE] if missed else []
    for name in missed:
        found = known[name]
        goal = f"{found.goal[0]} replicas: {found.goal[1]}" if found.goal else "none"
        below = f"{found.below_gpu_hours:.2f}"
        yield f"| {name} | {here[name][OWN]} | {found.most} | {below} | {goal} |"
    costly = [name for name in known if is_off(here[name])]
    yield from [AS_GREEDY] if costly else []
    for name in costly:
        most = known[name].as_greedy
        cells = [
            here[name][OWN],
            here[name][REFERENCE],
            most or "none",
            *_without_memory(here[name], forgetful.get(name)),
        ]
        yield f"| {name} | {' | '.join(map(str, cells))} |"


def _without_memory(found: Mapping[str, Score], forgetful: Score | None) -> tuple[str, str]:
    """tacho's score without a memory of bursts, and whether it meets the goal beside the reference."""
    if forgetful is None:
        return "", ""
    return str(forgetful), "missed" if is_off({**found, OWN: forgetful}) else "kept"


def _cut(run: Sequence[Row], ablated: Iterable[Row]) -> Iterator[str]:
    commit, scores = run[-1].commit, whole(run)
    found = list(goals(scores))
    yield CUT.format(
        commit=commit,
        seeds=", ".join(map(str, judging_seeds(commit))),
        scenarios=len(scores),
        every=len(ALL),
        judged=f"{len(_judged(scores))} of {len(TRIED)} other policies ({', '.join(_judged(scores))})",
        passed=sum(goal.passed for goal in found),
        goals=len(found),
    )
    yield from map(_goal, found)
    yield from _reachable(commit, scores, ablated)


def _runs(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by the commit that was judged, in the order of their beginnings."""
    last = {row.commit: number for number, row in enumerate(rows)}
    return {commit: records.latest(rows[: number + 1]) for commit, number in last.items()}


def runs(rows: Sequence[Row]) -> Iterator[str]:
    for commit, run in _runs(rows).items():
        scores = whole(run)
        found, mean = list(goals(scores)), means(scores)
        judged = len(_judged(scores))
        beside = "" if judged == len(TRIED) else f" beside {judged} of {len(TRIED)} policies"
        kept = f"{sum(goal.passed for goal in found)} of {len(found)}{beside}"
        yield f"| {commit} | {len(scores)} | {kept} | {cell(mean[OWN])} | {cell(mean.get(REFERENCE))} |"


def latest_run(rows: Sequence[Row]) -> list[Row]:
    """The last run of all policies in all scenarios; a run that was cut off hides no whole one."""
    judged = list(_runs(rows).values())
    return next(filter(_is_whole, reversed(judged)), judged[-1])


def readme(rows: Sequence[Row], ablated: Sequence[Row] = ()) -> str:
    """README.md from judging rows and those of mechanisms that were left out."""
    judged, latest = list(_runs(rows).values()), latest_run(rows)
    scores, (present, _, former) = whole(latest), latest[-1].commit.partition(records.ON)
    commit = former or present
    found, missing = list(goals(scores)), [name for name in ALL if name not in scores]
    head = HEAD.format(
        count=JUDGING_SEEDS,
        commit=commit,
        seeds=", ".join(map(str, judging_seeds(commit))),
        since=AGAIN.format(present=present, names=_judged_again(latest)) if former else "",
        scenarios=f"{len(scores)} of {len(ALL)}"
        + (f"; cut off before {', '.join(missing)}" if missing else ""),
        statics=statics(scores),
        passed=sum(goal.passed for goal in found),
        goals=len(found),
    )
    parts = (
        *(
            head,
            *map(_goal, found),
            *_reachable(commit, scores, ablated),
            # A run that was cut off has a table of its own.
            *(_cut(judged[-1], ablated) if judged[-1] != latest else ()),
            SCENARIOS,
            *policies(scores),
            MEANS,
        ),
        *(*parameters(latest), RUNS, *runs(rows)),
    )
    return "".join(part if part.endswith("\n") else f"{part}\n" for part in parts)


def main(arguments: Sequence[str]) -> int:
    judging, ablated = records.read(records.JUDGING), records.read(records.ABLATION)
    written = {
        FOLDER / "README.md": readme(judging, ablated) + "".join(example.section(records.read(example.PATH))),
        PICTURE: picture(means(whole(latest_run(judging)))),
    }
    return settle(written, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
