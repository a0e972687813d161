"""Hubs that want a token, refuse, fail and lie."""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub.hf_api
import pytest
from aiohttp import web

from tacho_contract.failure import FailureClass
from tacho_contract.model import InspectConfig
from tacho_contract.uri import HubUri, parse_uri
from tacho_runtime.hub import remote
from tacho_runtime.hub.failures import classify
from tacho_runtime.hub.remote import HubSource
from tests.unit.hub.conftest import RunningHub
from tests.unit.hub.inspecting import facts_of, failure_of
from tools.mock.checkpoints import facts_for
from tools.mock.hub import Stored


@pytest.mark.parametrize(
    ("mode", "token", "expected"),
    [
        ("private", "", FailureClass.AUTH_REQUIRED),
        ("private", "wrong", FailureClass.MODEL_NOT_FOUND),  # hubs do not tell a stranger that it exists
        ("gated", "", FailureClass.AUTH_REQUIRED),
        ("gated", "wrong", FailureClass.AUTH_REQUIRED),
    ],
)
def test_token(hub: RunningHub, published: InspectConfig, mode: str, token: str, expected: str) -> None:
    hub.fake.tokens, hub.fake.mode = {"acme/llama": "right-token"}, mode
    failure = failure_of(published, token)
    assert failure.failure_class == expected
    assert "tokenSecretRef" in failure.next_step
    assert not failure.retryable
    assert facts_of(published, "right-token").files.commit


@pytest.mark.parametrize(
    ("uri", "revision", "word"),
    [("hf://acme/absent", "main", "acme/absent"), ("hf://acme/llama", "v9", "v9")],
)
def test_absent(hub: RunningHub, published: InspectConfig, uri: str, revision: str, word: str) -> None:
    failure = failure_of(InspectConfig(uri=parse_uri(uri), revision=revision, endpoint=hub.url))
    assert failure.failure_class == FailureClass.MODEL_NOT_FOUND
    assert word in failure.message


