"""A model hub that runs beside the test, and the environment that the real client sees."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web

from tacho_contract.fetch import FetchConfig
from tacho_contract.model import InspectConfig
from tacho_contract.uri import HubUri
from tacho_runtime.hub import remote
from tests.unit.hub.fetching import MODEL, planned
from tools.cluster import packages
from tools.cluster.certs import Authority
from tools.mock.checkpoints import write_checkpoint
from tools.mock.hub import FakeHub


class RunningHub:
    """A FakeHub in a thread of its own."""

    def __init__(self, root: Path, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.root, self.fake, self.url = root, FakeHub(root), ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = web.AppRunner(self.fake.application(), shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls)
        self._loop.run_until_complete(site.start())
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._end(runner))
        self._loop.close()

    async def _end(self, runner: web.AppRunner) -> None:
        """Ends the server. One that only closes its connections leaves those whose client reads no more."""
        assert runner.server is not None
        transports = [found for each in runner.server.connections if (found := each.transport) is not None]
        await runner.cleanup()
        for transport in transports:
            transport.abort()
        shaking = asyncio.all_tasks() - {asyncio.current_task()}  # hands with clients, for TLS
        for task in shaking:
            task.cancel()
        await asyncio.gather(*shaking, return_exceptions=True)
        await asyncio.sleep(0)  # in which they are closed

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def asked(self, method: str, part: str) -> list[dict[str, object]]:
        """The requests so far whose path holds ``part``."""
        return [e for e in self.fake.log if e["method"] == method and part in e["path"]]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    running = RunningHub(tmp_path / "hub")
    yield running
    running.stop()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Signs certificates that nobody but this test trusts."""
    packages.ensure({"openssl": "openssl"}, print)
    return Authority(tmp_path / "authority")


@pytest.fixture
def tls_hub(tmp_path: Path, authority: Authority) -> Iterator[RunningHub]:
    """A hub whose certificate is signed by ``authority``."""
    pair = authority.server("hub", "hub", ["127.0.0.1", "localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    running = RunningHub(tmp_path / "hub", context)
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def clean_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No waiting between attempts, no proxy, no token of the person who runs the tests."""
    before, threads = dict(os.environ), set(threading.enumerate())
    for name in ("HF_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(remote, "PAUSES_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(remote, "READ_RETRIES", 0)
    yield
    from huggingface_hub import close_session, set_client_factory
    from huggingface_hub.utils import _http
    from huggingface_hub.utils._http import default_client_factory

    # Threads of a fetch that failed go on, and wait up to 8 s between attempts. Of a connection that one is
    # making, the closed client would know nothing.
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda _seconds: None))
    for thread in set(threading.enumerate()) - threads:
        if not thread.daemon:
            thread.join(20)
    set_client_factory(default_client_factory)  # the test's hub is another one's stranger
    close_session()
    for name in os.environ.keys() - before.keys():
        del os.environ[name]


@pytest.fixture
def config(hub: RunningHub, tmp_path: Path) -> FetchConfig:
    folder = hub.root / "acme/model"
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(MODEL)
    (folder / "config.json").write_text('{"small": true}')
    (folder / "README.md").write_text("not wanted")
    return planned(hub, tmp_path)


@pytest.fixture
def published(hub: RunningHub) -> InspectConfig:
    write_checkpoint(hub.root / "acme/llama", "small", shard_bytes=60_000)
    (hub.root / "acme/llama/README.md").write_text("about")
    return InspectConfig(uri=HubUri("acme/llama"), endpoint=hub.url, engine="vllm")
