"""A model on a hub: its commit, its files, and any byte range of a file, by huggingface_hub's client."""

from __future__ import annotations

import os
import re
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import quote

from tacho_contract.failure import FailedError, FailureClass
from tacho_contract.text import visible
from tacho_runtime.headers.source import FILE_LIMIT, FileEntry, invalid, not_found
from tacho_runtime.hub.addresses import by_proxy, is_inward
from tacho_runtime.hub.cache import is_digest
from tacho_runtime.hub.failures import ABBREVIATED, WHOLE_COMMIT, classify, unreachable
from tacho_runtime.hub.parts import COMPLETE_STATUS, PARTIAL_STATUS, is_last, sent_part

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub import HfApi

T = TypeVar("T")

REQUEST_TIMEOUT_SECONDS = 15.0
"""Timeout in seconds of a connection, and of each piece of an answer."""
PAGES_LIMIT = 200
"""Most pages of a listing. A page of the hub has a thousand files, and a listing at most FILE_LIMIT."""
SAME_PAGE_LIMIT = 10
"""Number of times that pages may name the same next page. The hub client reads a cut page again."""
ANSWER_LIMIT_BYTES = 16 * 1024 * 1024
"""Longest answer in bytes that is not a file; a page of a listing has 0.4 MB."""
FILE = "tacho.file"
"""Extension that marks requests for files. Any other answer is bounded, wherever a hub sends its client."""
PART_LIMIT_BYTES = 255
"""Longest name of a file or folder in bytes, as in file systems."""
BLANKS = "\u00a0\u3000"
"""White-space characters that file names may contain besides the space."""
JOINED = re.compile(
    "(?<=[^\x00-\x7f\u200c\u200d\ufe0e\ufe0f])[\ufe0e\ufe0f]?[\u200c\u200d]?|\ufe0f(?=\u20e3)"
)
"""Matches invisible characters that join others, as in emoji and in Persian or Hindi words."""
COMMIT = re.compile("[0-9a-f]{40}")
DATE = re.compile("[0-9]{8}")
"""Matches a date, as 20260131, which is likelier a tag than the beginning of a commit."""
READ_RETRIES = 3
PARTS_LIMIT = 64
"""Most answers in which a hub may deliver one part of a file: some send at most so many bytes at a time."""
XET_BYTES = {
    "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_SIZE": 384_000_000,
    "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_PERFILE_SIZE": 64_000_000,
    "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_LIMIT": 640_000_000,
    "HF_XET_RECONSTRUCTION_MIN_PREFETCH_BUFFER": 256_000_000,
}
"""What Xet's native client may hold of files that a disk is slower to write than the network to bring.

By itself it holds 6.3 GB, where the fetch container has 2 GiB: the kernel would end it, and as the client
begins such a file anew, again and again.
"""
PAUSES_SECONDS = (1.0, 3.0)
"""Pauses in seconds between attempts to list the files, after errors that may be temporary."""


def prepare_environment(endpoint: str) -> None:
    """Sets the environment variables that huggingface_hub reads when it is imported. Called before any import
    of it."""
    if endpoint:
        os.environ["HF_ENDPOINT"] = endpoint
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if os.environ.get(name) and not os.environ.get("SSL_CERT_FILE"):
            os.environ["SSL_CERT_FILE"] = os.environ[name]
    for name, size_bytes in XET_BYTES.items():
        os.environ.setdefault(name, str(size_bytes))
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_UPDATE_CHECK", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")


def _check_authorities() -> None:
    """Raises FailedError where the CA bundle holds none: the client's error looks like that of a silent
    hub."""
    file = os.environ.get("SSL_CERT_FILE", "")
    try:
        ssl.create_default_context(cafile=file or None)
    except OSError as error:
        raise FailedError.of(
            FailureClass.INVALID_CONFIG,
            f"The CA bundle {file[-300:]} cannot be used: {error.strerror or error}.",
            "Put certificates in PEM into the ConfigMap that spec.model.hub.caBundleConfigMapRef names.",
        ) from None


