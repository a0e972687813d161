"""Idle TCP connections of this machine, by the activity that the kernel records of each (sock_diag(7))."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

OPENED_SECONDS, SILENT_SECONDS = 5.0, 60.0
"""Seconds after which a connection is idle: on which no request ever came, and on which the answer's last
bytes were the last ones. A slow engine may pause for seconds between two tokens.
"""
REPLY_SECONDS = 1.0
_REPLY_BYTES = 1 << 17
_SOCK_DIAG, _BY_FAMILY, _DUMP = 4, 20, 0x301
_ERROR, _DONE = 2, 3
_TCP_INFO, _ESTABLISHED = 2, 1
_HEADER_BYTES, _MESSAGE_BYTES = 16, 72
_SENT_AT, _RECEIVED_AT, _BYTES_AT = 44, 52, 120
"""Offsets in ``struct tcp_info`` of last_data_sent, last_data_recv (ms ago), bytes_acked, bytes_received."""


class Activity(NamedTuple):
    sent_seconds: float
    """Seconds since this side sent bytes last, or since the connection began."""
    received_seconds: float
    sent_bytes: int
    """Bytes that the client has; 1 may be that of the connection's beginning."""
    received_bytes: int

    @property
    def is_idle(self) -> bool:
        if not self.received_bytes:
            return self.received_seconds > OPENED_SECONDS
        return self.sent_bytes > 1 and self.received_seconds >= self.sent_seconds > SILENT_SECONDS


def idle_connections(port: int) -> int:
    """Connections to ``port`` that are idle; 0 where the kernel does not show it."""
    try:
        return sum(one.is_idle for family in (socket.AF_INET, socket.AF_INET6) for one in _of(family, port))
    except (OSError, struct.error):  # some sandboxes have no such socket
        return 0


def _of(family: int, port: int) -> Iterator[Activity]:
    request = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 1 << (_TCP_INFO - 1), 1 << _ESTABLISHED)
    request += bytes(48)
    header = struct.pack("=IHHII", _HEADER_BYTES + len(request), _BY_FAMILY, _DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.settimeout(REPLY_SECONDS)
        kernel.send(header + request)
        while data := kernel.recv(_REPLY_BYTES):
            while data:
                length, kind = struct.unpack_from("=IH", data)
                if kind in (_ERROR, _DONE) or length < _HEADER_BYTES:
                    return
                if struct.unpack_from(">H", data, _HEADER_BYTES + 4)[0] == port:
                    yield from _activity(data[_HEADER_BYTES + _MESSAGE_BYTES : length])
                data = data[length + -length % 4 :]


def _activity(attributes: bytes) -> Iterator[Activity]:
    while len(attributes) >= 4:
        length, kind = struct.unpack_from("=HH", attributes)
        if kind == _TCP_INFO and length >= 4 + _BYTES_AT + 16:
            info = attributes[4:length]
            sent, received = (struct.unpack_from("=I", info, at)[0] / 1000 for at in (_SENT_AT, _RECEIVED_AT))
            yield Activity(sent, received, *struct.unpack_from("=QQ", info, _BYTES_AT))
        if length < 4:
            return
        attributes = attributes[length + -length % 4 :]
