"""The command-line switches that all engines behind the server have, and functions that parse their
values."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

KEY_VARIABLE = "SERVER_API_KEY"
"""Environment variable with the API key; arguments are visible to everyone."""
WAITING = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """The settings of the HTTP server: address, port, API key and limits of requests."""

    host: str
    port: int
    served_name: str
    max_requests: int
    """Most sequences that are running or waiting at the same time; further requests get 429."""
    require_chat: bool
    api_key: str = ""


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Adds the switches of the server and of its model to ``parser``."""
    parser.add_argument("--model", required=True, help="folder of the model")
    parser.add_argument("--served-model-name", required=True, help='the OpenAI "model"')
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=port, default=8000, help="port to listen on (8000)")
    parser.add_argument(
        "--max-model-len", type=positive, required=True, help="tokens of a request: prompt and answer"
    )
    parser.add_argument("--max-batch", type=positive, required=True, help="sequences computed at a time")
    parser.add_argument(
        "--max-waiting",
        type=whole,
        default=WAITING,
        help=f"sequences that may wait ({WAITING}); more get 429",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where it computes (cpu)")
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="execute Python files of the model's repository"
    )
    parser.add_argument(
        "--require-chat", action="store_true", help="do not start for a model that cannot chat"
    )


def server_settings(options: argparse.Namespace, api_key: str) -> ServerSettings:
    return ServerSettings(
        host=options.host,
        port=options.port,
        served_name=options.served_model_name,
        max_requests=options.max_batch + options.max_waiting,
        require_chat=options.require_chat,
        api_key=api_key,
    )


# --- values of switches ---------------------------------------------------------------------------
def integer(text: str) -> int:
    """A whole number, also a negative one. Like the functions below, it raises ArgumentTypeError for other
    text."""
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from error


def whole(text: str) -> int:
    """A whole number from 0 on."""
    if (number := integer(text)) < 0:
        raise argparse.ArgumentTypeError(f"{number} is negative")
    return number


def positive(text: str) -> int:
    """A whole number above 0."""
    if (number := integer(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a positive number")
    return number


def port(text: str) -> int:
    """A TCP port number."""
    if not 1 <= (number := integer(text)) <= 65535:
        raise argparse.ArgumentTypeError(f"{number} is not a port (1 to 65535)")
    return number