@pytest.mark.parametrize("bundle", [None, "", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"])
def test_a_bundle_without_certificates_is_no_silent_hub(
    published: InspectConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if bundle is not None:
        file.write_text(bundle)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    failure = failure_of(published)
    assert (failure.failure_class, failure.retryable) == ("InvalidConfig", False)
    assert "The CA bundle" in failure.message


@pytest.mark.parametrize(
    ("words", "step"),
    [
        ("certificate has expired", "renewed"),
        ("certificate is not yet valid", "clock"),
        ("Hostname mismatch, certificate is not valid for 'mirror'.", "spec.model.hub.endpoint"),
        ("unable to get local issuer certificate", "caBundleConfigMapRef"),
    ],
)
def test_no_authority_is_asked_for_where_the_certificate_itself_is_wrong(words: str, step: str) -> None:
    error = ssl.SSLError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] {words}")
    told = classify(error, repository="a/b", revision="main", endpoint="https://mirror", token="").failure
    assert (told.failure_class, told.retryable, step in told.next_step) == ("HubUnreachable", False, True)


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
def test_failing_hub_is_retryable(hub: RunningHub, published: InspectConfig, code: int) -> None:
    hub.fake.faults.fail_always = code
    failure = failure_of(published)
    assert failure.failure_class == FailureClass.HUB_UNREACHABLE
    assert failure.retryable
    assert "limiting" in failure.message if code == 429 else str(code) in failure.message
    assert len(hub.asked("GET", "/api/models")) == 3


def test_hub_that_recovers(hub: RunningHub, published: InspectConfig) -> None:
    hub.fake.faults.fail = [429, 503]
    assert facts_of(published).files.commit


@pytest.mark.parametrize("code", [401, 403])
def test_refusing_hub(hub: RunningHub, published: InspectConfig, code: int) -> None:
    hub.fake.faults.fail_always = code
    assert failure_of(published).failure_class == FailureClass.AUTH_REQUIRED


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = failure_of(InspectConfig(uri=HubUri("a/b"), endpoint="http://127.0.0.1:9"))
    assert (failure.failure_class, failure.retryable) == (FailureClass.HUB_UNREACHABLE, True)


@pytest.mark.parametrize("endpoint", ["https://hub.example", "http://hub.example"])
def test_a_dead_proxy_is_not_the_hub(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    failure = failure_of(InspectConfig(uri=HubUri("a/b"), endpoint=endpoint))
    assert failure.message.startswith(f"The proxy to {endpoint} did not answer")
    monkeypatch.setenv("NO_PROXY", "hub.example")
    monkeypatch.setenv("no_proxy", "hub.example")
    assert failure_of(InspectConfig(uri=HubUri("a/b"), endpoint=endpoint)).message.startswith(endpoint)


def test_hub_that_does_not_answer(
    hub: RunningHub, published: InspectConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "REQUEST_TIMEOUT_SECONDS", 0.2)
    hub.fake.faults.stall_seconds = 2
    failure = failure_of(published)
    assert (failure.failure_class, failure.retryable) == (FailureClass.HUB_UNREACHABLE, True)


def test_garbage_from_the_api(hub: RunningHub, published: InspectConfig) -> None:
    hub.fake.faults.garbage = True
    failure = failure_of(published)
    assert failure.failure_class == FailureClass.HUB_UNREACHABLE
    assert not failure.retryable


def test_redirect_to_storage_does_not_get_the_token(hub: RunningHub, published: InspectConfig) -> None:
    hub.fake.tokens, hub.fake.mode = {"acme/llama": "right"}, "private"
    hub.fake.faults.redirect_to = hub.url.replace("127.0.0.1", "localhost")
    assert facts_of(published, "right").tensors == facts_for("small").tensors
    elsewhere = hub.asked("GET", "/_elsewhere")
    assert elsewhere
    assert not any(entry["authorized"] for entry in elsewhere)


@pytest.mark.parametrize("padding", [0, 168])
def test_a_token_that_a_hub_sends_back_is_not_told(padding: int) -> None:
    """Nor is the part of it before the place where a long text is cut."""
    error = ValueError(f"no such address: https://hub{'x' * padding}/hf_secret")
    told = classify(error, repository="a/b", revision="c", endpoint="https://hub", token="hf_secret")
    assert "/***" in told.failure.message
    assert "hf_" not in told.failure.message


def test_what_signs_a_link_to_storage_is_not_told() -> None:
    """It opens a private file to who reads the status."""
    request = httpx2.Request("GET", "https://storage/file.bin?sv=1&sig=secret")
    error = httpx2.HTTPStatusError(
        "503 for url 'https://storage/file.bin?sv=1&sig=secret'\nmore",
        request=request,
        response=httpx2.Response(503, request=request),
    )
    told = classify(error, repository="a/b", revision="c", endpoint="https://hub", token="")
    assert "503 for url 'https://storage/file.bin?...'" in told.failure.message
    assert "secret" not in told.failure.message


def test_the_client_asks_for_plain_answers_and_does_not_wait_for_ever() -> None:
    """What is compressed is refused, so a hub that compresses where it may would be of no use."""
    from huggingface_hub.utils._http import get_session

    remote.limit_client("https://hub", lambda _: None)
    client = get_session()
    request = client.build_request("GET", "https://hub/api")
    for hook in client.event_hooks["request"]:
        hook(request)
    assert request.headers["Accept-Encoding"] == "identity"
    assert client.timeout == httpx2.Timeout(remote.REQUEST_TIMEOUT_SECONDS)


def test_a_listing_that_goes_on_elsewhere_does_not_get_the_token(
    hub: RunningHub, published: InspectConfig
) -> None:
    hub.fake.faults.next_page = hub.url.replace("127.0.0.1", "localhost") + "/_elsewhere"
    failure_of(published, "right")
    elsewhere = hub.asked("GET", "/_elsewhere")
    assert elsewhere
    assert not any(entry["authorized"] for entry in elsewhere)


@pytest.mark.parametrize(
    ("endpoint", "url", "sent"),
    [
        ("https://hub", "https://hub:443/api", True),
        ("https://hub", "https://HUB/api", True),
        ("http://hub", "https://hub/api", True),
        ("https://hub:8443", "https://hub:8443/api", True),
        ("https://hub", "https://hub:8443/api", False),
        ("http://hub", "https://hub:9000/api", False),
        ("http://hub:80", "http://hub:81/api", False),
        ("https://hub", "http://hub/api", False),
        ("https://hub", "https://hub.other/api", False),
        ("https://hub", "https://user@other/hub", False),
    ],
)
def test_another_port_of_the_hub_does_not_get_the_token(endpoint: str, url: str, *, sent: bool) -> None:
    """It may be the server of another user of that machine."""
    from huggingface_hub.utils._http import get_session

    remote.limit_client(endpoint, lambda _: None)
    client = get_session()
    request = client.build_request("GET", url, headers={"authorization": "Bearer right"})
    for hook in client.event_hooks["request"]:
        hook(request)
    assert ("authorization" in request.headers) == sent


@pytest.mark.parametrize("most", [remote.PAGES_LIMIT, 0], ids=["a cycle", "too many"])
def test_a_listing_without_end_is_refused(
    hub: RunningHub, published: InspectConfig, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(remote, "PAGES_LIMIT", most)
    hub.fake.faults.next_page = f"{hub.url}/api/models/acme/llama/tree/main?cursor=same"
    failure = failure_of(published)
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert "has no end" in failure.message
    assert len(hub.asked("GET", "/api/models/acme/llama/tree")) <= remote.SAME_PAGE_LIMIT + 1


@pytest.mark.parametrize("status", [200, 307, 404, 500])
def test_an_answer_without_end_is_not_read_to_its_end(
    hub: RunningHub, published: InspectConfig, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """1.5 GB of blanks took up to 6 GiB of memory."""
    monkeypatch.setattr(remote, "ANSWER_LIMIT_BYTES", 100_000)
    hub.fake.faults.flood_bytes, hub.fake.faults.flood_status = 3_000_000, status
    failure = failure_of(published)
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert "answers with more than" in failure.message


def test_a_page_from_elsewhere_without_end_is_not_read_to_its_end(
    hub: RunningHub, published: InspectConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "ANSWER_LIMIT_BYTES", 100_000)
    hub.fake.faults.next_page = hub.url.replace("127.0.0.1", "localhost") + "/_elsewhere"
    hub.fake.faults.flood_bytes, hub.fake.faults.flood_path = 3_000_000, "/_elsewhere"
    assert "answers with more than" in failure_of(published).message


def test_a_packed_answer_is_refused_unread(hub: RunningHub, published: InspectConfig) -> None:
    hub.fake.faults.flood_bytes, hub.fake.faults.flood_packed = 3_000_000, True
    assert "compresses its answers" in failure_of(published).message


def test_of_a_file_that_is_sent_whole_only_the_part_is_read(
    hub: RunningHub, published: InspectConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model of 100 GB, in a container of 512 MiB."""
    sent: list[int] = []

    async def send(request: web.Request, _file: Stored, _headers: dict[str, str]) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                await response.write(b"{" * 100_000)
                sent.append(100_000)
        return response

    monkeypatch.setattr(hub.fake, "_send", send)
    source = HubSource("acme/llama", "main", endpoint=published.endpoint)
    assert source.read("config.json", 3, 8) == b"{" * 8
    assert sum(sent) < 50_000_000


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1", "/loop"])
def test_redirects_that_are_not_followed(hub: RunningHub, published: InspectConfig, target: str) -> None:
    hub.fake.faults.redirect_to = target
    assert failure_of(published).failure_class in (FailureClass.HUB_UNREACHABLE, FailureClass.MODEL_NOT_FOUND)


@pytest.mark.parametrize(
    ("path", "sound"),
    [
        *(
            (f"{name}.png", True)
            for name in ("1\ufe0f\u20e3", "\u2764\ufe0f\u200d\U0001f525", "\u0645\u06cc\u200c\u062e")
        ),
        *(
            (f"{name}.png", False)
            for name in ("a\u200d", "a\ufe0f", "\u0645\u200c\u200c", "\u200d", "\u0645\u202e")
        ),
    ],
    ids=ascii,
)
def test_what_joins_signs_belongs_to_a_name_and_hides_nothing(path: str, sound: bool) -> None:
    """Emoji and words of Persian have characters without width."""
    assert remote._sound_path(path) == sound


@pytest.mark.parametrize(
    "path", ["../../escape", "..\\escape", "/etc/passwd", "a//b", "a\0b", "", "x" * 2000, "\ud800", "\x1b[2J"]
)
def test_listing_with_impossible_paths(hub: RunningHub, published: InspectConfig, path: str) -> None:
    original = hub.fake._commit

    def lying(repository: str, revision: str) -> Any:
        commit, files = original(repository, revision)
        files[0].path = path
        return commit, files

    hub.fake._commit = lying  # type: ignore[method-assign]  # what it lists is changed
    assert failure_of(published).failure_class == FailureClass.MODEL_INVALID


def test_a_listing_of_very_many_files_is_refused(
    hub: RunningHub, published: InspectConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(HubSource("acme/llama", "main", endpoint=hub.url).files()) > 3
    monkeypatch.setattr(remote, "FILE_LIMIT", 3)
    failure = failure_of(published)
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert "lists more than 3 files" in failure.message


def test_sizes_that_no_status_can_hold(
    hub: RunningHub, published: InspectConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = hub.fake._commit

    def lying(repository: str, revision: str) -> Any:
        commit, files = original(repository, revision)
        return commit, [replace(f, size=10**30 if f.path.endswith(".safetensors") else f.size) for f in files]

    monkeypatch.setattr(hub.fake, "_commit", lying)
    failure = failure_of(replace(published, parse=False, engine="custom"))
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert "totalBytes: a number of more than 63 bits" in failure.message


def test_server_that_ignores_ranges(hub: RunningHub, published: InspectConfig) -> None:
    hub.fake.faults.no_ranges = True
    assert facts_of(published).tensors == facts_for("small").tensors


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a" * 256, "an impossible name"),
        ("é" * 128, "an impossible name"),
        ("folder/" + "a" * 256 + "/file", "an impossible name"),
        ("config.json", "lists config.json twice"),
        ("config.json/inside", "lists config.json twice, or as a file and as a folder"),
    ],
)
def test_a_listing_that_no_file_system_can_hold_is_refused(
    hub: RunningHub, published: InspectConfig, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    original = hub.fake._commit

    def lying(repository: str, revision: str) -> tuple[str, list[Stored]]:
        commit, files = original(repository, revision)
        return commit, [*files, replace(files[0], path=name), replace(files[0], path="config.json.old")]

    monkeypatch.setattr(hub.fake, "_commit", lying)
    failure = failure_of(published)
    assert failure.failure_class == FailureClass.MODEL_INVALID
    assert message in failure.message


def test_of_a_listing_nothing_is_kept_but_names_sizes_and_digests(
    hub: RunningHub, published: InspectConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 pages of 16 MiB would else be held as parsed: no limit of a container is as large."""
    long = {"status": "safe", "avScan": ["x" * 1000], "pickleImportScan": {"x": ["x" * 1000]}}
    listed = huggingface_hub.hf_api.RepoFile.__init__

    def with_more(self: Any, **fields: Any) -> None:
        listed(self, **{**fields, "securityFileStatus": long, "oid": "x" * 1000})

    monkeypatch.setattr(huggingface_hub.hf_api.RepoFile, "__init__", with_more)
    for file in remote.HubSource("acme/llama", "main", endpoint=hub.url).tree():
        assert {type(one) for one in file} == {str, int}
        assert len(file.digest) in (0, 64)
