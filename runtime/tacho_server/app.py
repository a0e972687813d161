"""The HTTP endpoints: OpenAI's, health, version and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from tacho_server.backend import Backend
from tacho_server.bodies import ENDING, BodyLimit
from tacho_server.connections import CONNECTION
from tacho_server.errors import RequestError, bad
from tacho_server.fair_queue import FairQueue
from tacho_server.metrics import ServerMetrics
from tacho_server.options import ServerSettings
from tacho_server.schema import ChatRequest, CompletionRequest
from tacho_server.service import Service

T = TypeVar("T")
OPEN_PATHS = ("/health",)
"""Paths that need no API key."""
BEARER = "bearer "
"""Beginning of a header with a key, in any case (RFC 9110, 11.1)."""
SENT_BYTES = 64 * 1024
"""Bytes of an answer that are sent before the client must have read those before them."""


@dataclass(slots=True)
class ServerState:
    """Whether the model is loaded: set by the loading thread, read by the server."""

    loaded: bool = False


def make_app(backend: Backend, settings: ServerSettings, state: ServerState) -> FastAPI:
    """The application; it answers 503 until ``state.loaded``."""
    app = FastAPI(openapi_url=None)
    metrics = ServerMetrics(backend)
    _add_error_handlers(app)
    # Added before the guard, it is called after it.
    app.add_middleware(
        BodyLimit, max_model_len=lambda: backend.abilities.max_model_len if state.loaded else 0
    )
    _add_key_check(app, settings.api_key)
    app.add_middleware(FairQueue)
    app.add_middleware(_Unfinished, metrics=metrics)
    service = Service(backend, settings, metrics)
    _add_status_routes(app, service, settings, state, metrics)
    _add_openai_routes(app, service, state)
    return app


class _Unfinished:
    """An ASGI application before ``app`` that counts requests for answers in each of their phases.

    A body may arrive for a minute, and an answer be read for minutes after it was computed. A server with
    such requests was taken for idle, and ended with them in it.
    """

    def __init__(self, app: ASGIApp, metrics: ServerMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_counted = scope["type"] == "http" and scope["method"] == "POST"
        with self._metrics.unfinished.track_inprogress() if is_counted else contextlib.nullcontext():
            await self._app(scope, receive, send)


def _require_loaded(state: ServerState) -> None:
    if not state.loaded:
        raise RequestError(503, "The model is being loaded.")


def _add_status_routes(
    app: FastAPI, service: Service, settings: ServerSettings, state: ServerState, metrics: ServerMetrics
) -> None:
    """Adds the routes for the server and its model: health, version, metrics, models."""
    backend = service.backend

    @app.get("/health")
    async def health() -> dict[str, Any]:
        _require_loaded(state)
        if problem := service.problem():
            raise RequestError(503, f"The engine has failed: {problem}")
        why = backend.tokenizer.chat_problem
        return {"status": "ok", "chat": not why, **({"chatProblem": why} if why else {})}

    @app.get("/version")
    async def version() -> dict[str, str]:
        return {"engine": backend.name, "version": backend.version}

    @app.get("/metrics")
    async def figures() -> Response:
        _require_loaded(state)
        return Response(metrics.page(time.monotonic()), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        _require_loaded(state)
        return {"object": "list", "data": [_model(backend, settings)]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        _require_loaded(state)
        if name != settings.served_name:
            raise RequestError(404, f"The model {name!r} is not served here.", code="model_not_found")
        return _model(backend, settings)


def _add_openai_routes(app: FastAPI, service: Service, state: ServerState) -> None:
    """Adds the OpenAI routes that generate text."""

    async def answer(body: CompletionRequest | ChatRequest, request: Request) -> Response:
        _require_loaded(state)
        with contextlib.ExitStack() as places:
            client = request.client.host if request.client else ""
            connection = getattr(request.state, CONNECTION, None)
            places.enter_context(service.admitted(body, client, connection))
            size_bytes = len(await request.body())
            job = await _unless_disconnected(service.job(body, size_bytes), request)
            places.enter_context(service.holding(job))
            if not body.stream:
                whole = await _unless_disconnected(service.whole(job), request)
                return _sent_in_pieces(whole, places.pop_all())
            return _Kept(service.events(job), places.pop_all(), "text/event-stream")

    @app.post("/v1/completions")
    async def completions(body: CompletionRequest, request: Request) -> Response:
        return await answer(body, request)

    @app.post("/v1/chat/completions")
    async def chat(body: ChatRequest, request: Request) -> Response:
        return await answer(body, request)


class _Kept(StreamingResponse):
    """A response that keeps the request's ``places`` until it ends, even if the client never reads."""

    def __init__(
        self, pieces: AsyncGenerator[bytes, None], places: contextlib.ExitStack, media_type: str
    ) -> None:
        super().__init__(pieces, media_type=media_type)
        self._pieces, self._places = pieces, places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._places:
            async with contextlib.aclosing(self._pieces):
                await super().__call__(scope, receive, send)


def _sent_in_pieces(body: bytes, places: contextlib.ExitStack) -> Response:
    """An answer in one piece. Sent at once, it would lie in the connection's buffer, uncounted."""

    async def pieces() -> AsyncGenerator[bytes, None]:
        for begin in range(0, len(body), SENT_BYTES):
            yield body[begin : begin + SENT_BYTES]

    kept = _Kept(pieces(), places, "application/json")
    kept.headers["content-length"] = str(len(body))
    return kept


def _model(backend: Backend, settings: ServerSettings) -> dict[str, Any]:
    return {
        "id": settings.served_name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": backend.name,
        "max_model_len": backend.abilities.max_model_len,
        "vocabulary": backend.abilities.vocabulary,
    }


async def _unless_disconnected(work: Coroutine[Any, Any, T], request: Request) -> T:
    """The result of ``work``, which is cancelled when the client hangs up. Raises RequestError(499) then."""
    task = asyncio.ensure_future(work)
    disconnected = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise RequestError(499, "The client closed the connection.")
        return task.result()
    finally:
        task.cancel()
        disconnected.cancel()
        await asyncio.gather(task, disconnected, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _add_error_handlers(app: FastAPI) -> None:
    """Adds handlers by which every error has the OpenAI API's format."""

    def answer(error: RequestError) -> JSONResponse:
        headers = {"Retry-After": "1"} if error.status == 429 else None
        if error.status in ENDING:
            headers = {"Connection": "close"}
        return JSONResponse(error.body(), status_code=error.status, headers=headers)

    @app.exception_handler(RequestError)
    async def own(_request: Request, error: RequestError) -> JSONResponse:
        return answer(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:] if isinstance(part, str)) or None
        # A field's name may have half of a surrogate pair, which the answer cannot repeat.
        where = where and where.encode(errors="backslashreplace").decode()
        return answer(bad(f"{where or 'the body'}: {first['msg']}", where))

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> JSONResponse:
        return answer(RequestError(error.status_code, str(error.detail)))


def _add_key_check(app: FastAPI, key: str) -> None:
    """Adds a check of the API key on every path but OPEN_PATHS."""
    if not key:
        return

    @app.middleware("http")
    async def check(request: Request, call_next: Any) -> Response:
        header = request.headers.get("authorization", "")
        given = header[len(BEARER) :] if header.lower().startswith(BEARER) else header
        # Headers are bytes, which were read as Latin-1; the client sent the key as UTF-8.
        if request.scope["path"] in OPEN_PATHS or hmac.compare_digest(given.encode("latin-1"), key.encode()):
            response: Response = await call_next(request)
            return response
        return JSONResponse(RequestError(401, "The API key is missing or wrong.").body(), status_code=401)
