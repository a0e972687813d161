"""Downloads one file into the cache, continuing where an earlier attempt stopped.

huggingface_hub continues a download only within one process. It also names files by the ETag of each answer:
a hostile hub's ETag leads out of the cache, and a mirror's may be the same for two files. So files are
written here, under the client's own lock, with the digest that the hub lists as their name. A partial file
has a fixed name, except on Xet storage, where the client begins again. A file is complete once its content
was read back from the disk and has that digest.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tacho_contract.failure import FailedError, FailureClass
from tacho_runtime.files import open_theirs
from tacho_runtime.headers.source import invalid
from tacho_runtime.hub.cache import DownloadTarget, HubCache
from tacho_runtime.hub.failures import shortened, unreachable
from tacho_runtime.hub.parts import COMPLETE_STATUS, continues
from tacho_runtime.hub.remote import FILE, REQUEST_TIMEOUT_SECONDS

LOG = logging.getLogger(__name__)

ATTEMPTS_WITHOUT_PROGRESS = 5
ATTEMPTS_AT_CONTENT = 2
MEND = (
    "Something between the hub and the pod changes files, or its storage is damaged: check the mirror or "
    "proxy in spec.model.hub, and upload the file again where the repository is yours."
)


class Downloader:
    """Downloads the files of one repository at one commit."""

    def __init__(
        self, cache: HubCache, repository: str, commit: str, *, endpoint: str, token: str | bool
    ) -> None:
        self._cache, self._repository, self._commit = cache, repository, commit
        self._endpoint, self._token = endpoint, token
        self.lost_bytes = 0
        """Bytes downloaded by an earlier attempt that had to be downloaded again."""
        self._native: dict[Path, DownloadTarget] = {}
        """Files that the hub client's native code is writing now."""

    def download(self, target: DownloadTarget, had: int) -> None:
        """Downloads the file into the snapshot and verifies its content. ``had``: bytes that are on disk
        already.

        A file with other content is downloaded once more. Raises FailedError, or the client's own exceptions.
        """
        for _ in range(ATTEMPTS_AT_CONTENT):
            self._download_size(target)
            if self._cache.is_intact(target):
                return
            LOG.warning("%s is not what the hub lists, %s; it is removed", target.path, target.etag)
            self._cache.drop(target)
            self._note_lost(had)
            had = 0
        raise invalid(
            f"{target.path} as {self._endpoint} delivers it does not have the digest that it lists for it, "
            f"{target.etag}.",
            MEND,
        )

    def _download_size(self, target: DownloadTarget) -> None:
        """Downloads the file to its full size."""
        if self._cache.whole(target):
            return
        self._cache.drop_damaged(target)
        metadata = self._metadata(target)
        if self._cache.supports_links():
            blob = self._cache.blobs / target.etag
            self._fill(target, metadata, blob)
            self._cache.link(target.path, blob)
        else:
            # A copy of the blob would take twice the space.
            with self._cache.pointer(target.path) as pointer:
                self._fill(target, metadata, pointer)

    def _metadata(self, target: DownloadTarget) -> Any:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        url = hf_hub_url(self._repository, target.path, revision=self._commit, endpoint=self._endpoint)
        metadata = get_hf_file_metadata(
            url,
            token=self._token,
            timeout=REQUEST_TIMEOUT_SECONDS,
            endpoint=self._endpoint,
            library_name="tacho",
            retry_on_errors=True,
        )
        if metadata.size not in (None, target.size_bytes):
            raise invalid(
                f"{self._endpoint} lists {target.path} with {target.size_bytes} bytes and delivers "
                f"{metadata.size}.",
                MEND,
            )
        return metadata

    def _fill(self, target: DownloadTarget, metadata: Any, destination: Path) -> None:
        """Puts the file's content at ``destination``, while it holds the hub client's lock for that file."""
        from huggingface_hub.utils._fixes import WeakFileLock

        with WeakFileLock(self._cache.locks / f"{target.etag}.lock"):
            self._cache.drop_strays(target.etag)
            if destination.exists():
                return
            if metadata.xet_file_data is not None and self._from_xet(target, metadata, destination):
                return
            partial = self._cache.partial(target.etag)
            self._fill_partial(target, metadata, partial)
            os.replace(partial, destination)

    def _from_xet(self, target: DownloadTarget, metadata: Any, destination: Path) -> bool:
        """Downloads from Xet storage with the hub client. False: it failed, and plain HTTP may work."""
        from huggingface_hub.file_download import xet_get
        from huggingface_hub.utils._runtime import is_xet_available

        if not is_xet_available():
            return False
        # Under a name of its own: not every file system honours the lock.
        fresh = self._cache.blobs / f"{target.etag}.{uuid.uuid4().hex[:8]}.incomplete"
        handle = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            self._native[fresh] = target
            xet_get(
                # By its descriptor: the native code would follow a link that others put there by now.
                incomplete_path=Path(f"/proc/self/fd/{handle}"),
                xet_file_data=metadata.xet_file_data,
                headers=self._headers(metadata.xet_file_data.refresh_route),
                expected_size=target.size_bytes,
                displayed_filename=target.path,
            )
            if os.fstat(handle).st_size != target.size_bytes:
                return False
            os.replace(fresh, destination)
            return True
        except Exception as error:  # the native client raises its own kinds
            if isinstance(error, OSError) and error.errno:
                raise
            LOG.warning(
                "Xet storage did not deliver %s (%s); trying plain HTTP", target.path, self._redacted(error)
            )
            return False
        finally:
            self._native.pop(fresh, None)
            os.close(handle)
            fresh.unlink(missing_ok=True)

    def _fill_partial(self, target: DownloadTarget, metadata: Any, partial: Path) -> None:
        """Continues ``partial`` to the full size. A cut connection is retried as long as each one delivers
        bytes. A link to storage is renewed: it may expire before a large file is there.
        """
        import httpx2
        from huggingface_hub.errors import HfHubHTTPError

        failures = restarts = 0
        while True:
            before = _present(partial)
            if before == target.size_bytes and partial.exists():
                return
            if before > target.size_bytes:
                partial.unlink()
                before = 0
            try:
                if self._stream(target, metadata.location, partial, before):
                    return
                partial.unlink()
                self._note_lost(before)
                restarts += 1
                if restarts >= ATTEMPTS_WITHOUT_PROGRESS:
                    raise unreachable(
                        f"{self._endpoint} cuts {target.path} and does not continue it: it began "
                        f"again {restarts} times."
                    )
            except (httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.TimeoutException) as error:
                failures = 0 if _present(partial) > before else failures + 1
                if failures >= ATTEMPTS_WITHOUT_PROGRESS:
                    raise
                LOG.warning("%s: %s; continuing", target.path, self._redacted(error))
                time.sleep(min(8.0, 2.0**failures))
            except HfHubHTTPError as error:
                status = error.response.status_code
                if status // 100 != 4 or _same_origin(metadata.location, self._endpoint):
                    raise
                failures += 1
                if failures >= ATTEMPTS_WITHOUT_PROGRESS:
                    raise self._refused(target, status) from None
                LOG.warning("%s: its storage answers HTTP %d; its link is renewed", target.path, status)
                time.sleep(min(8.0, 2.0**failures))
                metadata = self._metadata(target)

    def _stream(self, target: DownloadTarget, url: str, partial: Path, start: int) -> bool:
        """Continues ``partial`` at ``start``. Returns False if the server sent another range, the whole file,
        or none.

        The hub client's function is not used: it accepts any range, may restart without end, and fails above
        50 GB.
        """
        import httpx2
        from huggingface_hub import constants
        from huggingface_hub.utils._http import hf_raise_for_status, http_stream_backoff

        headers = {**self._headers(url), "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with (
            http_stream_backoff(
                "GET",
                url,
                headers=headers,
                extensions={FILE: True},
                timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
                retry_on_exceptions=(),
                retry_on_status_codes=(408, 429),
            ) as response,
            open_theirs(partial, "ab") as file,
        ):
            if start and response.status_code == 416:
                return False
            hf_raise_for_status(response)
            if start:
                sent = response.headers.get("Content-Range", "")
                if not continues(target.path, start, response.status_code, sent):
                    return False
            elif response.status_code not in COMPLETE_STATUS:
                raise ValueError(f"HTTP {response.status_code} to a request for {target.path}")
            for piece in response.iter_raw():
                start += len(piece)
                if start > target.size_bytes:
                    raise self._too_long(target)
                file.write(piece)
                if os.fstat(file.fileno()).st_size > start:
                    raise _written_by_others(partial)
        if start < target.size_bytes:
            raise httpx2.RemoteProtocolError(f"the answer ended at byte {start} of {target.size_bytes}")
        return True

    def _refused(self, target: DownloadTarget, status: int) -> FailedError:
        return unreachable(
            f"The storage of {target.path}, to which {self._endpoint} leads, answers HTTP {status}."
        )

    def _too_long(self, target: DownloadTarget) -> FailedError:
        return invalid(
            f"{self._endpoint} lists {target.path} with {target.size_bytes} bytes and delivers more.", MEND
        )

    def check_bounds(self) -> None:
        """Raises FailedError where the hub client's native code has written more bytes than the file has."""
        for path, target in list(self._native.items()):
            if _present(path) > target.size_bytes:
                path.unlink(missing_ok=True)
                raise self._too_long(target)

    def _headers(self, url: str) -> dict[str, str]:
        """Headers of a request to ``url``. Only the hub itself gets its token; signed links need none."""
        from huggingface_hub.utils._headers import build_hf_headers

        token = self._token if _same_origin(url, self._endpoint) else False
        headers: dict[str, str] = build_hf_headers(token=token, library_name="tacho")
        return headers

    def _redacted(self, error: BaseException) -> str:
        """The beginning of an error's text, for the log: more people may read that than the Secret."""
        return shortened(error, self._token if isinstance(self._token, str) else "")

    def _note_lost(self, size_bytes: int) -> None:
        self.lost_bytes += max(0, size_bytes)


def _written_by_others(partial: Path) -> FailedError:
    return FailedError.of(
        FailureClass.INVALID_CONFIG,
        f"Another pod writes {partial.name}, too: the file system of the cache's claim honours no locks.",
        "Mount it with locks (NFS: without nolock), or give each pod a claim of its own in spec.cache.",
    )


def _present(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # as well where it is renamed meanwhile
        return 0


def _same_origin(url: str, endpoint: str) -> bool:
    one, other = urlsplit(url), urlsplit(endpoint)
    return (one.scheme, one.netloc.lower()) == (other.scheme, other.netloc.lower())