def limit_client(endpoint: str, followed: Callable[[str], None]) -> None:
    """Limits huggingface_hub's HTTP client: a timeout, answers of limited size, the token for ``endpoint``
    only. It sends no request to this machine or its cloud, unless the hub itself is there.

    By itself the client waits for ever for a listing, and sends the token to any host on which a listing
    continues. ``followed`` is called with the address of each further page before it is read.
    """
    import httpx2
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    own = httpx2.URL(endpoint)

    def withhold_token(request: httpx2.Request) -> None:
        request.headers["Accept-Encoding"] = "identity"
        url = request.url
        # Another port of the hub's host may be another user's server. Only HTTPS's own port is privileged.
        encrypted = (url.scheme, url.host, url.port) == ("https", own.host, None)
        if not encrypted and (url.scheme, url.host, url.port) != (own.scheme, own.host, own.port):
            request.headers.pop("authorization", None)

    def stay_outside(request: httpx2.Request) -> None:
        host = request.url.host
        if host != own.host and is_inward(host) and not is_inward(own.host):
            raise unreachable(f"{endpoint} leads to {host}, which is no address of a hub.", retryable=False)

    def stayed_outside(response: httpx2.Response) -> None:
        # A name may have another address by the time of its connection.
        host, stream = response.request.url.host, response.extensions.get("network_stream")
        peer = stream.get_extra_info("server_addr") if stream and not by_proxy(host) else None
        if peer and host != own.host and is_inward(peer[0]) and not is_inward(own.host):
            raise unreachable(
                f"{endpoint} leads to {peer[0]}, which is no address of a hub.", retryable=False
            )

    def follow(response: httpx2.Response) -> None:
        if url := response.links.get("next", {}).get("url"):
            followed(url)

    def factory() -> httpx2.Client:
        client = default_client_factory()
        client.event_hooks["request"] += [withhold_token, stay_outside]
        client.event_hooks["response"] += [stayed_outside, _limit_answers(endpoint), follow]
        client.timeout = httpx2.Timeout(REQUEST_TIMEOUT_SECONDS)
        return client

    set_client_factory(factory)


def _limit_answers(endpoint: str) -> Callable[[httpx2.Response], None]:
    """A hook that refuses compressed answers, and those that are no files and are longer than
    ANSWER_LIMIT_BYTES. 64 KiB may decompress to gigabytes.
    """
    import httpx2

    class Bounded(httpx2.SyncByteStream):
        def __init__(self, stream: httpx2.SyncByteStream) -> None:
            self._stream = stream

        def __iter__(self) -> Iterator[bytes]:
            left = ANSWER_LIMIT_BYTES
            for chunk in self._stream:
                left -= len(chunk)
                if left < 0:
                    raise _endless(
                        f"{endpoint} answers with more than {ANSWER_LIMIT_BYTES >> 20} MiB, tacho's limit."
                    )
                yield chunk

        def close(self) -> None:
            self._stream.close()

    def bound(response: httpx2.Response) -> None:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise _endless(f"{endpoint} compresses its answers, though asked for plain ones.")
        if response.status_code in (*COMPLETE_STATUS, PARTIAL_STATUS) and FILE in response.request.extensions:
            return  # a redirect keeps the extensions
        if isinstance(response.stream, httpx2.SyncByteStream):
            response.stream = Bounded(response.stream)

    return bound


def _endless(message: str) -> FailedError:
    return invalid(message, "Ask the hub's operator, or set spec.model.hub to another mirror.")


class ListedFile(NamedTuple):
    """What is kept of a listed file. A listing may have megabytes of other things for each."""

    path: str
    size_bytes: int
    digest: str
    """sha256 of a large file, git's blob id of a small one; "": the hub lists none."""


