"""A small server that speaks the part of the Hugging Face Hub's protocol that listing and downloading need.

Serves the repositories ``ROOT/organisation/name/…``; a repository's commit follows from its files. Misbehaves
on demand (cut connections, slow or failing answers, redirects), counts requests, and gates repositories by
token.

    python -m tools.mock.hub --root DIR [--port N] [--token T] [--mode private|gated]
        [--cut-after BYTES [--cuts N]] [--rate BYTES_PER_S] [--fail CODE …]

``GET /_stats`` tells what was asked; ``POST /_faults`` (JSON, the fields of Faults in camelCase) changes how
it misbehaves while it runs. The protocol is held against the real client in tests/unit/hub/test_fake_hub.py.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MIRROR = "/artifactory/api/huggingfaceml/hub"
"""Path of a second endpoint, as Artifactory's are."""
LARGE_BYTES = 1024 * 1024
"""Larger files are what the hub keeps as LFS objects: their ETag is a sha256."""
HASHED_WHOLE_BYTES = 1024 * 1024 * 1024
"""Beyond this a file's beginning and size stand in for its content: tests serve sparse files of many GB."""
PIECE_BYTES = 64 * 1024
LOG_LIMIT = 2000


@dataclass
class Faults:
    """How the hub misbehaves. All off."""

    cut_after: int = 0
    """Bytes of a file after which the connection is cut."""
    cuts: int = 0
    """Number of further downloads that are cut; -1: all downloads."""
    rate: int = 0
    """Bytes a second of one download."""
    fail: list[int] = field(default_factory=list)
    """HTTP codes that the next requests get, in order."""
    fail_always: int = 0
    redirect_to: str = ""
    """Where requests for files are sent: a base URL (the path follows), or a whole URL of another scheme."""
    link_uses: int = 0
    """Requests to storage after which a link to it has expired; 0: links stay valid, -1: none is valid."""
    stall_seconds: float = 0.0
    """How long an answer takes to begin."""
    garbage: bool = False
    """API answers are JSON of the wrong shape."""
    flood_bytes: int = 0
    """Length of every answer that is no file, as blanks."""
    flood_path: str = "/api/"
    """What paths of these answers begin with."""
    flood_status: int = 200
    flood_packed: bool = False
    """Whether they are compressed."""
    no_ranges: bool = False
    """Requests for a part of a file get all of it."""
    file_status: int = 0
    """HTTP status of files and their parts; 0: the usual one."""
    shift: int = 0
    """Bytes by which a part of a file begins later than requested."""
    part_bytes: int = 0
    """Most bytes of a part of a file that one answer has, whatever is requested; 0: no limit."""
    content_range: str = "bytes {start}-{end}/{size}"
    """Form of the Content-Range of a part; "": there is none."""
    next_page: str = ""
    """Address at which every listing is said to go on."""
    corrupt: int = 0
    """Number of further files that have the right length and one wrong byte at their first download; -1: all
    files, at every download."""
    truncate: int = 0
    """Bytes that are missing at the end of every file, though the listing has its full size."""
    surplus: int = 0
    """Bytes that follow every file's end, in an answer that does not tell its length."""
    etag: str = ""
    """What every file's ETag is instead of its digest, as with a mirror that has its own."""
    xet: bool = False
    """Whether files claim to be on Xet storage, which then refuses access to every client."""


@dataclass
class Stored:
    path: str
    file: Path
    size: int
    etag: str
    large: bool


