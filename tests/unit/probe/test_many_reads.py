"""An engine that sends far more events than tokens takes no memory without end, and has the same figures."""

from __future__ import annotations

import dataclasses

import pytest

from tacho_runtime.probe.load import token_stream
from tacho_runtime.probe.load.token_stream import STAMPS_KEPT, TokenStream
from tests.unit.probe.test_streams import DONE, HEAD, MS, in_chunks, received

READS = 20_000
END = in_chunks(
    b'{"choices":[{"text":"b","finish_reason":"length"}]}',
    b'{"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":500}}',
    DONE,
)


def answer(*, counted: bool) -> TokenStream:
    """An event a millisecond, and a token for each forty of them."""
    events = [
        b'{"choices":[{"text":"a"}]%s}' % (b',"usage":{"completion_tokens":%d}' % (1 + at // 40) * counted)
        for at in range(READS)
    ]
    role = in_chunks(b'{"choices":[{"delta":{"role":"assistant","content":""}}]}')
    reads = [(3 + at, in_chunks(event)) for at, event in enumerate(events)]
    return received((1, HEAD), (2, role), *reads, (READS + 3, END))


@pytest.mark.parametrize("counted", [True, False])
def test_of_very_many_reads_some_are_kept(counted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    thin = answer(counted=counted)
    assert len(thin._stamps) <= STAMPS_KEPT
    assert [stamp[0] for stamp in thin._stamps[:64]] == [MS * (2 + at) for at in range(64)]
    found = thin.result(whole=True)
    monkeypatch.setattr(token_stream, "STAMPS_KEPT", 10 * READS)
    whole = answer(counted=counted).result(whole=True)
    assert dataclasses.replace(found, tokens=whole.tokens) == whole
    assert found.tokens[0] == whole.tokens[0]
    for figure in ("output_tokens", "tpot_milliseconds", "end_to_end_milliseconds"):
        assert getattr(found, figure) == pytest.approx(getattr(whole, figure), rel=1e-3)
    gaps = [later[0] - sooner[0] for sooner, later in zip(found.tokens, found.tokens[1:], strict=False)]
    assert max(gaps) <= 80 * MS, "a token comes every 40 ms, and stays near its time"


def test_an_answer_of_one_read_for_each_token_keeps_all() -> None:
    stream = received((1, HEAD))
    stream.max_tokens = 3000
    later = received((1, HEAD))
    for at in range(3000):
        stream._add_read(at, in_chunks(b'{"choices":[{"text":"a"}]}'))
        later._add_read(at, in_chunks(b'{"choices":[{"text":"a"}]}'))
    assert len(stream._stamps) == 3000
    assert len(later._stamps) <= STAMPS_KEPT
