"""``tacho status`` of many, and ``--watch``: rows as they change, and the steps to Ready."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, strategies as st

from tacho_cli.problems import CommandError
from tacho_cli.status import watch
from tacho_cli.status.watch import STEP_OF, STEPS, StartProgress
from tests.unit.cli.commands import call
from tests.unit.cli.test_status import RESOURCE, cluster  # noqa: F401 - a fixture

PLAN = {"engine": {"name": "vllm", "version": "0.32.0"}, "quantizationMethod": "fp8"}
DONE = {
    "scheduleSeconds": 2,
    "imageSeconds": 40,
    "downloadSeconds": 100,
    "loadSeconds": 20,
    "compileSeconds": 30,
    "probeSeconds": 45,
    "totalSeconds": 237,
    "downloadTotalBytes": 4_400_000_000,
}


def at(reason: str, message: str = "", startup: dict[str, Any] | None = None, **more: str) -> dict[str, Any]:
    """The resource at one step: Ready is False for ``reason``, or True where it serves."""
    states = {"Ready": "True" if reason == "Serving" else "False", **more}
    conditions = [
        {"type": kind, "status": state, "reason": reason, "message": message}
        for kind, state in states.items()
    ]
    status = {"observedGeneration": 3, "plan": PLAN, "conditions": conditions, "startup": startup or {}}
    return {**RESOURCE, "metadata": {**RESOURCE["metadata"], "generation": 3}, "status": status}


def test_each_step_is_one_line_with_its_figures() -> None:
    progress, gpu = StartProgress(), {"gpu": {"count": 2, "product": "NVIDIA-L4"}}
    first = at("Scheduling", "Pod a waits for a node.")
    first["status"]["plan"] = PLAN | gpu
    observation = progress.observe(first, 0.0)
    assert observation.ended == ("plan      vllm 0.32.0 with fp8 on 2 x NVIDIA-L4",)
    assert observation.now == "Scheduling: Pod a waits for a node."
    part = {"scheduleSeconds": 2, "imageSeconds": 40, "downloadTotalBytes": 4_400_000_000}
    observation = progress.observe(at("Downloading", startup={**part, "downloadedBytes": 400_000_000}), 50.0)
    assert observation.ended == ("schedule  2 s", "image     40 s")
    assert observation.now == "download  0.4 of 4.4 GB (9 %)"
    observation = progress.observe(
        at("Downloading", startup={**part, "downloadedBytes": 1_400_000_000}), 60.0
    )
    assert (observation.ended, observation.now) == (
        (),
        "download  1.4 of 4.4 GB (31 %), 100.0 MB/s, 30 s left",
    )
    observation = progress.observe(at("Serving", "1 of 1 replicas serve.", DONE), 200.0)
    assert observation.ended == (
        "download  1 min 40 s, 4.4 GB, 44.0 MB/s",
        "load      20 s, compiling 30 s",
        "probe     45 s",
    )
    assert (observation.now, observation.ready) == ("Ready     1 of 1 replicas serve. (3 min 57 s)", True)


def test_durations_of_an_earlier_start_are_not_told_of_this_one() -> None:
    progress = StartProgress()
    assert progress.observe(at("PullingImages", startup=DONE), 0.0).ended[1:] == ()
    assert "image     7 s" in progress.observe(at("Loading", startup={**DONE, "imageSeconds": 7}), 9.0).ended


def test_a_download_that_stands_still_has_no_time_left() -> None:
    progress, part = StartProgress(), {"downloadTotalBytes": 1000, "downloadedBytes": 500}
    observations = [progress.observe(at("Downloading", startup=part), float(now)) for now in range(0, 90, 10)]
    assert {observation.now for observation in observations} == {"download  0.0 of 0.0 MB (50 %)"}


@pytest.mark.parametrize(
    ("resource", "ready", "stalled"),
    [
        (at("Serving"), True, False),
        (at("Serving", Reconciling="True"), False, False),
        (at("DoesNotFit", Stalled="True"), False, True),
        (at("GPUOutOfMemory"), False, False),
        ({**RESOURCE, "metadata": {**RESOURCE["metadata"], "generation": 4}}, False, False),
    ],
)
def test_only_the_present_generation_ends_the_watch(
    resource: dict[str, Any], ready: bool, stalled: bool
) -> None:
    observation = StartProgress().observe(resource, 0.0)
    assert (observation.ready, observation.stalled) == (ready, stalled)


@given(
    st.lists(
        st.tuples(st.sampled_from([*STEP_OF, "Serving", "EngineCrashed", "Retrying"]), st.integers(0, 1000)),
        max_size=30,
    )
)
def test_no_step_has_two_lines_and_lines_keep_their_order(states: list[tuple[str, int]]) -> None:
    progress, told = StartProgress(), []
    for now, (reason, done) in enumerate(states):
        startup = {**DONE, "downloadTotalBytes": 1000, "downloadedBytes": done} if done % 2 else {}
        told += [line.split()[0] for line in progress.observe(at(reason, startup=startup), float(now)).ended]
    assert len(told) == len(set(told))
    assert set(told) <= set(STEPS)


def listed(folder: Path, *resources: dict[str, Any]) -> None:
    (folder / "resource").write_text(json.dumps({"kind": "List", "items": resources}))


def test_all_are_rows_and_documents(capsys: pytest.CaptureFixture[str], cluster: Path) -> None:  # noqa: F811
    other = {
        **RESOURCE,
        "metadata": {"name": "llama", "namespace": "dev"},
        "status": {"url": "http://x\x1b[2J"},
    }
    listed(cluster, RESOURCE, other)
    told = call(capsys, "status", "-A")
    assert "get llmdeployments.tacho.dev --all-namespaces -o json" in (cluster / "asked").read_text()
    lines = [line.split() for line in told.out.splitlines()]
    assert lines[0][:3] == ["NAMESPACE", "NAME", "ENGINE"]
    assert [line[:2] for line in lines[1:]] == [["ml", "mistral"], ["dev", "llama"]]
    wide = call(capsys, "status", "-o", "wide").out
    assert "MEASURED" in wide
    assert "\x1b" not in wide
    assert call(capsys, "status", "-o", "name").out.split() == [
        "llmdeployment.tacho.dev/mistral",
        "llmdeployment.tacho.dev/llama",
    ]
    as_json = json.loads(call(capsys, "status", "-o", "json").out)
    assert [item["metadata"]["name"] for item in as_json["items"]] == ["mistral", "llama"]
    assert "managedFields" not in as_json["items"][0]["metadata"]
    assert yaml.safe_load(call(capsys, "status", "-o", "yaml").out) == as_json


def test_no_resource_is_told_and_no_error(capsys: pytest.CaptureFixture[str], cluster: Path) -> None:  # noqa: F811
    listed(cluster)
    told = call(capsys, "status")
    assert (told.code, told.out) == (0, "")
    assert "no LLMDeployments" in told.err
    assert json.loads(call(capsys, "status", "-o", "json").out)["items"] == []
    assert call(capsys, "status", "-o", "name").out == ""


@pytest.mark.parametrize(
    "arguments", [("x", "-A"), ("--plot",), ("x", "-o", "wide", "--watch"), ("--watch",)]
)
def test_options_without_a_meaning_together_are_refused(
    capsys: pytest.CaptureFixture[str],
    cluster: Path,  # noqa: F811
    arguments: tuple[str, ...],
) -> None:
    assert call(capsys, "status", *arguments).code == 2
    assert not (cluster / "asked").exists()


@pytest.mark.parametrize(
    ("last", "code", "words"),
    [
        (at("Serving", "1 of 1 replicas serve.", DONE), 0, "Ready     1 of 1"),
        (at("DoesNotFit", "24 GiB; the GPU has 22.", Stalled="True"), 4, "Stalled   24 GiB"),
        # It serves, and what was applied was rejected.
        (at("Serving", "Revision b is slower.", DONE, Stalled="True"), 0, "Stalled   Revision b"),
    ],
)
def test_watching_one_ends_with_its_fate(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    last: dict[str, Any],
    code: int,
    words: str,
) -> None:
    states = iter([at("Scheduling", "Pod a waits."), at("Scheduling", "Pod a waits."), last])
    monkeypatch.setattr(watch, "deployment", lambda *_: next(states))
    monkeypatch.setattr(watch.time, "sleep", lambda _: None)
    told = call(capsys, "status", "mistral", "--watch")
    assert told.code == code
    assert told.out.splitlines()[-1].startswith(words)
    assert told.err == "tacho: Scheduling: Pod a waits.\n", "once, and not on stdout"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?", 0),
        ("Unable to connect to the server: dial tcp 10.0.0.1:6443: i/o timeout", 0),
        ("Unable to connect to the server: net/http: TLS handshake timeout", 0),
        ("kubectl did not answer: check the context and the network", 0),
        ("Error from server (ServiceUnavailable): x", 0),
        ("Error from server (NotFound): x", 2),
        ("Error from server (Forbidden): x", 2),
        ("Error in configuration: context was not found for specified context: x", 2),
        ("error: You must be logged in to the server (Unauthorized)", 2),
        ('error: the server doesn\'t have a resource type "llmdeployments"', 2),
        ("kubectl is needed to read the cluster and is not installed: install it", 2),
    ],
)
def test_a_server_that_is_away_for_a_moment_ends_no_watch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: str, code: int
) -> None:
    answers = iter([CommandError(error), at("Serving", startup=DONE)])

    def read(*_: object) -> dict[str, Any]:
        if isinstance(found := next(answers), CommandError):
            raise found
        return found

    monkeypatch.setattr(watch, "deployment", read)
    monkeypatch.setattr(watch.time, "sleep", lambda _: None)
    told = call(capsys, "status", "mistral", "--watch")
    assert told.code == code
    assert error in told.err


def test_a_table_in_a_pipe_is_never_cut(capsys: pytest.CaptureFixture[str], cluster: Path) -> None:  # noqa: F811
    far = {"name": "n" * 25, "namespace": "s" * 25}
    listed(
        cluster, {**RESOURCE, "metadata": far, "status": {**RESOURCE["status"], "url": "http://" + "u" * 80}}
    )
    heading, shown = call(capsys, "status", "-A", "-o", "wide").out.splitlines()
    assert {"NAMESPACE", "ENGINE", "QUANT", "REASON", "URL"} <= set(heading.split())
    assert {*far.values(), "vllm", "fp8", "Serving", "http://" + "u" * 80} <= set(shown.split())


@pytest.mark.parametrize("name", ["--all-namespaces", "-lx", "Upper", "a/b", "a\n"])
@pytest.mark.parametrize("verb", ["status", "logs", "report"])
def test_what_is_no_name_never_reaches_kubectl(
    capsys: pytest.CaptureFixture[str],
    cluster: Path,  # noqa: F811
    verb: str,
    name: str,
) -> None:
    (cluster / "resource").unlink()
    told = call(capsys, verb, "--", name)
    assert (told.code, told.out) == (2, "")
    assert "no name of an object" in " ".join(told.err.split())
    assert not (cluster / "asked").exists()
