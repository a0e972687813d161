"""The example of simulate.md on other seeds: policies tuned on one day, judged on the next, changed or not.

    python -m benchmarks.autoscaling.example

Draws next days from the seeds of the last commit that changed code, as a judging run does. Each run is the
command of README, with all policies; their parameters are those that --tune chooses on trace.csv. Appends to
example.csv; `python -m benchmarks.autoscaling.page` writes the tables.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import runpy
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.autoscaling import records
from benchmarks.autoscaling.__main__ import CODE, KEEPS_ALL_PERCENT, git, judging_seeds, listed, rounded
from benchmarks.autoscaling.goals import OWN, REFERENCE, STATIC, Score
from benchmarks.autoscaling.records import Row
from tacho_cli.main import main as tacho
from tacho_simulate.tuning import TRIED

PATH = Path(__file__).with_name("example.csv")
EXAMPLES = Path(__file__).resolve().parents[2] / "examples/simulate"
TRAINING = EXAMPLES / "trace.csv"
ASKED = 0.95
"""Share of the requests that the example's SLO asks for. Thresholds are tuned for more."""
STATICS = tuple(f"{STATIC}{count}" for count in range(2, 11))
OTHERS = (OWN, REFERENCE, *STATICS)
SIXTEEN_BITS, FOUR_BITS = "vllm-bf16", "vllm-bnb-nf4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    name: str
    tuned: str = SIXTEEN_BITS
    """Measurement of the replica for which thresholds are chosen."""
    replica: str = SIXTEEN_BITS
    lengths: Mapping[str, float] = field(default_factory=dict)
    """What changes on the next day."""
    slo: str = "ttft=1s,tpot=20ms"


SHIFTED = {"prompts": 3.0, "answers": 1 / 3}
CASES = {
    case.name: case
    for case in (
        Case(name="NF4 instead of 16 bits", replica=FOUR_BITS),
        Case(name="NF4, tuned again", replica=FOUR_BITS, tuned=FOUR_BITS),
        Case(name="nothing changes"),
        Case(name="prompts thrice as long, answers a third", lengths=SHIFTED),
        Case(
            name="the same, within 500 ms and 10 ms a token",
            lengths=SHIFTED,
            slo="ttft=500ms,tpot=10ms",
        ),
    )
}
"""The first is the example of that page."""
HEAD = """
## The example of one hour

Policies are tuned on one day and judged on the next: `python -m benchmarks.autoscaling.example`
draws that from the seeds of `{commit}`: {seeds}.
SLO attainment by seed; {asked:.0f} % is asked for.
[Why](../../../docs/use/simulate.md#why-tacho-wins-and-where-not).
"""
CASE = """
**{name}**: on {won} of {seeds} seeds tacho keeps the SLO, and no other policy does so at a lower cost.
Static counts are included.

| policy | by seed | mean | GPU-hours |
|---|---|---|---|
"""


def drawn(seed: int, case: Case) -> str:
    """The next day as CSV."""
    made = runpy.run_path(str(EXAMPLES / "make_trace.py"))["rows"](seed, **case.lengths)
    return "time_s,input_tokens,output_tokens\n" + "".join(
        f"{time:.2f},{prompt},{answer}\n" for time, prompt, answer in made
    )


def simulated(
    trace: Path, case: Case, replica: str, policies: Iterable[str], *more: str
) -> dict[str, tuple[float, float]]:
    """SLO attainment in percent and GPU-hours, by policy with its parameters."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="utf-8")
    options = ("--slo", case.slo, "--cold-start", "130", "--max-replicas", "10", "-o", "csv")
    given = ("--trace", str(trace), "--measurement", f"{EXAMPLES}/{replica}.json")
    with contextlib.redirect_stdout(out):
        code = tacho(["simulate", *given, *options, *more, "--policy", ",".join(policies)])
    if code:
        raise SystemExit(code)
    out.flush()
    return {
        row["policy"]: (float(row["sloAttainmentPercent"]), float(row["gpuHours"]))
        for row in csv.DictReader(io.StringIO(raw.getvalue().decode()))
    }


def rows(commit: str, case: Case) -> Iterator[Row]:
    texts = (*OTHERS, *simulated(TRAINING, case, case.tuned, TRIED, "--tune", str(TRAINING)))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in judging_seeds(commit):
            trace = Path(folder) / f"{seed}.csv"
            trace.write_text(drawn(seed, case))
            found.append(simulated(trace, case, case.replica, texts))
    for text in texts:
        policy, _, parameters = text.partition(":")
        slo, hours = map(rounded, zip(*(each[text] for each in found), strict=True))
        yield Row(commit, case.name, policy, parameters, slo, hours, ())


def wins(scores: Mapping[str, Score]) -> bool:
    """Whether tacho keeps the SLO, and nobody that does costs less, static counts included."""
    own = scores[OWN]
    rivals = [score for name, score in scores.items() if name in TRIED or name.startswith(STATIC)]
    return own.attainment >= ASKED and all(
        score.gpu_hours > own.gpu_hours for score in rivals if score.attainment >= ASKED
    )


def won(found: Sequence[Row]) -> list[bool]:
    """By seed."""
    return [
        wins({row.policy: Score(row.slo_percent[at] / 100, row.gpu_hours[at]) for row in found})
        for at in range(len(found[0].slo_percent))
    ]


def of_case(every: Sequence[Row], name: str) -> list[Row]:
    """Rows of the last run of a case."""
    return [row for row in every if (row.commit, row.scenario) == (every[-1].commit, name)]


def shown(found: Sequence[Row]) -> Iterator[Row]:
    """Of static counts in rising order, none after the first that keeps all requests."""
    enough = False
    for row in found:
        if not (enough and row.policy.startswith(STATIC)):
            yield row
        enough |= row.policy.startswith(STATIC) and min(row.slo_percent) >= KEEPS_ALL_PERCENT


def section(every: Sequence[Row]) -> Iterator[str]:
    """The last run, as a part of benchmarks/lab/scaling/README.md."""
    commit = every[-1].commit
    yield HEAD.format(commit=commit, seeds=", ".join(map(str, judging_seeds(commit))), asked=100 * ASKED)
    for name in CASES:
        found = of_case(every, name)
        yield CASE.format(name=name[0].upper() + name[1:], won=sum(won(found)), seeds=len(won(found)))
        for row in shown(found):
            chosen = f" ({row.parameters.replace(':', ', ')})" if row.parameters else ""
            each = " · ".join(f"{slo:.2f}" for slo in row.slo_percent)
            mean = f"{100 * row.score.attainment:.2f} % | {row.score.gpu_hours:.2f}"
            yield f"| {row.policy}{chosen} | {each} | {mean} |\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default="all")
    given = parser.parse_args()
    commit = git("log", "-1", "--format=%H", "--", *CODE)[:12]
    for name in listed(given.cases, CASES):
        for row in rows(commit, CASES[name]):
            records.append(PATH, [row])
            print(f"{row.scenario:32} {row.policy:26} {row.parameters:30} {row.score}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
