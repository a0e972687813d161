"""The fetch sidecar: downloads the planned files of the planned commit, reports progress, then sleeps.

``python -m tacho_runtime.hub.fetch`` reads FetchConfig from TACHO_FETCH_CONFIG. On failure it exits with 1
and writes a Failure as JSON to the termination log; the kubelet restarts it. If the file ``complete`` exists
at its start, it uses no network.
"""

from __future__ import annotations

import os
import signal

if __name__ == "__main__":
    # PID 1 ignores a signal without a handler, it is sent once, and the imports below take a second. What is
    # on disk is continued next time.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))

import json
import shutil
import sys
import time
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tacho_contract import codec
from tacho_contract.failure import FailedError, Failure, termination_message
from tacho_contract.fetch import COMPLETE_FILE, ENV_FETCH_CONFIG, PROGRESS_FILE, FetchConfig, FetchProgress
from tacho_contract.pod import FETCH_DIR
from tacho_contract.units import file_size
from tacho_runtime.files import configuration, replace_file, write_termination
from tacho_runtime.headers.digests import files_digest
from tacho_runtime.headers.source import FileEntry, changed, invalid
from tacho_runtime.hub import container
from tacho_runtime.hub.cache import DownloadTarget, HubCache
from tacho_runtime.hub.failures import FULL, classify, disk_full, unreachable
from tacho_runtime.hub.select import matches

if TYPE_CHECKING:
    from tacho_runtime.hub.remote import HubSource

INTERVAL_SECONDS = 0.5
"""Seconds between two writes of the progress."""
PARALLEL_FILES = 4
STALL_SECONDS = 300.0
LISTING_SECONDS = 120.0
SPARE_BYTES = 32 * 1024 * 1024
"""Bytes of disk that are left free, for links, locks and overhead of the file system."""

ENDING = {signal.SIGTERM, signal.SIGINT}
SLEEPER = f"import _signal; _signal.sigwait({{{int(signal.SIGTERM)}, {int(signal.SIGINT)}}})"


class StallDetector:
    """Detects a download without progress. The time is passed in, not read from a clock."""

    def __init__(self, limit_seconds: float, now_seconds: float) -> None:
        self._limit, self._since = limit_seconds, now_seconds
        self._last: FetchProgress | None = None

    def stalled(self, progress: FetchProgress, now_seconds: float) -> bool:
        """Whether ``progress`` has not changed for longer than the limit; its elapsed time is ignored."""
        seen = replace(progress, elapsed_seconds=0.0)
        if seen != self._last:
            self._last, self._since = seen, now_seconds
        return now_seconds - self._since > self._limit


