"""Errors of the server: why a start fails, for the runtime, and why a request fails, in the OpenAI API's
format."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

FAILURE_VARIABLE = "TACHO_ENGINE_FAILURE"
"""Environment variable with the path of the file in which the runtime expects a launcher's failure."""


class LoadError(Exception):
    """The model cannot be served: the failure class, what happened, what to do."""

    def __init__(self, failure_class: str, message: str, next_step: str) -> None:
        super().__init__(f"[{failure_class}]: {message}: {next_step}")
        self.failure_class, self.message, self.next_step = failure_class, message, next_step


def fail(program: str, error: LoadError, code: int = 1) -> int:
    """Prints the error on stderr, and writes it to the file in which the runtime expects a launcher's
    failure. Returns the exit code."""
    if path := os.environ.get(FAILURE_VARIABLE):
        document = {
            "failureClass": error.failure_class,
            "message": error.message,
            "nextStep": error.next_step,
        }
        with contextlib.suppress(OSError):
            Path(path).write_text(json.dumps(document), encoding="utf-8")
    # One write: where stderr is unbuffered, an engine's threads write between a text and its line break.
    sys.stderr.write(f"{program}: error {error}\n")
    sys.stderr.flush()
    return code


MESSAGE_CHARACTERS = 2000
"""Characters of an error's message; a model's template may raise one of megabytes."""
PARAM_CHARACTERS = 200
"""Characters of a field's name in an error; a client may send one of megabytes, and not read the answer."""


class RequestError(Exception):
    """An error answer to one request: HTTP status, message and code."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def body(self) -> dict[str, Any]:
        return {
            "error": {
                "message": self.message[:MESSAGE_CHARACTERS],
                "type": KINDS.get(
                    self.status, "invalid_request_error" if self.status < 500 else "server_error"
                ),
                "param": self.param and self.param[:PARAM_CHARACTERS],
                "code": self.code,
            }
        }


KINDS = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "unavailable_error",
}


def bad(message: str, param: str | None = None, code: str | None = None) -> RequestError:
    """The error 400 for a request that cannot be answered as it is."""
    return RequestError(400, message, param=param, code=code)
