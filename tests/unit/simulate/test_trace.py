"""Traces are read as they are published, and what is wrong is said with its line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tacho_simulate import trace
from tacho_simulate.trace import Trace, TraceError, parse_trace, read_trace


def test_own_columns_in_any_order_and_more_of_them() -> None:
    lines = ["output_tokens,time_s,user,input_tokens", "7,2.5,a,100", "0,1.0,b,50", ""]
    trace = parse_trace(lines, "own", "own.csv")
    assert trace == Trace("own", (0.0, 1.5), (50, 100), (1, 7))
    assert (len(trace), trace.duration_seconds) == (2, 1.5)


def test_azure_columns_with_seven_digits() -> None:
    lines = [
        "TIMESTAMP,ContextTokens,GeneratedTokens",
        "2023-11-16 18:17:03.9799600,4808,10",
        "2023-11-16 18:17:04.0319600,3180,8",
    ]
    trace = parse_trace(lines, "azure", "azure.csv")
    assert trace.time_seconds == pytest.approx((0.0, 0.052))
    assert trace.input_tokens == (4808, 3180)


def test_azure_of_2024_has_a_zone() -> None:
    lines = [
        "TIMESTAMP,ContextTokens,GeneratedTokens",
        "2024-05-10 00:00:00.009930+00:00,2162,5",
        "2024-05-10 00:00:01+00:00,2399,6",
    ]
    assert parse_trace(lines, "azure", "azure.csv").time_seconds == pytest.approx((0.0, 0.99007))


def test_capital_letters_and_whole_numbers_with_a_point() -> None:
    lines = ["Time_S, INPUT_tokens ,output_tokens", "0,512.0,1e2"]
    assert parse_trace(lines, "own", "own.csv") == Trace("own", (0.0,), (512,), (100,))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
            "5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,0,1087,API log\n118,x,417,276,693,x\n",
            ((0.0, 113.0), (472, 417), (18, 276), 1),
        ),
        (
            "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
            "5,1,2.1,ChatGPT,472,18,490,Conversation log\n",
            ((0.0,), (472,), (18,), 0),
        ),
        (
            '{"timestamp": 0, "input_length": 655, "output_length": 52, "hash_ids": [1, 2]}\n\n'
            '{"output_length": 0, "timestamp": 3052, "input_length": 900}\n',
            ((0.0, 3.052), (655, 900), (52, 1), 0),
        ),
        (
            '{"chat_id": 1, "timestamp": 61.0, "input_length": 20, "output_length": 5, "type": "text"}\n'
            '{"chat_id": 2, "timestamp": 63.5, "input_length": 30, "output_length": 6, "type": "text"}\n',
            ((0.0, 2.5), (20, 30), (5, 6), 0),
        ),
        (
            "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n2024-10-01 00:00:00.5+00:00,1,2162,5\n",
            ((0.0,), (2162,), (5,), 0),
        ),
        ("\ufefftime_s,input_tokens,output_tokens\n0,1,2\n", ((0.0,), (1,), (2,), 0)),
        ("time_s;input_tokens;output_tokens\n0;1;2\n", ((0.0,), (1,), (2,), 0)),
        ("time_s\tinput_tokens\toutput_tokens\n0\t1\t2\n", ((0.0,), (1,), (2,), 0)),
    ],
)
def test_published_layouts_and_other_separators(
    tmp_path: Path, text: str, found: tuple[tuple[float, ...], tuple[int, ...], tuple[int, ...], int]
) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    assert read_trace(tmp_path / "t.csv") == Trace("t", *found)


def test_gzip_is_told_by_its_content(tmp_path: Path) -> None:
    text = b"time_s,input_tokens,output_tokens\n0,1,2\n"
    for name, content in (("night.csv", gzip.compress(text)), ("night.csv.gz", text)):
        path = tmp_path / name
        path.write_bytes(content)
        assert read_trace(path) == Trace("night", (0.0,), (1,), (2,))


def test_gzip_and_name(tmp_path: Path) -> None:
    path = tmp_path / "night.csv.gz"
    path.write_bytes(gzip.compress(b"time_s,input_tokens,output_tokens\n0,1,2\n"))
    assert read_trace(path) == Trace("night", (0.0,), (1,), (2,))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: the heading must name time_s,input_tokens,output_tokens or TIMESTAMP"),
        ("a,b\n1,2\n", "line 1: the heading must name time_s,input_tokens,output_tokens or TIMESTAMP"),
        ("a,b\n1,2\n", "found 'a,b'"),
        (
            "time_s,input_tokens\n1,2\n",
            "found 'time_s,input_tokens'",
        ),
        (",".join(["xy"] * 20_000) + "\n", "xy,xy…'"),
        ("time_s,input_tokens,output_tokens\n0," + "x" * 100_000 + ",2\n", "xxx…"),
        ("time_s,input_tokens,output_tokens\n0,1.5,2\n", "line 2: '1.5' tokens; a whole number from 0"),
        ("time_s,input_tokens,output_tokens\n0,inf,2\n", "line 2: 'inf' tokens; a whole number from 0"),
        ("time_s,input_tokens,output_tokens\n", "holds no request"),
        (
            "time_s,input_tokens,output_tokens\n0,1,2\n1,x,2\n",
            "line 3: 'x' tokens; a whole number from 0",
        ),
        ("time_s,input_tokens,output_tokens\n0,1\n", "line 2: 2 columns, at least 3 are needed"),
        (
            "time_s,input_tokens,output_tokens\nnan,1,2\n",
            "line 2: time 'nan'; a number of seconds is expected",
        ),
        ("time_s,input_tokens,output_tokens\nsoon,1,2\n", "line 2: time 'soon'; a number of seconds"),
        ("time_s,input_tokens,output_tokens\n0,1,2\n1e300,1,2\n", "more than three years; times are in s"),
        ("time_s,input_tokens,output_tokens\n0,-1,2\n", "line 2: '-1' tokens"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n", "line 2: "),
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\n16/11/2023 18:15,374,44\n",
            "(Azure): line 2: time '16/11/2023 18:15'; a date such as 2023-11-16",
        ),
        ("time_s,input_tokens,output_tokens\n0,100,\n", "line 2: '' tokens"),
        ("time_s;input_tokens;output_tokens\n0,5;1;2\n", "line 2: time '0,5'; a number of seconds"),
        ("time_s,input_tokens,output_tokens\n1715299200009,1,2\n", "is in milliseconds since 1970"),
        ("Timestamp,Request tokens,Response tokens\n5,472,0\n", "(BurstGPT): holds no request that was answ"),
        ('[{"id": "a", "conversations": [{"from": "human"}]}]', "ShareGPT has no arrival times; a trace has"),
        ('[\n {\n  "id": "a",\n  "conversations": [\n', "ShareGPT has no arrival times"),
        ('[{"timestamp": 0}]', "a JSON array; a trace has one request a line"),
        ('{"timestamp": 0}\n', "found 'timestamp'"),
        (
            '{"timestamp": 0, "input_length": 1, "output_length": 2}\n\n{"timestamp": 5}\n',
            "(Mooncake): line 3: '' tokens",
        ),
        ('{"timestamp": 0, "input_length": 1, "output_length": 2}\n[1]\n', "line 2: not a JSON object"),
        ('{"timestamp": 0, "input_length": 1, "output_length": 2}\n{"a\n', "line 2: not a JSON object: "),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(TraceError) as caught:
        read_trace(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 480


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        read_trace(tmp_path / "nothing.csv")
    other = tmp_path / "other.csv.gz"
    other.write_bytes(bytes(range(128, 256)))
    with pytest.raises(TraceError, match="not a CSV"):
        read_trace(other)
    with pytest.raises(TraceError, match="not a CSV"):
        read_trace("/dev/zero")
    text = "".join(f"{number},{number * number % 997},5\n" for number in range(500))
    whole = gzip.compress(f"time_s,input_tokens,output_tokens\n{text}".encode())
    middle = len(whole) // 2
    for broken in (whole[:middle], whole[:middle] + bytes(byte ^ 0xFF for byte in whole[middle:])):
        other.write_bytes(broken)
        with pytest.raises(TraceError, match="not a CSV"):
            read_trace(other)


def test_a_trace_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gzip of 3 MB may hold a hundred million lines; also empty ones."""
    monkeypatch.setattr(trace, "LINES_LIMIT", 1000)
    for line in (b"1,1,1\n", b"\n"):
        (tmp_path / "t.csv").write_bytes(
            gzip.compress(b"time_s,input_tokens,output_tokens\n1,1,1\n" + line * 999)
        )
        with pytest.raises(TraceError, match="more than 1,000 lines"):
            read_trace(tmp_path / "t.csv")


def test_times_must_be_sorted() -> None:
    with pytest.raises(TraceError, match="not sorted"):
        Trace("x", (1.0, 0.5), (1, 1), (1, 1))