class ModelFetch:
    """The download of one model. ``run`` returns the folder with its files."""

    def __init__(self, config: FetchConfig, token: str) -> None:
        self._config, self._token = config, token
        hub = (config.endpoint or os.environ.get("HF_ENDPOINT", "")).rstrip("/")
        self._cache = HubCache(config.cache_dir, config.repository, config.files.commit, hub)
        self._began = time.monotonic()
        self.progress = FetchProgress(state="Listing", bytes_total=config.files.total_bytes)

    def report(self, **changes: Any) -> None:
        """Updates the progress, and writes it to the state folder."""
        elapsed = round(time.monotonic() - self._began, 1)
        self.progress = replace(self.progress, elapsed_seconds=elapsed, **changes)
        self.write(PROGRESS_FILE, codec.dumps(self.progress))

    def write(self, name: str, text: str) -> None:
        """Writes a file of the state folder. Raises FailedError where that is full, else OSError."""
        folder = Path(self._config.state_dir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(folder / name, text)
        except OSError as error:
            if error.errno not in FULL:
                raise
            what = f"No space is left in {folder}, where the progress is written."
            raise disk_full(what, "Free space on the node.") from None

    def run(self) -> str:
        """Downloads all files and returns their folder. Raises FailedError, or the client's own
        exceptions."""
        try:
            return self._run_fetch()
        except OSError as error:
            self._cache.check_confined()  # where others put a link meanwhile, that is the cause
            if error.filename:  # while its descriptors still lead there
                error.filename = os.path.realpath(error.filename)
            raise
        finally:
            self._cache.release()

    def _run_fetch(self) -> str:
        self.report()
        self._cache.check_confined()
        try:
            if not self._whole_on_disk():
                self._download_missing()
        finally:
            self._cache.verified.store()
        if files_digest(self._present()) != self._config.files.files_digest:
            raise invalid(
                f"After the download, {self._config.repository} on disk is not what was planned.",
                "Empty the cache and let it be downloaded again.",
            )
        self.report(
            state="Complete",
            bytes_done=self._config.files.total_bytes,
            path=str(self._cache.path),
        )
        return str(self._cache.path)

    def _whole_on_disk(self) -> bool:
        """Whether all planned files are in the cache and verified. Then no hub is contacted."""
        present = self._present()
        if files_digest(present) != self._config.files.files_digest:
            return False
        total = self._config.files.total_bytes
        self.report(state="Verifying", bytes_done=total, resumed_bytes=total)
        with ThreadPoolExecutor(PARALLEL_FILES) as pool:
            futures = [pool.submit(self._cache.is_intact_by_name, file.path) for file in present]
            left: set[Future[bool]] = set(futures)
            while left:
                left = wait(left, timeout=INTERVAL_SECONDS).not_done
                self.report(verified_bytes=self._cache.hashed_bytes)
        return all(future.result() for future in futures)

    def _present(self) -> list[FileEntry]:
        """The planned files that are on disk."""
        return [file for file in self._cache.entries() if matches(file.path, self._config.files.globs)]

    def _download_missing(self) -> None:
        from tacho_runtime.hub.remote import HubSource

        config = self._config
        overdue = unreachable(f"The hub did not list the files within {LISTING_SECONDS:.0f} s.")
        container.limit_time(LISTING_SECONDS, overdue)
        try:
            source = HubSource(
                config.repository, config.files.commit, endpoint=config.endpoint, token=self._token
            )
            targets = self._planned(source)
        finally:
            container.end_limit()
        self._cache.hold()
        present = self._cache.present(targets)
        self._check_space(targets, present)
        self.report(
            state="Downloading", resumed_bytes=sum(present.values()), bytes_done=sum(present.values())
        )
        self._download(targets, present, source)

    def _planned(self, source: HubSource) -> tuple[DownloadTarget, ...]:
        """The planned files as the hub lists them now. Raises FailedError when the hub lists other files."""
        chosen = [file for file in source.tree() if matches(file.path, self._config.files.globs)]
        listed = tuple(FileEntry(file.path, file.size_bytes) for file in chosen)
        if files_digest(listed) != self._config.files.files_digest:
            total = sum(entry.size_bytes for entry in listed)
            raise changed(
                f"The repository changed: {self._config.repository} at {self._config.files.commit} now lists "
                f"{len(listed)} files with {total} bytes for the planned patterns, planned were "
                f"{self._config.files.file_count} with {self._config.files.total_bytes}.",
            )
        targets = tuple(DownloadTarget(file.path, file.size_bytes, file.digest) for file in chosen)
        for target in targets:
            # A digest becomes a file name as well: a hostile one would leave the cache.
            if not target.etag:
                raise invalid(
                    f"{source.endpoint} lists {target.path} without a digest: the files that it "
                    "delivers cannot be verified.",
                    "Name a hub or mirror in spec.model.hub.endpoint that lists digests, as huggingface.co "
                    "does.",
                )
        return targets

    def _check_space(self, targets: tuple[DownloadTarget, ...], present: dict[str, int]) -> None:
        missing = sum(target.size_bytes - present[target.path] for target in targets)
        free = shutil.disk_usage(self._config.cache_dir).free
        if missing and missing + SPARE_BYTES > free:
            raise disk_full(
                f"{self._config.cache_dir} has {file_size(free)} free, and {file_size(missing)} are missing "
                f"of {self._config.repository}."
            )

    def _download(
        self, targets: tuple[DownloadTarget, ...], present: dict[str, int], source: HubSource
    ) -> None:
        from tacho_runtime.hub.download import Downloader

        downloader = Downloader(
            self._cache,
            self._config.repository,
            self._config.files.commit,
            endpoint=source.endpoint,
            token=self._token or False,
        )
        resumed = self.progress.resumed_bytes
        stall = StallDetector(STALL_SECONDS, time.monotonic())
        # Not in a with statement, which waits for threads: a hub may put one off for years.
        pool = ThreadPoolExecutor(PARALLEL_FILES)
        futures: set[Future[None]] = {
            pool.submit(downloader.download, target, present[target.path]) for target in targets
        }
        try:
            while futures:
                done, futures = wait(futures, timeout=INTERVAL_SECONDS, return_when=FIRST_EXCEPTION)
                self._report_progress(targets, resumed - downloader.lost_bytes)
                downloader.check_bounds()
                for future in done:
                    future.result()
                if stall.stalled(self.progress, time.monotonic()):
                    raise unreachable(
                        f"Nothing of {self._config.repository} arrived for {STALL_SECONDS:.0f} s (or a "
                        f"pod that is gone left a lock below {self._cache.root}/.locks)."
                    )
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _report_progress(self, targets: tuple[DownloadTarget, ...], resumed_bytes: int) -> None:
        self.report(
            bytes_done=sum(self._cache.present(targets).values()),
            verified_bytes=self._cache.hashed_bytes,
            resumed_bytes=max(0, resumed_bytes),
        )


def fetch(config: FetchConfig, token: str) -> str | Failure:
    """Downloads the planned files. Returns their folder or the failure; writes the progress in both cases."""
    work = ModelFetch(config, token)
    try:
        path = work.run()
        work.write(COMPLETE_FILE, json.dumps({"path": path}))
        return path
    except FailedError as refusal:
        failure = refusal.failure
    except Exception as error:  # noqa: BLE001 - what the client raises becomes a class
        failure = classify(
            error,
            repository=config.repository,
            revision=config.files.commit,
            endpoint=config.endpoint or "the hub",
            token=token,
        ).failure
    try:
        work.report(state="Failed", failure=failure)
    except (OSError, FailedError) as error:
        # A full disk must not hide what it made fail.
        sys.stderr.write(f"progress was not written: {error}\n")
    return failure


def _state_dir(text: str) -> str:
    """Folder of the file ``complete``, read also from a configuration of another version."""
    try:
        given = json.loads(text).get("stateDir")
    except (ValueError, AttributeError):
        given = None
    return given if isinstance(given, str) and given else FETCH_DIR


def _fail(failure: Failure) -> int:
    container.print_failure(failure)
    write_termination(container.termination_log(), termination_message(failure))
    return 1


def become_sleeper() -> NoReturn:
    """Replaces this process by one that sleeps until SIGTERM. Its environment is empty, so it has no hub
    token.

    PID 1 would ignore SIGTERM, and the pod would end only after its grace period. So the signal is blocked
    until the new process can receive it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", SLEEPER], {})  # noqa: S606 - no shell is wanted


def main() -> int:
    """Downloads the model. Returns 1 on failure; else the process sleeps, and ends with 0 on SIGTERM."""
    text = os.environ.get(ENV_FETCH_CONFIG, "")
    if Path(_state_dir(text), COMPLETE_FILE).exists():
        become_sleeper()
    container.log_visibly()
    os.umask(0o022)  # the engine runs as any user id
    try:
        config = configuration(FetchConfig, text, ENV_FETCH_CONFIG)
        token = container.hub_token(config.endpoint)
    except FailedError as refusal:
        return _fail(refusal.failure)
    os.environ.setdefault("HF_HOME", f"{config.state_dir}/client")
    result = fetch(config, token)
    if isinstance(result, Failure):
        return _fail(result)
    sys.stdout.write(f"{config.repository}@{config.files.commit} is complete in {result}\n")
    become_sleeper()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Downloads that are still under way in other threads must not hold the container.
    os._exit(code)