class FakeHub:
    """Repositories under ``root`` behind an aiohttp application."""

    def __init__(
        self, root: Path, *, token: str = "", mode: str = "private", faults: Faults | None = None
    ) -> None:
        self.root, self.mode, self.faults = root, mode, faults or Faults()
        self.tokens: dict[str, str] = {"*": token} if token else {}
        self.branches, self.tags = ["main"], list[str]()
        self.log: list[dict[str, Any]] = []
        self.bytes_sent: Counter[str] = Counter()
        self.sending = 0
        """Answers on their way: who is killed is noticed by the next piece."""
        self._corrupted: set[str] = set()
        self._etags: dict[tuple[str, int, int], str] = {}
        self._commits: dict[str, dict[str, list[Stored]]] = {}
        self._link_uses: Counter[str] = Counter()

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._misbehave])
        repository = r"{repository:[^/]+/[^/]+}"
        app.router.add_get("/_stats", self._stats)
        app.router.add_post("/_faults", self._set_faults)
        for root in ("", MIRROR):
            app.router.add_get(rf"{root}/api/models/{repository}", self._info)
            app.router.add_get(rf"{root}/api/models/{repository}/revision/{{revision}}", self._info)
            app.router.add_get(rf"{root}/api/models/{repository}/refs", self._refs)
            app.router.add_get(rf"{root}/api/models/{repository}/tree/{{revision}}", self._tree)
            files = rf"{root}/{repository}/resolve/{{revision}}/{{path:.+}}"
            app.router.add_get(files, self._file)  # HEAD as well
        app.router.add_get(rf"/_elsewhere/{repository}/resolve/{{revision}}/{{path:.+}}", self._elsewhere)
        return app

    # --- what is served ---
    def _listing(self, repository: str) -> tuple[str, list[Stored]] | None:
        """The current commit and its files; remembered, so that an older commit stays what it was."""
        folder = self.root / repository
        if ".." in repository or not folder.is_dir():
            return None
        files = [self._stored(file, folder) for file in sorted(folder.rglob("*")) if file.is_file()]
        text = repository + "".join(f"{f.path} {f.size} {f.etag}\n" for f in files)
        commit = hashlib.sha1(text.encode()).hexdigest()
        self._commits.setdefault(repository, {}).setdefault(commit, files)
        return commit, files

    def _stored(self, file: Path, folder: Path) -> Stored:
        status = file.stat()
        key = (str(file), status.st_size, status.st_mtime_ns)
        if key not in self._etags:
            self._etags[key] = self._etag(file, status.st_size)
        large = status.st_size > LARGE_BYTES or file.suffix in (".gguf", ".safetensors", ".bin")
        return Stored(file.relative_to(folder).as_posix(), file, status.st_size, self._etags[key], large)

    def _etag(self, file: Path, size: int) -> str:
        if size > LARGE_BYTES or file.suffix in (".gguf", ".safetensors", ".bin"):
            digest = hashlib.sha256()
            with file.open("rb") as handle:
                if size > HASHED_WHOLE_BYTES:
                    digest.update(f"{size}".encode() + handle.read(LARGE_BYTES))
                else:
                    while piece := handle.read(LARGE_BYTES):
                        digest.update(piece)
            return digest.hexdigest()
        return hashlib.sha1(f"blob {size}\0".encode() + file.read_bytes()).hexdigest()

    def _commit(self, repository: str, revision: str) -> tuple[str, list[Stored]]:
        current = self._listing(repository)
        if current is None:
            raise _error(404, "RepoNotFound", "Repository not found")
        known = self._commits[repository]
        commit = next((one for one in known if one.startswith(revision)), revision)
        commit = current[0] if revision in (*self.branches, *self.tags, "HEAD") else commit
        if commit not in known:
            raise _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit, known[commit]

    # --- who may ask ---
    def _authorize(self, request: web.Request, *, file: bool) -> None:
        repository = request.match_info["repository"]
        wanted = self.tokens.get(repository) or self.tokens.get("*")
        if not wanted or (self.mode == "gated" and not file):
            return
        given = request.headers.get("Authorization", "")
        if given == f"Bearer {wanted}":
            return
        if self.mode == "gated":
            raise _error(403 if given else 401, "GatedRepo", "Access to model is restricted")
        raise _error(404 if given else 401, "RepoNotFound", "Repository not found")

    # --- handlers ---
    @web.middleware
    async def _misbehave(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/_") and not request.path.startswith("/_elsewhere"):
            return await handler(request)
        entry = {
            "method": request.method,
            "path": request.path,
            "range": request.headers.get("Range", ""),
            "authorized": "Authorization" in request.headers,
            "host": request.host,
            "status": 0,
        }
        self.log = [*self.log[-LOG_LIMIT:], entry]
        faults = self.faults
        if faults.stall_seconds:
            await asyncio.sleep(faults.stall_seconds)
        if code := (faults.fail.pop(0) if faults.fail else faults.fail_always):
            entry["status"] = code
            return web.json_response({"error": "made to fail"}, status=code, headers={"Retry-After": "0"})
        if faults.garbage and request.path.startswith("/api/"):
            return web.json_response([{"sha": 17, "type": "file"}, None])
        if faults.flood_bytes and (request.path.startswith(faults.flood_path) or faults.flood_status != 200):
            flood = web.Response(body=b" " * faults.flood_bytes, status=faults.flood_status)
            if faults.flood_packed:
                flood.enable_compression(web.ContentCoding.gzip)
            return flood
        try:
            response = await handler(request)
        except web.HTTPException as error:
            entry["status"] = error.status
            raise
        entry["status"] = response.status
        return response

    async def _stats(self, _request: web.Request) -> web.Response:
        counts = Counter(f"{entry['method']} {entry['path']}" for entry in self.log)
        authorized = Counter(f"{e['method']} {e['path']}" for e in self.log if e["authorized"])
        return web.json_response(
            {"requests": counts, "authorized": authorized, "bytesSent": self.bytes_sent, "log": self.log}
        )

    async def _set_faults(self, request: web.Request) -> web.Response:
        for key, value in (await request.json()).items():
            name = re.sub(r"([A-Z])", r"_\1", key).lower()
            if name == "tokens":
                self.tokens = dict(value)
            elif name == "mode":
                self.mode = str(value)
            elif name in Faults.__dataclass_fields__:
                setattr(self.faults, name, value)
            else:
                raise web.HTTPBadRequest(text=f"no such fault: {key}")
        return web.json_response({"ok": True})

    async def _info(self, request: web.Request) -> web.Response:
        self._authorize(request, file=False)
        repository = request.match_info["repository"]
        commit, files = self._commit(repository, request.match_info.get("revision", "main"))
        return web.json_response(
            {
                "_id": "0" * 24,
                "id": repository,
                "modelId": repository,
                "sha": commit,
                "private": False,
                "gated": "manual" if self.mode == "gated" and self.tokens else False,
                "disabled": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "siblings": [{"rfilename": file.path} for file in files],
            }
        )

    async def _refs(self, request: web.Request) -> web.Response:
        self._authorize(request, file=False)
        branches, tags = (
            [{"name": name, "ref": name, "targetCommit": "0" * 40} for name in names]
            for names in (self.branches, self.tags)
        )
        return web.json_response({"branches": branches, "converts": [], "tags": tags})

    async def _tree(self, request: web.Request) -> web.Response:
        self._authorize(request, file=False)
        _, files = self._commit(request.match_info["repository"], request.match_info["revision"])
        entries: list[dict[str, Any]] = []
        folders = sorted({parent.as_posix() for f in files for parent in Path(f.path).parents} - {"."})
        entries += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in folders]
        for file in files:
            entry: dict[str, Any] = {"type": "file", "oid": file.etag[:40], "size": file.size}
            entry["path"] = file.path
            if file.large:
                entry["lfs"] = {"oid": file.etag, "size": file.size, "pointerSize": 134}
            entries.append(entry)
        after = self.faults.next_page
        return web.json_response(entries, headers={"Link": f'<{after}>; rel="next"'} if after else None)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        self._authorize(request, file=True)
        commit, files = self._commit(request.match_info["repository"], request.match_info["revision"])
        file = next((f for f in files if f.path == request.match_info["path"]), None)
        if file is None:
            raise _error(404, "EntryNotFound", "Entry not found")
        etag = self.faults.etag or file.etag
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        file = replace(file, size=file.size - self.faults.truncate)
        if self.faults.xet and file.large:
            route = f"{request.scheme}://{request.host}/api/models/{request.match_info['repository']}/xet-read-token"
            headers |= {"X-Xet-Hash": file.etag, "Link": f'<{route}/{commit}>; rel="xet-auth"'}
        if self.faults.redirect_to:
            target = self.faults.redirect_to
            if target.startswith("http"):
                target = f"{target}/_elsewhere{request.path}?signature={len(self.log)}"
            linked = {"X-Linked-Size": str(file.size), "X-Linked-ETag": f'"{file.etag}"', "Location": target}
            return web.Response(status=302, headers=headers | linked)
        return await self._send(request, file, headers)

    async def _elsewhere(self, request: web.Request) -> web.StreamResponse:
        """Serves the target of a redirect: requires no token, like a signed link, and may expire like one."""
        link = request.path_qs
        self._link_uses[link] += 1
        if self.faults.link_uses and self._link_uses[link] > self.faults.link_uses:
            return web.Response(status=403, text="<Error><Code>AccessDenied</Code></Error>")
        _, files = self._commit(request.match_info["repository"], request.match_info["revision"])
        file = next(f for f in files if f.path == request.match_info["path"])
        return await self._send(request, file, {"ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"})

    async def _send(self, request: web.Request, file: Stored, headers: dict[str, str]) -> web.StreamResponse:
        start, end, status = 0, file.size - 1, 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if wanted and not self.faults.no_ranges:
            start, end, status = int(wanted[1]) + self.faults.shift, min(int(wanted[2] or end), end), 206
            if start >= file.size:
                raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{file.size}"})
            end = min(end, start + (self.faults.part_bytes or file.size) - 1)
            sent = self.faults.content_range.format(start=start, end=end, size=file.size)
            headers = headers | ({"Content-Range": sent} if sent else {})
        response = web.StreamResponse(status=self.faults.file_status or status, headers=headers)
        if self.faults.surplus and request.method != "HEAD":
            response.enable_chunked_encoding()
        else:
            response.content_length = end - start + 1
        await response.prepare(request)
        if request.method != "HEAD":
            self.sending += 1
            try:
                await self._stream(request, response, file, start, end + 1)
                if self.faults.surplus:
                    await response.write(bytes(self.faults.surplus))
            finally:
                self.sending -= 1
        return response

    async def _stream(
        self, request: web.Request, response: web.StreamResponse, file: Stored, start: int, end: int
    ) -> None:
        cut_at = start + self.faults.cut_after if self.faults.cut_after and self.faults.cuts else 0
        corrupt = self.faults.corrupt < 0
        if self.faults.corrupt > 0 and request.path not in self._corrupted:
            corrupt = True
            self._corrupted.add(request.path)
            self.faults.corrupt -= 1
        with file.file.open("rb") as handle:
            handle.seek(start)
            while start < end:
                piece = handle.read(min(PIECE_BYTES, end - start))
                if corrupt:
                    piece, corrupt = bytes([piece[0] ^ 0xFF]) + piece[1:], False
                await response.write(piece)
                start += len(piece)
                self.bytes_sent[request.path] += len(piece)
                if self.faults.rate:
                    await asyncio.sleep(len(piece) / self.faults.rate)
                if cut_at and start >= cut_at and start < end:
                    self.faults.cuts -= 1 if self.faults.cuts > 0 else 0
                    assert request.transport is not None
                    request.transport.close()
                    return


def _error(status: int, code: str, message: str) -> web.HTTPException:
    """The hub's way of saying no: a code in a header beside the status."""
    classes = {401: web.HTTPUnauthorized, 403: web.HTTPForbidden, 404: web.HTTPNotFound}
    headers = {"X-Error-Code": code, "X-Error-Message": message}
    return classes[status](
        text=json.dumps({"error": message}), content_type="application/json", headers=headers
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--token", default="", help="wanted for every repository")
    parser.add_argument("--mode", choices=["private", "gated"], default="private")
    parser.add_argument("--cut-after", type=int, default=0)
    parser.add_argument("--cuts", type=int, default=1)
    parser.add_argument("--rate", type=int, default=0)
    parser.add_argument("--fail", type=int, nargs="*", default=[])
    given = parser.parse_args()
    faults = Faults(cut_after=given.cut_after, cuts=given.cuts, rate=given.rate, fail=list(given.fail))
    hub = FakeHub(given.root, token=given.token, mode=given.mode, faults=faults)
    web.run_app(hub.application(), host=given.host, port=given.port, print=None)


if __name__ == "__main__":
    main()
