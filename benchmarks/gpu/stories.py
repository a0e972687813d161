"""LLMDeployments told to a cluster, as many at a time as it has GPUs, each as a person would have seen it.

    python3 -m benchmarks.gpu.stories FILE OUT --models FOLDER [--cache FOLDER] [--budget 8m]
        [--only NAME ...]

FILE holds LLMDeployments for a node. Each is applied once the GPUs that it wants are free. The annotation
benchmarks.tacho.dev/ends says what it ends in: `Serving`, or reasons of Ready; with `beside` it needs no GPU.
With `truth`, numbers of streams, the measured pod then has a long steady loop of each (truth.py); one of
them may be `capacity`, the streams that the probe found.
OUT/NAME/ holds `kubectl get` and `describe`, the resource with its status, events, pods, logs, the answer to
a chat through the Service, and timeline.json: every change of a condition, in seconds since it was created.
Run again with the same OUT it goes on with what has not ended as expected. Where the host has several GPUs,
the pods of each resource have its GPUs' share of the CPUs, and no other.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import yaml

from benchmarks.gpu.__main__ import seconds, to_run
from benchmarks.gpu.host import RESOURCE
from benchmarks.gpu.models import cells

NAMESPACE = "models"
ENDS, SHARES_GPUS = "benchmarks.tacho.dev/ends", "benchmarks.tacho.dev/beside"
TRUTH, TRUTH_SECONDS, TRUTH_REQUESTS = "benchmarks.tacho.dev/truth", 30, 100
CAPACITY = "capacity"
SERVING, MEASURING = "Serving", ("Measured", "Measuring")
DEFAULT_BUDGET_SECONDS, LOAD_SECONDS = 120, 250
"""A story takes its probe's budget and what else a pod takes: 200 s to load on a slow host."""
AS_EXPECTED = "as expected"
TURN_SECONDS = 0.5
PODS = Path("/sys/fs/cgroup")
"""Below it the kubelet makes a cgroup for each pod, named by its uid."""
LEAST_SECONDS = 75
"""A story that has less does not begin."""
DELETED_SECONDS = 40
STARTED = time.monotonic()


def say(line: str) -> None:
    print(f"[{time.monotonic() - STARTED:6.1f}] {line}", flush=True)


