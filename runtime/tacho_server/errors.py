"""Errors in the shape of the OpenAI API."""

from __future__ import annotations

from typing import Any


class RequestError(Exception):
    """An answer that is not 2xx."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def body(self) -> dict[str, Any]:
        return {
            "error": {
                "message": self.message,
                "type": KINDS.get(
                    self.status, "invalid_request_error" if self.status < 500 else "server_error"
                ),
                "param": self.param,
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
    """400: the request cannot be answered as it is."""
    return RequestError(400, message, param=param, code=code)