class HubSource:
    """The files of one repository at one revision on a hub. The token goes to the hub's own host only."""

    def __init__(self, repository: str, revision: str, *, endpoint: str = "", token: str = "") -> None:
        """Resolves the revision. Raises FailedError."""
        prepare_environment(endpoint)
        _check_authorities()
        try:
            from huggingface_hub import HfApi
        except ValueError as error:
            raise FailedError.of(
                FailureClass.INVALID_CONFIG,
                f"The hub's client cannot read a variable of spec.model.hub.env: {error}.",
                "Correct it: HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT are whole numbers of seconds.",
            ) from None

        self.repository, self.revision = repository, revision
        self._secret, self._token = token, token or False
        self.api: HfApi = HfApi(
            endpoint=endpoint.rstrip("/") or None, token=self._token, library_name="tacho"
        )
        self.endpoint = self.api.endpoint.rstrip("/")
        self._pages: Counter[str] = Counter()
        """Number of times that each further page of the listing was named."""
        limit_client(self.endpoint, self._follow)
        info = self._call(
            lambda: self.api.model_info(repository, revision=revision, timeout=REQUEST_TIMEOUT_SECONDS),
            PAUSES_SECONDS,
        )
        sha = info.sha
        if not isinstance(sha, str) or not COMMIT.fullmatch(sha):
            raise self._classified(ValueError(f"it names no commit for {revision!r}"))
        if COMMIT.fullmatch(revision.lower()) and sha != revision.lower():
            # Its digests are those of another commit's files, which would pass verification.
            raise not_found(
                f"{self.endpoint} answers with the commit {sha} of {repository} in place of {revision}.",
                "Name a hub that serves that commit in spec.model.hub, or change spec.model.revision.",
            )
        if ABBREVIATED.fullmatch(revision.lower()) and not sha.startswith(revision.lower()):
            self._require_name(revision, sha)
        self.commit = sha

    def _require_name(self, revision: str, commit: str) -> None:
        """Raises FailedError where ``revision``, which does not begin ``commit``, names no branch or tag.

        It has the form of an abbreviated commit, in place of which a hub may answer with its newest one. Of a
        mirror without a list of names, a date is taken for a name.
        """
        why = "It lists no such branch or tag."
        try:
            found = self._call(lambda: self.api.list_repo_refs(self.repository), PAUSES_SECONDS)
        except FailedError as error:
            if error.failure.retryable:
                raise
            if DATE.fullmatch(revision):
                return
            why = "Its list of branches and tags cannot be read."
        else:
            if any(ref.name == revision for ref in (*found.branches, *found.tags)):
                return
        raise not_found(
            f"{self.endpoint} answers with the commit {commit} of {self.repository} in place of {revision}. "
            f"{why}",
            WHOLE_COMMIT,
        )

    def _call(self, call: Callable[[], T], pauses_seconds: tuple[float, ...] = ()) -> T:
        try:
            return call()
        except FailedError:
            raise
        except Exception as error:  # noqa: BLE001 - any error that a hostile answer causes becomes a failure class
            refusal = self._classified(error)
        if refusal.failure.retryable and pauses_seconds:
            time.sleep(pauses_seconds[0])
            return self._call(call, pauses_seconds[1:])
        raise refusal

    def _follow(self, page: str) -> None:
        """Raises FailedError for a listing without end. ``page``: address of the next page."""
        self._pages[page] += 1
        if self._pages[page] > SAME_PAGE_LIMIT or len(self._pages) > PAGES_LIMIT:
            raise _endless(
                f"the hub's list of {self.repository}'s files has no end: its pages name each other, or are "
                f"more than the {PAGES_LIMIT} that tacho reads."
            )

    def _classified(self, error: Exception) -> FailedError:
        return classify(
            error,
            repository=self.repository,
            revision=self.revision,
            endpoint=self.endpoint,
            token=self._secret,
        )

    def files(self) -> tuple[FileEntry, ...]:
        return tuple(FileEntry(file.path, file.size_bytes) for file in self.tree())

    def tree(self) -> tuple[ListedFile, ...]:
        """All files of the commit as the hub lists them, sorted by path."""
        return tuple(sorted(self._call(self._list, PAUSES_SECONDS), key=lambda file: file.path))

    def _list(self) -> list[ListedFile]:
        from huggingface_hub.hf_api import RepoFile

        found: list[ListedFile] = []
        self._pages.clear()
        for entry in self.api.list_repo_tree(self.repository, recursive=True, revision=self.commit):
            if not isinstance(entry, RepoFile):
                continue
            if type(entry.size) is not int or entry.size < 0 or not _sound_path(entry.path):
                raise invalid(f"{self.repository} lists a file with an impossible name or size.")
            digest = entry.lfs.sha256 if entry.lfs else entry.blob_id
            found.append(ListedFile(entry.path, entry.size, digest if is_digest(digest) else ""))
            if len(found) > FILE_LIMIT:
                raise invalid(
                    f"{self.repository} lists more than {FILE_LIMIT:,} files, the most that tacho reads.",
                    "Point spec.model.uri at a repository that holds one model.",
                )
        if clash := _clash([entry.path for entry in found]):
            raise invalid(f"{self.repository} lists {clash} twice, or as a file and as a folder.")
        return found

    def read(self, path: str, start: int, length: int) -> bytes:
        """At most ``length`` bytes from ``start``; fewer only at the file's end. Raises FailedError."""
        piece, ended = b"", length <= 0
        for _ in range(PARTS_LIMIT):
            if ended or len(piece) >= length:
                return piece
            at, left = start + len(piece), length - len(piece)
            more, ended = self._call(partial(self._read_range, path, at, left), PAUSES_SECONDS)
            piece += more
        raise unreachable(
            f"{self.endpoint} sent {len(piece)} of {length} bytes of {path} in {PARTS_LIMIT} answers."
        )

    def _read_range(self, path: str, start: int, length: int) -> tuple[bytes, bool]:
        """One answer's bytes, and whether the file ends there. A server may send less than it was asked
        for."""
        from huggingface_hub.utils._headers import build_hf_headers
        from huggingface_hub.utils._http import hf_raise_for_status, http_stream_backoff

        url = f"{self.endpoint}/{self.repository}/resolve/{self.commit}/{quote(path)}"
        headers = {
            **build_hf_headers(token=self._token, library_name="tacho"),
            "Range": f"bytes={start}-{start + length - 1}",
            "Accept-Encoding": "identity",
        }
        # What breaks within an answer is retried by the caller: the library's own retry cannot.
        with http_stream_backoff(
            "GET",
            url,
            headers=headers,
            max_retries=READ_RETRIES,
            retry_on_exceptions=(),
            extensions={FILE: True},
        ) as response:
            hf_raise_for_status(response)
            sent = response.headers.get("Content-Range", "")
            part = sent_part(path, start, response.status_code, sent)
            # A server that ignores Range sends the file from its beginning.
            skip = start if part is None else 0
            piece = bytearray()
            for chunk in response.iter_raw():
                dropped = min(skip, len(chunk))
                skip -= dropped
                piece += chunk[dropped:]
                if len(piece) >= length:
                    break
        found = bytes(memoryview(piece)[:length])
        return found, is_last(part, len(found))


def _sound_path(path: object) -> bool:
    """Whether ``path`` is relative, stays inside its folder, and has no invisible characters."""
    if not isinstance(path, str) or not 0 < len(path) <= 1024:
        return False
    if any(len(part.encode(errors="replace")) > PART_LIMIT_BYTES for part in path.split("/")):
        return False
    shown = JOINED.sub("", path)
    if "\\" in path or visible(shown, BLANKS) != shown:
        return False
    return not path.startswith("/") and not {"", ".", ".."} & set(path.split("/"))


def _clash(paths: list[str]) -> str:
    """The first path that occurs twice, or is also a folder of another path; "": none."""
    ordered = sorted(path.split("/") for path in paths)
    for before, after in pairwise(ordered):
        if after[: len(before)] == before:
            return "/".join(before)
    return ""
