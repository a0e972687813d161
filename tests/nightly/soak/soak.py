"""One soak: resources are brought up, events are drawn for a time, and everything has to settle."""

from __future__ import annotations

import contextlib
import random
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tests.nightly.soak.invariants import SETTLED_SECONDS, Recording, settling_end
from tests.nightly.soak.observer import API_ERRORS, Observer
from tests.nightly.soak.resources import FROM_HUB, REAL_NAMESPACE, Manifest, edited, foreign
from tests.nightly.soak.world import World
from tools.harness.operator_process import eventually

UP_SECONDS = 400.0
END_SECONDS = 120.0
"""For taking back what lasts."""
PAUSE_SECONDS = 1.5
"""Mean time between two events."""


class Soak:
    """Events from one seed. ``first``: the resources as they were applied."""

    def __init__(self, world: World, first: list[Manifest], cache_folder: str, seed: int) -> None:
        self.world, self.cluster = world, world.cluster
        self._draw, self._faults = random.Random(seed), random.Random(f"faults {seed}")
        self._first = {self._key(item): item for item in first}
        self._last = {key: (item, True) for key, item in self._first.items()}
        self._foreign: list[Manifest] = []
        self._unready: list[tuple[str, str]] = []
        self._cache_folder, self._is_full = cache_folder, False
        self._began = time.monotonic()
        self.counts: Counter[str] = Counter()

    @staticmethod
    def _key(item: Manifest) -> str:
        return f"{item['metadata']['namespace']}/{item['metadata']['name']}"

    def bring_up(self, observer: Observer) -> None:
        for replica in self.world.replicas:
            replica.start_if_ended()
        self.cluster.apply(*self._first.values())

        def all_ready() -> bool | None:
            last = observer.snapshots[-1].resources if observer.snapshots else ()
            return (len(last) == len(self._first) and all(item.ready for item in last)) or None

        eventually("all resources are Ready", all_ready, UP_SECONDS)

    def run(self, seconds: float, observer: Observer) -> Recording:
        """Draws events for that time; returns what was observed until everything had time to settle."""
        actions: dict[Callable[[], str], int] = {
            self.edit: 10, self.delete: 2, self.add_foreign: 3, self.remove_foreign: 2,
            self.end_pod: 4, self.change_readiness: 6, self.toggle_disk: 1, self.cut: 2,
        }  # fmt: skip
        until, fault = time.monotonic() + seconds, Future[None]()
        fault.set_result(None)
        with ThreadPoolExecutor(1) as hand:
            while time.monotonic() < until and observer.is_alive():
                if fault.done() and not self.world.is_impeded():
                    fault.result()
                    fault = hand.submit(self._fault)
                (action,) = self._draw.choices([*actions], [*actions.values()])
                try:
                    self._say(action.__name__, action())
                except API_ERRORS as error:
                    self._say(action.__name__, f"not done: {getattr(error, 'stderr', None) or error}")
                time.sleep(self._draw.expovariate(1 / PAUSE_SECONDS))
            fault.result()
        events_end = self._end_events()
        time.sleep(SETTLED_SECONDS + 3)
        time.sleep(max(0.0, settling_end(self._recording(observer, events_end)) + 3 - time.time()))
        assert observer.is_alive()
        observer.stop()
        return self._recording(observer, events_end)

    def _recording(self, observer: Observer, events_end: float) -> Recording:
        return Recording(
            snapshots=tuple(observer.snapshots),
            writes=tuple(observer.writes),
            lease=tuple(observer.lease),
            impeded=tuple(self.world.impeded),
            events_end=events_end,
            valid={key: valid for key, (_, valid) in self._last.items()},
        )

    def _fault(self) -> None:
        """In a thread of its own: edits go on meanwhile."""
        self._say("fault", self._faults.choice(self.world.faults)(self._faults))
        for replica in self.world.replicas:
            replica.start_if_ended()

    def _end_events(self) -> float:
        """Takes back what lasts, and applies each last spec again, as the API server may have been away."""
        for replica in self.world.replicas:
            replica.start_if_ended()
        if self._is_full:
            self.toggle_disk()
        deadline = time.monotonic() + END_SECONDS
        while self._unready and time.monotonic() < deadline:
            with contextlib.suppress(*API_ERRORS):  # the API server may have been away
                self._set_readiness(*self._unready[0], "True")
        for key, (manifest, valid) in self._last.items():
            if not self._applied(manifest):  # the API server's own rules forbid it
                manifest, valid = self._first[key], True
                self._applied(manifest)
            self._last[key] = manifest, valid
        return time.time()

    def _applied(self, manifest: Manifest) -> bool:
        try:
            self.cluster.apply(manifest)
        except subprocess.CalledProcessError:
            return False
        return True

    def _say(self, name: str, line: str) -> None:
        self.counts[name] += 1
        print(f"{time.monotonic() - self._began:7.1f} s  {name}: {line.strip()[:150]}", flush=True)

    def _any(self) -> str:
        return self._draw.choice([*self._first])

    def edit(self) -> str:
        key = self._any()
        self._last[key] = edited(self._first[key], self._draw)
        self.cluster.apply(self._last[key][0])
        return f"{key} valid={self._last[key][1]}"

    def delete(self) -> str:
        """It is made anew at once, under its name."""
        key = self._any()
        namespace, name = key.split("/")
        self.cluster.kubectl("delete", "llmd", name, "-n", namespace, "--wait=false")
        self.cluster.apply(self._last[key][0])
        return key

    def add_foreign(self) -> str:
        namespace, victim = self._any().split("/")
        made = foreign(namespace, str(self.counts["add_foreign"]), victim, self._draw)
        self._foreign.append(made)
        self.cluster.apply(made)
        return f"{made['kind']} {namespace} as of {victim}"

    def remove_foreign(self) -> str:
        if not self._foreign:
            return "none"
        made = self._foreign.pop(0)
        where = ("-n", made["metadata"]["namespace"], "--wait=false", "--ignore-not-found")
        self.cluster.kubectl("delete", made["kind"].lower(), made["metadata"]["name"], *where)
        return str(made["metadata"]["name"])

    def _pods(self, key: str) -> list[dict[str, Any]]:
        namespace, name = key.split("/")
        selector = f"tacho.dev/deployment={name},tacho.dev/role=server"
        found: list[dict[str, Any]] = self.cluster.get("pods", "-n", namespace, "-l", selector)["items"]
        return [pod for pod in found if pod["metadata"].get("ownerReferences")]

    def _end_pods(self, key: str) -> None:
        namespace = key.split("/")[0]
        for pod in self._pods(key):
            name = pod["metadata"]["name"]
            self.cluster.kubectl("delete", "pod", name, "-n", namespace, "--wait=false", "--ignore-not-found")

    def end_pod(self) -> str:
        key = self._any()
        self._end_pods(key)
        return key

    def change_readiness(self) -> str:
        """A played pod loses its readiness, or the first that lost it has it again."""
        if self._unready and (len(self._unready) > 3 or self._draw.random() < 0.5):
            namespace, name = self._unready[0]
            status = "True"
        else:
            key = self._draw.choice([key for key in self._first if not key.startswith(REAL_NAMESPACE)])
            pods = [pod for pod in self._pods(key) if pod["status"].get("podIP")]
            if not pods:
                return f"{key} has no pod"
            metadata = self._draw.choice(pods)["metadata"]
            namespace, name, status = metadata["namespace"], metadata["name"], "False"
            self._unready.append((namespace, name))
        return self._set_readiness(namespace, name, status)

    def _set_readiness(self, namespace: str, name: str, status: str) -> str:
        try:
            found = self.cluster.get("pod", name, "-n", namespace)["status"]
        except subprocess.CalledProcessError as error:
            if "NotFound" not in (error.stderr or ""):
                raise
            self._unready.remove((namespace, name))
            return f"{name} does not exist any more"
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        for condition in found["conditions"]:
            if condition["type"] in ("Ready", "ContainersReady"):
                condition |= {"status": status, "lastTransitionTime": now}
        for container in found["containerStatuses"]:
            container["ready"] = status == "True"
        self.cluster.patch_status("Pod", namespace, name, found)
        if status == "True":
            self._unready.remove((namespace, name))
        return f"{name} {status}"

    def toggle_disk(self) -> str:
        """The cache is full, and the model is to be fetched; or there is space again."""
        self._is_full = not self._is_full
        folder = self._cache_folder
        fill = f"rm -rf {folder}/*; head -c 1G /dev/zero > {folder}/filler || true"
        self.world.inside(fill if self._is_full else f"rm -f {folder}/filler")
        self._end_pods(f"{REAL_NAMESPACE}/{FROM_HUB}")
        return "full" if self._is_full else "free"

    def cut(self) -> str:
        return self.world.cut_watches(self._draw)


def handover_seconds(world: World, recording: Recording) -> list[float]:
    """From each SIGTERM of a leader to the next write of the Lease by another."""
    return [
        min((item.at for item in recording.lease if item.at > at and item.pod != pod), default=float("inf"))
        - at
        for at, pod in world.terminated
    ]


def summary(world: World, recording: Recording, counts: Counter[str]) -> str:
    taken = handover_seconds(world, recording)
    median = f"median {statistics.median(taken):.2f} s, maximum {max(taken):.2f} s" if taken else "none"
    return (
        f"events {dict(counts)}; {len(recording.snapshots)} snapshots, {len(recording.writes)} writes, "
        f"{len(recording.lease)} of the Lease; {len(world.impeded)} faults; hand-overs: {median}"
    )
