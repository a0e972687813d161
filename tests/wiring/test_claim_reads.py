"""Claims of a namespace that had more than are stored: unknown, until there is place for all again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from tacho_operator.shell import claim_reads
from tacho_operator.shell.api_errors import ApiError
from tacho_operator.shell.bounded_reading import Unreadable
from tacho_operator.shell.claim_reads import KIND, ClaimReads
from tacho_operator.shell.kube import Kube, Page
from tacho_operator.shell.store import objects
from tacho_operator.shell.store.store import Store
from tests.wiring.storing import thing, told


def claim(number: int) -> dict[str, Any]:
    return thing(f"c{number}", owner="")


class World:
    """An API server with claims, two on a page, and a store that its watch fills."""

    def __init__(self, count: int) -> None:
        self.store: Store = told()[0]
        self.found: dict[int, dict[str, Any]] = {}
        self.pages_read = 0
        self.meanwhile: Callable[[], None] = lambda: None
        self.error: Exception | None = None
        self.reads = ClaimReads(cast(Kube, self), self.store)
        for number in range(count):
            self.make(number)

    def make(self, number: int) -> None:
        self.found[number] = claim(number)
        self.store.put(KIND, claim(number))

    def delete(self, *numbers: int) -> None:
        for number in numbers:
            del self.found[number]
            self.store.remove(KIND, "ml", f"c{number}", uid=f"uid-c{number}")

    async def pages(self, kind: str, namespace: str) -> AsyncIterator[Page]:
        assert (kind, namespace) == (KIND, "ml")
        numbers = sorted(self.found)
        for start in range(0, len(numbers), 2):
            self.pages_read += 1
            if self.error is not None:
                raise self.error
            yield Page([claim(number) for number in numbers[start : start + 2]], "9")
            self.meanwhile()

    @property
    def known(self) -> bool:
        return self.store.known(KIND, "ml")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "CLAIMS", 10)
    monkeypatch.setattr(claim_reads, "PAGE_PAUSE_SECONDS", 0.0)


async def test_they_are_read_once_half_of_the_places_are_free() -> None:
    world = World(12)
    world.delete(0, 1, 2, 3)
    await world.reads.round()
    assert not world.known
    assert world.pages_read == 0, "a claim that comes and goes would cause a list each time"
    world.delete(4)
    await world.reads.round()
    assert world.known
    assert world.store.claim("ml", "c11") is not None
    assert world.store.size(KIND) == 7
    pages = world.pages_read
    await world.reads.round()
    assert world.pages_read == pages == 4


async def test_where_there_is_still_no_place_for_all_they_stay_unknown() -> None:
    world = World(30)
    world.delete(0, 1, 2, 3, 4)
    await world.reads.round()
    assert not world.known
    assert world.store.size(KIND) == 10
    pages = world.pages_read
    assert pages == 6, "it ends there"
    await world.reads.round()
    assert world.pages_read == pages


@pytest.mark.parametrize("what", ["an event has no place", "the watch is interrupted"])
async def test_what_happens_meanwhile_leaves_them_unknown(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(11)
    world.delete(*range(7))

    def meanwhile() -> None:
        if what == "the watch is interrupted":
            world.store.lost(KIND, "", "it is listed")
            return
        with monkeypatch.context() as patch:
            patch.setattr(objects, "CLAIMS", 0)
            world.store.put(KIND, claim(99))

    world.meanwhile = meanwhile
    await world.reads.round()
    assert not world.known
    world.meanwhile = lambda: None
    world.store.runs(KIND, "")
    await world.reads.round()
    assert world.known


async def test_a_claim_that_is_deleted_meanwhile_does_not_come_back() -> None:
    world = World(11)
    world.delete(*range(7))

    def meanwhile() -> None:
        world.meanwhile = lambda: None
        world.store.remove(KIND, "ml", "c9", uid="uid-c9")

    world.meanwhile = meanwhile
    await world.reads.round()
    assert world.known
    assert world.store.claim("ml", "c9") is None
    assert world.store.claim("ml", "c10") is not None


@pytest.mark.parametrize("error", [ApiError(503, "busy"), Unreadable("an answer that is no list")])
async def test_an_error_or_no_right_leaves_them_unknown(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(11)
    world.delete(*range(7))
    world.error = error
    await world.reads.round()
    assert "namespace ml" in caplog.text
    world.error = None
    world.store.forbidden(KIND, "")
    pages = world.pages_read
    await world.reads.round()
    assert world.pages_read == pages
    world.store.runs(KIND, "")
    assert not world.known
    await world.reads.round()
    assert world.known