class Story:
    """One resource on the cluster, and what was seen of it."""

    def __init__(self, cluster: Any, document: dict[str, Any], out: Path) -> None:
        self.cluster, self.document = cluster, document
        self.name = str(document["metadata"]["name"])
        notes = document["metadata"].get("annotations") or {}
        self.ends, self.shares_gpus = notes.get(ENDS, SERVING), notes.get(SHARES_GPUS) == "true"
        self.truth_levels = str(notes.get(TRUTH, "")).split()
        self.folder = out / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cpus = ""
        self.bound: set[Path] = set()
        self.began = 0.0
        self.timeline: list[dict[str, Any]] = []
        self.seen: dict[str, tuple[Any, ...]] = {}

    def apply(self) -> None:
        """`kubectl apply`, and what it said."""
        text = yaml.safe_dump(self.document, sort_keys=False)
        (self.folder / "applied.yaml").write_text(text)
        self.began = time.monotonic()
        output = self.cluster.kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=text)
        say(output.strip())

    def bind(self) -> None:
        """Its new pods to its CPUs. No pod of another's is asked for twice: kubectl takes time itself."""
        new = set(PODS.rglob("pod*/cpuset.cpus")) - self.bound if self.cpus else set()
        if new:
            label = f"tacho.dev/deployment={self.name}"
            pods = self.cluster.get("pods", "-n", NAMESPACE, "-l", label)["items"]
            own = {f"pod{pod['metadata']['uid']}" for pod in pods}
            for file in new:
                if file.parent.name in own:
                    file.write_text(self.cpus)
                    say(f"{self.name}: {file.parent.name} has the CPUs {self.cpus}")
            self.bound |= new

    def refresh(self) -> dict[str, Any]:
        """The status now; changes of its conditions go to the timeline."""
        status = dict(self.cluster.get("llmd", self.name, "-n", NAMESPACE).get("status") or {})
        for condition in status.get("conditions") or ():
            state = tuple(condition.get(key) for key in ("status", "reason", "message"))
            if self.seen.get(condition["type"]) != state:
                self.seen[condition["type"]] = state
                after = round(time.monotonic() - self.began, 1)
                self.timeline.append(
                    {"seconds": after, "type": condition["type"]}
                    | dict(zip(("status", "reason", "message"), state, strict=True))
                )
                say(f"{self.name}: {condition['type']}={state[0]} {state[1]}: {str(state[2])[:150]}")
                # bitsandbytes writes lines for each step: in the end the start is rotated away.
                if (condition["type"], state[1]) == MEASURING:
                    self.keep_log("engine-start.log")
        return status

    def condition(self, kind: str) -> tuple[Any, ...]:
        return self.seen.get(kind, (None, None, None))

    def until(self, done: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # a pod that has gone
                self.bind()
            self.refresh()
            if done():
                return True
            time.sleep(TURN_SECONDS)
        return False

    def ended(self) -> bool:
        """Whether it has become what its annotation says: one of the reasons, by commas."""
        if self.ends == SERVING:
            measured = self.condition("Measured")
            is_measured = measured[0] == "True" or measured[1] == "MeasurementProvisional"
            return self.condition("Ready")[:2] == ("True", SERVING) and is_measured
        return self.condition("Ready")[1] in self.ends.split(",")

    def keep(self, name: str, *arguments: str) -> None:
        """What kubectl prints, with the command on top: of YAML a comment."""
        try:
            text = self.cluster.kubectl(*arguments, timeout_seconds=20)
        except (subprocess.SubprocessError, OSError) as error:
            text = f"{error}\n{getattr(error, 'stderr', '')}"
        comment = "# " if name.endswith(".yaml") else ""
        (self.folder / name).write_text(f"{comment}$ kubectl {' '.join(arguments)}\n{text}")

    def keep_all(self) -> None:
        label = f"tacho.dev/deployment={self.name}"
        self.keep("get.txt", "get", "llmd", self.name, "-n", NAMESPACE, "-o", "wide")
        self.keep("describe.txt", "describe", "llmd", self.name, "-n", NAMESPACE)
        self.keep("resource.yaml", "get", "llmd", self.name, "-n", NAMESPACE, "-o", "yaml")
        self.keep("pods.txt", "get", "pods", "-n", NAMESPACE, "-l", label, "-o", "wide")
        self.keep("pods.yaml", "get", "pods", "-n", NAMESPACE, "-l", label, "-o", "yaml")
        self.keep("events.txt", "get", "events", "-n", NAMESPACE, "--sort-by=.lastTimestamp")
        self.keep_log("engine.log")
        self.write_timeline()

    def keep_log(self, name: str) -> None:
        role = f"tacho.dev/deployment={self.name},tacho.dev/role=server"
        self.keep(name, "logs", "-n", NAMESPACE, "-l", role, "-c", "engine", "--tail=-1")

    def write_timeline(self) -> None:
        (self.folder / "timeline.json").write_text(json.dumps(self.timeline, indent=1))

    @property
    def seconds(self) -> float:
        """In which it is measured."""
        probe = self.document["spec"].get("probe") or {}
        return float(probe.get("budgetSeconds", DEFAULT_BUDGET_SECONDS)) + LOAD_SECONDS

    @property
    def gpus(self) -> int:
        return 0 if self.shares_gpus else int(self.document["spec"].get("gpu", {}).get("count", 1))

    def stalled(self) -> bool:
        return bool(self.condition("Stalled")[0] == "True")

    def chat(self) -> None:
        """A chat completion through the Service, by the API server."""
        from tools import lab

        body = {
            "model": self.document["spec"]["model"].get("servedName", self.name),
            "messages": [{"role": "user", "content": "Name three colours."}],
            "max_tokens": 24,
        }
        try:
            answer = lab.post(self.cluster, NAMESPACE, self.name, "/v1/chat/completions", body)
        except Exception as error:  # noqa: BLE001 - kept as it came: the next story goes on
            answer = {"error": f"{type(error).__name__}: {error}"}
        (self.folder / "chat.json").write_text(json.dumps({"request": body, "answer": answer}, indent=1))
        say(f"{self.name}: chat: {json.dumps(answer)[:200]}")

    def loops(self) -> list[str]:
        """Streams of its long loops, once it is measured: each number once, in their order."""
        if CAPACITY not in self.truth_levels:
            return self.truth_levels
        measured = next(iter(self.refresh().get("measurements") or ()), {})
        found = [str(measured["capacity"]["concurrency"])] if "capacity" in measured else []
        levels = [each for level in self.truth_levels for each in (found if level == CAPACITY else [level])]
        return list(dict.fromkeys(levels))

    def truth(self, seconds: float) -> None:
        """Long loops on its pod, from the node's own network; no level begins after ``seconds``."""
        from tools.cluster import namespaces, state

        (pod,) = self.cluster.get(
            "pods", "-n", NAMESPACE, "-l", f"tacho.dev/deployment={self.name},tacho.dev/role=server"
        )["items"]
        known = state.read(self.cluster.name)
        assert known is not None
        workload = self.document["spec"]["workload"]
        command = [sys.executable, "-m", "benchmarks.gpu.truth", f"http://{pod['status']['podIP']}:8000"]
        command += [str(self.folder / "truth.json"), "--levels", *self.loops(), "--repeat", "1"]
        command += ["--input", str(workload["inputTokens"]), "--output", str(workload["outputTokens"])]
        command += ["--seconds", str(TRUTH_SECONDS), "--requests", str(TRUTH_REQUESTS)]
        command += ["--budget", f"{seconds:.0f}"]
        with (self.folder / "truth.log").open("w") as log:
            inside = namespaces.enter(known.holder_pid)
            subprocess.run([*inside, *command], stdout=log, stderr=subprocess.STDOUT, check=False)
        say(f"{self.name}: {(self.folder / 'truth.log').read_text()}")
        self.keep_log("engine-after-truth.log")

    def delete(self) -> None:
        """Returns once its pods have let go of their GPUs."""
        self.cluster.kubectl("delete", "llmd", self.name, "-n", NAMESPACE, "--wait=false")
        pods = ("pods", "-n", NAMESPACE, "-l", f"tacho.dev/deployment={self.name}")
        deadline = time.monotonic() + DELETED_SECONDS
        while self.cluster.get(*pods).get("items") and time.monotonic() < deadline:
            time.sleep(TURN_SECONDS)


def run_story(story: Story, deadline: float) -> str:
    """One to its end; how it ended."""
    story.apply()
    seconds = min(story.seconds, deadline - time.monotonic())
    story.until(lambda: story.ended() or story.stalled(), seconds)
    reached = story.ended()
    if reached and story.ends == SERVING:
        story.chat()
    story.keep_all()
    if reached and story.truth_levels:
        story.truth(deadline - time.monotonic() - DELETED_SECONDS)
    return AS_EXPECTED if reached else f"not {story.ends}: {story.condition('Ready')}"


def run_and_delete(story: Story, deadline: float) -> str:
    """How one ended, which is gone afterwards."""
    try:
        ended = run_story(story, deadline)
    except (subprocess.SubprocessError, OSError) as error:
        ended = f"{error}\n{getattr(error, 'stderr', '')}"
    say(f"{story.name}: {ended}")
    with contextlib.suppress(subprocess.SubprocessError):
        story.delete()
    return ended


def cpus(shares: list[int], of: int) -> str:
    """The CPUs of some of ``of`` equal shares of the host's, as the kernel writes them."""
    each = (os.cpu_count() or of) // of
    return ",".join(f"{share * each}-{(share + 1) * each - 1}" for share in shares)


def run_all(stories: list[Story], gpus: int, deadline: float, keep: Callable[[str, str], None]) -> None:
    """Each as soon as its GPUs are free, in order; ``keep`` gets a name and how it ended, at once."""
    waiting, running = list(stories), dict[Future[str], Story]()
    free = list(range(gpus))
    held: dict[Story, list[int]] = {}
    with ThreadPoolExecutor(max_workers=max(1, len(stories))) as pool:
        while waiting or running:
            while waiting and deadline - time.monotonic() >= LEAST_SECONDS:
                if waiting[0].gpus > len(free):
                    break
                story = waiting.pop(0)
                held[story], free = free[: story.gpus], free[story.gpus :]
                story.cpus = cpus(held[story], gpus) if gpus > 1 else ""
                running[pool.submit(run_and_delete, story, deadline)] = story
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                story = running.pop(future)
                free = sorted(free + held.pop(story))
                keep(story.name, future.result())
    for story in waiting:
        keep(story.name, "no time left")


def writable(claim: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A claim of a folder in which pods of one node write."""
    for document in claim:
        document["spec"]["accessModes"] = ["ReadWriteOnce"]
    return claim


def prepared(models: Path, cache: Path | None) -> Any:
    """The cluster with a namespace for resources, and claims of the folders."""
    from tools import lab
    from tools.cluster import binaries, node

    cluster = node.handle("gpu", binaries.find(say))
    cluster.create_namespace(NAMESPACE)
    subprocess.run(["chmod", "-R", "a+rX", models], check=True)
    cluster.apply(*lab.claim_of_node(NAMESPACE, "models", models.resolve()))
    if cache:
        cluster.apply(*writable(lab.claim_of_node(NAMESPACE, "cache", cache.resolve())))
    return cluster


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.stories", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", type=Path, required=True, help="the folder that the claim models shows")
    parser.add_argument("--cache", type=Path, help="the folder that the claim cache shows")
    parser.add_argument("--budget", type=seconds, default=420, help="e.g. 8m")
    parser.add_argument("--only", nargs="*", default=[])
    arguments = parser.parse_args()
    from tools import lab
    from tools.cluster import devices

    cluster = prepared(arguments.models, arguments.cache)
    summary = arguments.out / "summary.json"
    ended: dict[str, str] = json.loads(summary.read_text()) if summary.exists() else {}
    gpus = devices.allocatable(cluster, RESOURCE)
    chosen = [
        document
        for document in to_run(cells(arguments.file), [], arguments.only, gpus)
        if ended.get(document["metadata"]["name"]) != AS_EXPECTED
    ]

    def keep(name: str, how: str) -> None:
        ended[name] = how
        summary.write_text(json.dumps(ended, indent=1))

    stories = [Story(cluster, document, arguments.out) for document in chosen]
    run_all(stories, gpus, time.monotonic() + arguments.budget, keep)
    print(json.dumps(ended, indent=1))
    operator = lab.operator_log(cluster, 2000)
    (arguments.out / "operator.log").write_text(operator)
    return 0


if __name__ == "__main__":
    sys.exit(main())
