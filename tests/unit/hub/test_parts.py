"""Parts of files that a hub sends otherwise than requested, while a model is inspected."""

from __future__ import annotations

import pytest

from tacho_contract.failure import FailureClass
from tacho_contract.model import InspectConfig
from tacho_runtime.hub.parts import continues, is_last, sent_part
from tests.unit.hub.conftest import RunningHub
from tests.unit.hub.inspecting import facts_of, failure_of
from tools.mock.checkpoints import facts_for


def test_another_part_than_requested_is_refused(hub: RunningHub, published: InspectConfig) -> None:
    hub.fake.faults.shift = 1
    failure = failure_of(published)
    assert failure.failure_class == FailureClass.HUB_UNREACHABLE
    assert "it sent 'bytes 1-" in failure.message


NO_PLACE = ("", "bytes", "bytes 0-", "bytes */900", "bytes 8-7/900", "kB 0-7/9", "bytes 0-7 of 9")


@pytest.mark.parametrize("content_range", NO_PLACE)
def test_a_part_that_names_no_place_is_refused(
    hub: RunningHub, published: InspectConfig, content_range: str
) -> None:
    """Without the header the bytes may be any, as where a proxy drops the requested range."""
    hub.fake.faults.content_range, hub.fake.faults.part_bytes = content_range, 100_000
    failure = failure_of(published)
    assert (failure.failure_class, failure.retryable) == (FailureClass.HUB_UNREACHABLE, False)
    assert "it sent HTTP 206" in failure.message or "it sent 'bytes" in failure.message
    assert (content_range or "no Content-Range") in failure.message


@pytest.mark.parametrize("total", ["/900", "", "/*", "/-1", "/3"])
def test_a_part_with_more_bytes_than_it_names_is_refused(
    hub: RunningHub, published: InspectConfig, total: str
) -> None:
    """The rest would be taken for what follows the part."""
    hub.fake.faults.content_range = f"bytes 0-3{total}"
    failure = failure_of(published)
    assert failure.failure_class == FailureClass.HUB_UNREACHABLE
    assert "where its Content-Range has 4" in failure.message


IMPOSSIBLE_TOTALS = (
    "bytes {start}-{end}",
    "bytes {start}-{end}/-1",
    "bytes {start}-{end}/",
    "bytes {start}-{size}/{size}",
)


@pytest.mark.parametrize("content_range", IMPOSSIBLE_TOTALS)
def test_a_part_with_an_impossible_total_is_read(
    hub: RunningHub, published: InspectConfig, content_range: str
) -> None:
    """Its bytes are those that were requested. Some servers count wrongly, or leave the total out."""
    hub.fake.faults.content_range = content_range
    assert facts_of(published).tensors == facts_for("small").tensors


@pytest.mark.parametrize("total", ["", "/", "/-1", "/*", "/unknown", "/19", "/0", "/" + "9" * 19])
def test_an_impossible_total_is_unknown(total: str) -> None:
    part = sent_part("a", 10, 206, f"bytes 10-19{total}")
    assert part == (10, 19, None)
    assert not is_last(part, 10)


def test_a_download_continues_with_what_holds_the_bytes_that_follow() -> None:
    for content_range in ("bytes 10-19/20", "Bytes 10-19/20", "bytes 10-19", "bytes 10-20/20"):
        assert continues("a", 10, 206, content_range)
    for status, content_range in ((200, "bytes 10-19/20"), (206, "bytes 0-19/20"), (206, ""), (207, "")):
        assert not continues("a", 10, status, content_range)


@pytest.mark.parametrize("status", [201, 207])
def test_an_answer_that_is_neither_a_part_nor_a_file_is_refused(
    hub: RunningHub, published: InspectConfig, status: int
) -> None:
    hub.fake.faults.file_status = status
    failure = failure_of(published)
    assert failure.failure_class == FailureClass.HUB_UNREACHABLE
    assert f"it sent HTTP {status}" in failure.message


def test_a_whole_file_from_a_proxy_that_changes_headers_is_read(
    hub: RunningHub, published: InspectConfig
) -> None:
    """It was read from its beginning, whatever part had been requested."""
    hub.fake.faults.no_ranges, hub.fake.faults.file_status = True, 203
    assert facts_of(published).tensors == facts_for("small").tensors


@pytest.mark.parametrize("content_range", ["Bytes 10-19/*", "bytes 10-19/20"])
def test_a_part_of_a_file_of_unknown_length_is_one(content_range: str) -> None:
    part = sent_part("a", 10, 206, content_range)
    assert part is not None
    assert (part.first, part.length) == (10, 10)
    assert is_last(part, 10) == (part.total == 20)
    assert not is_last(part, 9)


def test_an_answer_that_is_cut_is_asked_for_again(
    hub: RunningHub, published: InspectConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.mock.hub.PIECE_BYTES", 16)
    hub.fake.faults.cut_after, hub.fake.faults.cuts = 16, 1
    assert facts_of(published).tensors == facts_for("small").tensors


def test_a_part_that_comes_in_smaller_parts_is_no_damaged_model(
    hub: RunningHub, published: InspectConfig
) -> None:
    """As HTTP allows a server, and mirrors do. The model would have been told to be cut short, for ever."""
    hub.fake.faults.part_bytes = 1000
    assert facts_of(published).tensors == facts_for("small").tensors
    hub.fake.faults.part_bytes = 1
    failure = failure_of(published)
    assert (failure.failure_class, failure.retryable) == (FailureClass.HUB_UNREACHABLE, True)
    assert "in 64 answers" in failure.message
