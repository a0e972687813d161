"""Clients of a long closed loop: Python processes, or one process of closed_loop/main.go."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import multiprocessing
import queue
import random
import subprocess
import threading
import time
import urllib.parse
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from typing import Any

SPREAD = 0.25
"""Lengths of answers are uniform within so much of OUTPUT to either side, as the probe's are."""
SAMPLE_SECONDS, DRAIN_SECONDS = 0.25, 60.0


@dataclass(slots=True)
class Answer:
    """One request. Times are seconds of the machine's monotonic clock."""

    sent: float
    first_token: float = math.nan
    last_token: float = math.nan
    tokens: int = 0
    """By the server's usage."""
    events: int = 0
    """With choices."""
    silent_events: int = 0
    """With choices and without text."""
    first_of_stream: bool = False
    error: str = ""
    stamps: list[float] = field(default_factory=list)
    """Of every event, relative to ``sent``."""


def prompt_of(rng: random.Random, tokens: int, vocabulary: int) -> list[int]:
    return [rng.randrange(1000, vocabulary) for _ in range(tokens)]


class Client:
    """Closed-loop streams of one process, over keep-alive connections."""

    def __init__(self, url: str, model: str, workload: tuple[int, int, int], seed: int) -> None:
        parts = urllib.parse.urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._model, self._workload = model, workload
        self._rng = random.Random(seed)
        self.answers: list[Answer] = []
        self.stop = asyncio.Event()

    async def stream(self, delay: float) -> None:
        await asyncio.sleep(delay)
        reader = writer = None
        first = True
        while not self.stop.is_set():
            if writer is None:
                reader, writer = await asyncio.open_connection(self._host, self._port, limit=1 << 20)
            answer = await self._send(reader, writer, first=first)
            self.answers.append(answer)
            if answer.error:
                writer.close()
                writer = None
                await asyncio.sleep(0.2)
            first = False
        if writer is not None:
            writer.close()

    async def _send(self, reader: Any, writer: Any, *, first: bool) -> Answer:
        prompt_tokens, output_tokens, vocabulary = self._workload
        low, high = round(output_tokens * (1 - SPREAD)), round(output_tokens * (1 + SPREAD))
        length = self._rng.randint(1, output_tokens) if first else self._rng.randint(low, high)
        body = json.dumps(
            {
                "model": self._model,
                "prompt": prompt_of(self._rng, prompt_tokens, vocabulary),
                "max_tokens": length,
                "min_tokens": length,
                "ignore_eos": True,
                "temperature": 0.0,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ).encode()
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        answer = Answer(sent=time.monotonic(), first_of_stream=first)
        try:
            writer.write(head + body)
            status = await reader.readline()
            if b" 200 " not in status:
                answer.error = status.decode(errors="replace").strip()
                return answer
            while (await reader.readline()).strip():
                pass
            await self._read_events(reader, answer)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            answer.error = f"{type(error).__name__}: {error}"
        return answer

    async def _read_events(self, reader: Any, answer: Answer) -> None:
        pending = b""
        while size := int((await reader.readline()).strip() or b"0", 16):
            chunk = await reader.readexactly(size + 2)
            now = time.monotonic()
            pending += chunk[:-2]
            *whole, pending = pending.split(b"\n\n")
            for event in whole:
                self._note(event, now, answer)
        await reader.readline()
        if not answer.tokens:
            answer.error = "the stream ended without usage"

    @staticmethod
    def _note(event: bytes, now: float, answer: Answer) -> None:
        if not event.startswith(b"data: {"):
            return
        document = json.loads(event[6:])
        if document.get("choices"):
            answer.events += 1
            answer.silent_events += not document["choices"][0].get("text")
            answer.stamps.append(round(now - answer.sent, 6))
            answer.first_token = answer.first_token if answer.events > 1 else now
            answer.last_token = now
        if usage := document.get("usage"):
            answer.tokens = usage["completion_tokens"]


def run_process(pipe: Connection, arguments: dict[str, Any]) -> None:
    """Child: its share of the streams, until the parent says stop; answers what it collected."""

    async def main() -> None:
        workload = (arguments["input"], arguments["output"], arguments["vocabulary"])
        client = Client(arguments["url"], arguments["model"], workload, arguments["seed"])
        tasks = [asyncio.create_task(client.stream(delay)) for delay in arguments["delays"]]
        loop = asyncio.get_running_loop()
        told = 0
        while True:
            await asyncio.sleep(SAMPLE_SECONDS)
            ended = sum(answer.first_of_stream for answer in client.answers)
            sent = [answer.sent for answer in client.answers[told:] if not answer.first_of_stream]
            told = len(client.answers)
            await loop.run_in_executor(None, pipe.send, (ended, sent))
            if pipe.poll():
                break
        client.stop.set()
        await asyncio.wait(tasks, timeout=DRAIN_SECONDS)
        pipe.send([asdict(answer) for answer in client.answers])

    asyncio.run(main())


class CompiledLoop:
    """The closed loop of one level, in one process of closed_loop/main.go."""

    def __init__(self, options: argparse.Namespace, streams: int, service_seconds: float, seed: int) -> None:
        delays = [service_seconds * index / streams for index in range(streams)]
        settings = {
            **{name: getattr(options, name) for name in ("url", "model", "input", "output", "vocabulary")},
            "temperature": options.temperature,
            "fresh": options.fresh,
            "seed": seed,
            "delays": delays,
        }
        self._child = subprocess.Popen(
            [options.client, json.dumps(settings)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._streams, self._firsts = streams, 0
        self.sent: list[float] = []
        """When requests that have ended were sent; first ones aside."""

    def _read(self) -> None:
        assert self._child.stdout is not None
        for text in self._child.stdout:
            self._lines.put(json.loads(text))

    @property
    def mixed(self) -> bool:
        """Whether every stream has ended its first request."""
        return self._firsts == self._streams

    def poll(self) -> None:
        while not self._lines.empty():
            found = self._lines.get()
            self._firsts = found["ended"]
            self.sent += found["sent"]

    def stop(self) -> list[Answer]:
        """All answers of all streams."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(DRAIN_SECONDS)
        self._reader.join()
        while "answers" not in (found := self._lines.get(timeout=1)):
            pass
        return [Answer(**{**item, "stamps": item["stamps"] or []}) for item in found["answers"]]


class Loop:
    """The closed loop of one level, in child processes."""

    def __init__(self, options: argparse.Namespace, streams: int, service_seconds: float, seed: int) -> None:
        self._streams = streams
        self._pipes: list[Connection] = []
        self._children: list[Any] = []
        workers = min(options.processes, streams)
        delays = [service_seconds * index / streams for index in range(streams)]
        context = multiprocessing.get_context("spawn")
        for index in range(workers):
            ours, theirs = context.Pipe()
            arguments = {**vars(options), "seed": seed * 1000 + index, "delays": delays[index::workers]}
            child = context.Process(target=run_process, args=(theirs, arguments), daemon=True)
            child.start()
            self._pipes.append(ours)
            self._children.append(child)
        self._firsts = [0] * workers
        self.sent: list[float] = []
        """When requests that have ended were sent; first ones aside."""

    @property
    def mixed(self) -> bool:
        """Whether every stream has ended its first request."""
        return sum(self._firsts) == self._streams

    def poll(self) -> None:
        for index, pipe in enumerate(self._pipes):
            while pipe.poll():
                self._firsts[index], sent = pipe.recv()
                self.sent += sent

    def stop(self) -> list[Answer]:
        """All answers of all streams."""
        for pipe in self._pipes:
            pipe.send("stop")
        answers: list[Answer] = []
        for pipe in self._pipes:
            while not isinstance(message := pipe.recv(), list):
                pass
            answers += [Answer(**item) for item in message]
        for child in self._children:
            child.join()
        return answers
