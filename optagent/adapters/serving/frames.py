"""What two processes say to each other over a socket: JSON with an array's bytes behind it, never a pickle."""

import json
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

_SIZES = struct.Struct("<QQ")


class BrokenFrame(Exception):
    """The other side ended, was too slow, or said what is none of this."""


def send(
    channel: socket.socket, told: Mapping[str, Any], payload: bytes | memoryview = b"", within_s: float | None = None
) -> None:
    """Sends one frame; BrokenFrame where the other side does not take it, or not in time."""
    text = json.dumps(told).encode()
    try:
        channel.settimeout(within_s)
        channel.sendall(_SIZES.pack(len(text), len(payload)) + text)
        if len(payload):
            channel.sendall(payload)
    except OSError as error:
        raise BrokenFrame(_said(error)) from None


def receive(channel: socket.socket, most: int, within_s: float | None = None) -> tuple[dict[str, Any], bytearray]:
    """The next frame of at most so many bytes; BrokenFrame for anything else."""
    until = None if within_s is None else time.monotonic() + within_s
    try:
        text_size, payload_size = _SIZES.unpack(_exactly(channel, _SIZES.size, until))
        if text_size + payload_size > most:
            raise BrokenFrame(f"a frame of {text_size + payload_size:,} bytes, the limit is {most:,}")
        told = json.loads(_exactly(channel, text_size, until))
        payload = _exactly(channel, payload_size, until)
    except OSError as error:
        raise BrokenFrame(_said(error)) from None
    except (ValueError, RecursionError):
        raise BrokenFrame("not JSON") from None
    if not isinstance(told, dict):
        raise BrokenFrame("not an object")
    return told, payload


def _exactly(channel: socket.socket, size: int, until: float | None) -> bytearray:
    found = bytearray(size)
    rest = memoryview(found)
    while rest:
        channel.settimeout(None if until is None else max(1e-3, until - time.monotonic()))
        count = channel.recv_into(rest)
        if not count:
            raise BrokenFrame("the other side has ended")
        rest = rest[count:]
    return found


def _said(error: OSError) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
