"""When the launcher lets llama.cpp's threads spin, and that OpenMP's library then does."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, strategies as st

from tacho_llamacpp import openmp
from tacho_llamacpp.openmp import (
    MOST_PATIENCE,
    PATIENCE,
    SAMPLE_SECONDS,
    SHORT_SAMPLE_SECONDS,
    SHORT_SAMPLES,
    WaitPolicy,
    next_policy,
    passed,
    sample_seconds,
)

FIRST = WaitPolicy()
ALONE, SHARED, IDLE = (0.19, 0.004), (0.1, 0.09), (0.001, 0.015)


def after(*looks: tuple[float, float], start: WaitPolicy = FIRST) -> WaitPolicy:
    for look in looks:
        start = next_policy(start, *look)
    return start


def test_they_begin_asleep_and_spin_once_two_looks_were_calm() -> None:
    assert not WaitPolicy().spinning
    assert not after(ALONE).spinning
    assert after(ALONE, ALONE).spinning
    assert after(ALONE, SHARED, ALONE).spinning


def test_one_look_at_a_shared_core_ends_spinning() -> None:
    assert not after(ALONE, ALONE, ALONE, SHARED).spinning


def test_an_idle_engine_learns_nothing_of_its_neighbours() -> None:
    spinning = after(*[ALONE] * (2 + SHORT_SAMPLES))
    assert after(IDLE, IDLE, IDLE, start=spinning) == spinning
    assert after(*[IDLE] * 100) == WaitPolicy()


def test_spinning_is_tried_where_threads_queue_for_it_may_make_neighbours_give_way() -> None:
    tried = after(*[SHARED] * PATIENCE)
    assert tried.spinning
    assert after(ALONE, start=tried).spinning


def test_a_wrong_try_costs_one_look_and_the_next_comes_later() -> None:
    state, spun, looks = WaitPolicy(), 0, 2000
    for _ in range(looks):
        state = next_policy(state, *SHARED)
        spun += state.spinning
    assert state.patience == MOST_PATIENCE
    assert spun <= looks / 150


def test_a_wrong_try_ends_after_a_short_look_and_a_right_one_is_soon_looked_at_less() -> None:
    tried = after(*[SHARED] * PATIENCE)
    assert (sample_seconds(FIRST), sample_seconds(tried)) == (SAMPLE_SECONDS, SHORT_SAMPLE_SECONDS)
    short_shared, short_alone = (0.025, 0.024), (0.048, 0.001)
    wrong = after(short_shared, start=tried)
    assert not wrong.spinning
    assert sample_seconds(wrong) == SAMPLE_SECONDS
    right = after(*[short_alone] * SHORT_SAMPLES, start=tried)
    assert right.spinning
    assert sample_seconds(right) == SAMPLE_SECONDS


def test_the_first_seconds_beside_a_neighbour_cost_less_than_a_twentieth() -> None:
    """Engines that spun alone meet: each tries again within four seconds, and stops both while it does."""
    state, lost, passed_seconds = after(*[ALONE] * 20, SHARED), 0.0, 0.0
    while passed_seconds < 4.0:
        seconds = sample_seconds(state)
        lost += seconds if state.spinning else 0.0
        passed_seconds += seconds
        state = next_policy(state, seconds, 0.9 * seconds)
    assert 0 < 2 * lost < 0.05 * 1.5, "a window of the benchmark, and the try of the twin as well"


def test_what_was_long_true_does_not_count_against_the_next_try() -> None:
    wrong = after(ALONE, ALONE, SHARED)
    assert wrong.patience == 2 * PATIENCE
    settled = after(*[ALONE] * 20, SHARED, start=wrong)
    assert settled.patience == PATIENCE


@given(
    st.lists(
        st.tuples(st.floats(0, 64 * SAMPLE_SECONDS), st.floats(0, 64 * SAMPLE_SECONDS)),
        min_size=1,
        max_size=80,
    )
)
def test_threads_that_spin_stop_at_the_first_look_that_shows_a_queue(
    looks: list[tuple[float, float]],
) -> None:
    before = after(*looks[:-1])
    ran, queued = looks[-1]
    state = next_policy(before, ran, queued)
    assert PATIENCE <= state.patience <= MOST_PATIENCE
    if before.spinning and ran + queued >= SAMPLE_SECONDS and queued > ran:
        assert not state.spinning


def test_threads_that_began_or_ended_in_between_do_not_count() -> None:
    before = {"1": (10.0, 1.0), "2": (5.0, 0.0)}
    assert passed(before, {"1": (10.5, 1.25), "3": (9.0, 9.0)}) == (0.5, 0.25)


def test_times_are_read_from_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "schedstat").write_text("1500000000 250000000 12\n")
    (tmp_path / "8").mkdir()  # ended, or a kernel that does not tell
    assert openmp.read_times(tmp_path) == {"7": (1.5, 0.25)}
    assert openmp.read_times(), "this kernel keeps no times: the launcher's threads would always sleep"


@pytest.mark.parametrize("name", openmp.CHOICES)
def test_the_users_choice_stands(name: str) -> None:
    environment = {name: "1"}
    assert openmp.prepare(environment, 2) is None
    assert environment == {name: "1"}


def test_one_thread_waits_for_nobody() -> None:
    environment: dict[str, str] = {}
    assert openmp.prepare(environment, 1) is None
    assert environment == {}


PROGRAM = """
import os, threading, time
from tacho_llamacpp import openmp

