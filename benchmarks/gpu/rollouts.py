"""Changes of a server on a node with GPUs, one after the other, each judged by the rollout gate.

    python3 -m benchmarks.gpu.rollouts FILE OUT --models FOLDER [--cache FOLDER] [--budget 12m]

FILE holds one cell, as benchmarks.gpu.stories has them, and `changes`: what of spec each changes, and the
reason of RolloutAccepted that it ends in. The cell is applied; once measured, each change is patched in.
From then on the Service gets short requests, and OUT/requests.json counts those without an answer.
OUT/NAME/ is as of a story; OUT/NAME-CHANGE/ is what kubectl says after each change.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import yaml

from benchmarks.gpu import stories
from benchmarks.gpu.__main__ import seconds
from benchmarks.gpu.models import cells

PERIOD_SECONDS = 1.0
ANSWER_TOKENS = 8
ANSWER_SECONDS = 30
WATCHED = "RolloutAccepted"
DECIDED = ("True", "False")


class Requests:
    """Short requests through the Service, one each second, by the API server's proxy."""

    def __init__(self, cluster: Any, name: str) -> None:
        self.cluster = cluster
        self.path = f"/api/v1/namespaces/{stories.NAMESPACE}/services/{name}:http/proxy/v1/completions"
        self.answers: Counter[str] = Counter()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self) -> Requests:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()

    def run(self) -> None:
        with (
            self.cluster.proxy() as api,
            httpx.Client(base_url=api, trust_env=False, timeout=ANSWER_SECONDS) as client,
            ThreadPoolExecutor(max_workers=16) as pool,
        ):
            while not self.ended.wait(PERIOD_SECONDS):
                pool.submit(self.send, client)

    def send(self, client: httpx.Client) -> None:
        body = {"model": "m", "prompt": "Name three colours.", "max_tokens": ANSWER_TOKENS}
        try:
            answer = client.post(self.path, json=body)
            self.answers["answered" if answer.is_success else answer.text[:200]] += 1
        except httpx.HTTPError as error:
            self.answers[f"{type(error).__name__}: {error}"[:200]] += 1


def change(story: stories.Story, edit: dict[str, Any], deadline: float) -> dict[str, Any]:
    """Patches spec; how the gate decided, and after how many seconds."""
    began = time.monotonic()
    before = story.condition(WATCHED)
    patch = json.dumps({"spec": edit["spec"]})
    stories.say(f"patch: {patch}")
    story.cluster.kubectl(
        "patch", "llmd", story.name, "-n", stories.NAMESPACE, "--type=merge", f"--patch={patch}"
    )

    def decided() -> bool:
        now = story.condition(WATCHED)
        return now != before and now[0] in DECIDED

    story.until(decided, deadline - began)
    took = round(time.monotonic() - began, 1)
    status, reason, message = story.condition(WATCHED)
    story.until(lambda: story.condition("Measured")[1] != "Measuring", min(20, deadline - time.monotonic()))
    story.folder = story.folder.with_name(f"{story.name}-{edit['name']}")
    story.folder.mkdir(exist_ok=True)
    story.keep_all()
    return {"name": edit["name"], "seconds": took, "status": status, "reason": reason, "message": message}


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.rollouts", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--budget", type=seconds, default=720)
    arguments = parser.parse_args()
    deadline = time.monotonic() + arguments.budget
    cluster = stories.prepared(arguments.models, arguments.cache)
    (document,) = cells(arguments.file)
    story = stories.Story(cluster, document, arguments.out)
    ended: list[dict[str, Any]] = []
    story.apply()
    if not story.until(story.ended, deadline - time.monotonic()):
        story.keep_all()
        stories.say(f"not measured: {story.condition('Ready')} {story.condition('Measured')}")
        return 1
    story.keep_all()
    base = story.folder
    with Requests(cluster, story.name) as requests:
        for edit in yaml.safe_load(arguments.file.read_text())["changes"]:
            if deadline - time.monotonic() < stories.LEAST_SECONDS:
                break
            story.folder = base
            ended.append(change(story, edit, deadline) | {"expected": edit["ends"]})
            stories.say(json.dumps(ended[-1]))
            (arguments.out / "changes.json").write_text(json.dumps(ended, indent=1))
            (arguments.out / "requests.json").write_text(json.dumps(dict(requests.answers), indent=1))
    (arguments.out / "requests.json").write_text(json.dumps(dict(requests.answers), indent=1))
    from tools import lab

    (arguments.out / "operator.log").write_text(lab.operator_log(cluster, 2000))
    story.delete()
    return 0 if all(each["reason"] == each["expected"] for each in ended) else 1


if __name__ == "__main__":
    sys.exit(main())
