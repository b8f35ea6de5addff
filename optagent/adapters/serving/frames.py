"""Frames: messages between two processes over a socket, JSON followed by the bytes of an array, never a pickle."""

import json
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

from optagent.errors import EngineFailed, OptAgentError

_SIZES = struct.Struct("<QQ")


class BrokenFrame(Exception):
    """The other side ended, was too slow, or sent something that is no frame."""


def describe_refusal(error: Exception) -> dict[str, str]:
    """The answer of a child that failed: the name of an error of ours, EngineFailed for any other, and the message."""
    is_ours = isinstance(error, OptAgentError)
    message = str(error) if is_ours else f"{type(error).__name__}: {error}"
    return {"error": type(error).__name__ if is_ours else EngineFailed.__name__, "message": message[:2000]}


def send(
    channel: socket.socket, message: Mapping[str, Any], payload: bytes | memoryview = b"", within_s: float | None = None
) -> None:
    """Sends one frame; BrokenFrame if the other side does not take it in time."""
    text = json.dumps(message).encode()
    try:
        channel.settimeout(within_s)
        channel.sendall(_SIZES.pack(len(text), len(payload)) + text)
        if len(payload):
            channel.sendall(payload)
    except OSError as error:
        raise BrokenFrame(_describe_error(error)) from None


def receive(channel: socket.socket, most: int, within_s: float | None = None) -> tuple[dict[str, Any], bytearray]:
    """The next frame with at most `most` bytes; BrokenFrame for anything else."""
    until = None if within_s is None else time.monotonic() + within_s
    try:
        text_size, payload_size = _SIZES.unpack(_read_exactly(channel, _SIZES.size, until))
        if text_size + payload_size > most:
            raise BrokenFrame(f"a frame of {text_size + payload_size:,} bytes, the limit is {most:,}")
        message = json.loads(_read_exactly(channel, text_size, until))
        payload = _read_exactly(channel, payload_size, until)
    except OSError as error:
        raise BrokenFrame(_describe_error(error)) from None
    except (ValueError, RecursionError):
        raise BrokenFrame("not JSON") from None
    if not isinstance(message, dict):
        raise BrokenFrame("not an object")
    return message, payload


def _read_exactly(channel: socket.socket, size: int, until: float | None) -> bytearray:
    buffer = bytearray(size)
    rest = memoryview(buffer)
    while rest:
        channel.settimeout(None if until is None else max(1e-3, until - time.monotonic()))
        count = channel.recv_into(rest)
        if not count:
            raise BrokenFrame("the other side has ended")
        rest = rest[count:]
    return buffer


def _describe_error(error: OSError) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