python = set(os.listdir(openmp.TASKS))
switch = openmp.prepare(os.environ, 2)
assert switch is not None
assert len(os.sched_getaffinity(0)) == CPUS

def team_seconds():
    "What the threads of this one's OpenMP team use while it meets them 200 times, 5 ms apart."
    before_all = set(os.listdir(openmp.TASKS))
    switch._library.GOMP_parallel(switch._library.omp_get_level, None, 2, 0)
    team.update(set(os.listdir(openmp.TASKS)) - before_all)
    before = openmp.read_times()
    for _ in range(200):
        switch._library.GOMP_parallel(switch._library.omp_get_level, None, 2, 0)
        time.sleep(0.005)
    after = openmp.read_times()
    return sum(after[thread][0] - before[thread][0] for thread in team)

def threads():
    "The threads of this process; those that end are gone after a moment."
    time.sleep(0.2)
    return len(os.listdir(openmp.TASKS))

team = set()
asleep = team_seconds()
taken = threads()
switch.spin()
assert threads() == taken, "their places are not kept"
spinning = team_seconds()
switch.sleep()
assert threads() == taken
again = team_seconds()
print(asleep, spinning, again)
"""


def test_the_switch_turns_spinning_of_the_real_library_on_and_off() -> None:
    program = PROGRAM.replace("CPUS", str(len(os.sched_getaffinity(0))))
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    asleep, spinning, again = (float(word) for word in done.stdout.split())
    # A turn takes 10 ns or more on any processor, and each of 200 waits takes all 20 000 of them.
    assert spinning > 200 * openmp.SPINS * 5e-9
    assert spinning > 3 * max(asleep, again)


class Library:
    """libgomp, of which only the number of threads in a team is of interest here."""

    omp_get_level = None

    def __init__(self) -> None:
        self.teams: list[int] = []

    def GOMP_parallel(self, _function: object, _data: object, threads: int, _flags: int) -> None:
        self.teams.append(threads)


def test_at_the_limit_of_threads_the_held_ones_stay_for_libgomp_could_not_start_them_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would end the engine then: "libgomp: Thread creation failed"."""
    library = Library()
    switch = openmp.Switch(cast("ctypes.CDLL", library), 3)
    started, start = [0], threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        started[0] += 1
        if started[0] > 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", limited)
        for _ in range(3):
            switch.spin()
    assert started == [3], "each try takes places that the engine's clients need"
    switch.spin()
    switch.sleep()
    assert library.teams == [4]


def test_places_of_which_some_cannot_be_kept_are_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    started, start = list[threading.Thread](), threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", limited)
        assert not openmp.ReservedThreads().take(3)
    for thread in started:
        thread.join(5)
        assert not thread.is_alive()


def test_places_are_given_when_the_kernel_counts_their_threads_no_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A thread that Python has joined is still counted for a moment."""
    threads = openmp.ReservedThreads()
    assert threads.take(1)
    (thread,) = threads._waiting
    counted = tmp_path / str(thread.native_id)
    counted.mkdir()
    looks: list[float] = []

    def pause(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            counted.rmdir()

    monkeypatch.setattr(openmp, "TASKS", tmp_path)
    monkeypatch.setattr(openmp.time, "sleep", pause)
    threads.give()
    assert len(looks) == 3
    assert not thread.is_alive()
