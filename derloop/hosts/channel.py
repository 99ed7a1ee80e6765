"""A connection between a run and a host: authenticated messages of JSON, some with bytes.

    4 bytes: length of the JSON | 4 bytes: length of the bytes | JSON object | bytes | 32 bytes: HMAC-SHA256

The digest is of the number of the message in its direction (8 bytes) and all that stands before it; each direction of
each connection has a key of its own (`derloop.hosts.greeting`). So nothing can be forged, repeated, left out or
reordered by who does not know the token. Nothing is encrypted. What is too long, is no JSON object, or does not fit its
digest ends the connection.
"""

from __future__ import annotations

import hmac
import json
import queue
import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from time import monotonic, monotonic_ns
from typing import Any

MAX_JSON = 64 * 2**20
MAX_BYTES = 4 * 2**20
BEAT_S = 0.5
"""How often something is said where there is nothing to say."""
QUEUED_BYTES = 16 * 2**20
"""How much may wait to be sent before whoever fetches files should wait."""
LEAVE_S = 5.0
_HEAD = struct.Struct(">II")
_DIGEST = 32
_BEAT = b'{"what":"beat"}'


class Malformed(Exception):
    """What came is no message, or not one of whom it should be."""


@dataclass(frozen=True, slots=True)
class Keys:
    """One for each direction."""

    to_peer: bytes
    from_peer: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """What was said: `what` it is, its fields, and bytes that belong to it."""

    what: str
    fields: dict[str, Any] = field(default_factory=dict)
    data: bytes = b""
    heard_ns: int = field(default_factory=monotonic_ns, compare=False)
    """When it came, by `time.monotonic_ns`."""

    def __getitem__(self, key: str) -> Any:
        try:
            return self.fields[key]
        except KeyError:
            raise Malformed(f"a message {self.what!r} lacks {key!r}") from None

    def integer(self, key: str) -> int:
        """Return a field that must be a whole number."""
        if type(value := self[key]) is not int:
            raise Malformed(f"{key!r} of a message {self.what!r} is no whole number")
        return value


def pack(number: int, key: bytes, text: bytes, data: bytes = b"") -> bytes:
    """Return the message `number` of its direction as it goes over the wire."""
    frame = _HEAD.pack(len(text), len(data)) + text + data
    return frame + _digest(number, key, frame)


def unpack(number: int, key: bytes, receive: Callable[[int], bytes]) -> Message:
    """Return the message `number`; `receive` gives exactly so many bytes. Raises Malformed."""
    head = receive(_HEAD.size)
    length, size = _HEAD.unpack(head)
    if length > MAX_JSON or size > MAX_BYTES:
        raise Malformed(f"a message of {length} and {size} bytes is too long")
    text, data = receive(length), receive(size)
    if not hmac.compare_digest(receive(_DIGEST), _digest(number, key, head + text + data)):
        raise Malformed("a message does not fit its digest")
    return _message(text, data)


def _digest(number: int, key: bytes, frame: bytes) -> bytes:
    return hmac.digest(key, number.to_bytes(8, "big") + frame, "sha256")


def _message(text: bytes, data: bytes) -> Message:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"a message is no JSON: {error}") from error
    if not isinstance(fields, dict) or not isinstance(what := fields.pop("what", None), str):
        raise Malformed("a message does not say what it is")
    return Message(what, fields, data)


class Channel:
    """A connection whose two ends know each other. Sends and receives in threads of its own; nothing here waits."""

    def __init__(self, sock: socket.socket, keys: Keys, peer: str) -> None:
        self.peer, self._sock, self._keys = peer, sock, keys
        self.heard_at = monotonic()
        """When anything came last, by `time.monotonic`."""
        self.lost: str | None = None
        """Why nothing comes any more; all that came can be heard once it is told."""
        self._outgoing: queue.SimpleQueue[tuple[bytes, bytes] | None] = queue.SimpleQueue()
        self._incoming: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._queued = 0
        self._closed = Event()
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._receiver, self._sender = (
            Thread(target=work, name=f"derloop {peer} {work.__name__.strip('_')}", daemon=True)
            for work in (self._receive_all, self._send_all)
        )
        self._receiver.start()
        self._sender.start()

    @property
    def is_crowded(self) -> bool:
        """More waits to be sent than should."""
        return self._queued > QUEUED_BYTES

    @property
    def silent_s(self) -> float:
        """For how long nothing has come.

        What has come and waits to be read ends a silence: whoever was stopped finds much of it when it goes on.
        """
        return 0.0 if self._has_come() else monotonic() - self.heard_at

    def _has_come(self) -> bool:
        if self._closed.is_set():
            return False
        waiting = select.poll()
        waiting.register(self._sock, select.POLLIN)
        return bool(waiting.poll(0))

    def send(self, what: str, data: bytes = b"", **fields: Any) -> None:
        """Send a message, sooner or later; one that is lost is noticed by what does not come back.

        Raises Malformed for one that is too long.
        """
        text = json.dumps({"what": what, **fields}).encode()
        if len(text) > MAX_JSON or len(data) > MAX_BYTES:
            raise Malformed(f"a message of {len(text)} and {len(data)} bytes is too long")
        self._queued += len(text) + len(data)
        self._outgoing.put((text, data))

    def heard(self) -> list[Message]:
        """Return what has come since this was called last."""
        messages = []
        while not self._incoming.empty():
            messages.append(self._incoming.get())
        return messages

    def close(self) -> None:
        """Send what waits to be sent, for no longer than 5 s, and close."""
        self._outgoing.put(None)
        self._sender.join(LEAVE_S if self.lost is None else 0.0)
        self._closed.set()
        with suppress(OSError):  # it is closed already
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        for thread in (self._sender, self._receiver):
            thread.join(LEAVE_S)

    def _send_all(self) -> None:
        number = 0
        try:
            while (item := self._next()) is not None:
                self._sock.sendall(pack(number, self._keys.to_peer, *item))
                self._queued -= sum(map(len, item)) if item[0] is not _BEAT else 0
                number += 1
        except OSError as error:
            self._receiver.join(LEAVE_S)  # what had come before the connection ended is heard first
            self._lose(f"its connection ended: {error.strerror or error}")

    def _next(self) -> tuple[bytes, bytes] | None:
        try:
            return self._outgoing.get(timeout=BEAT_S)
        except queue.Empty:
            return _BEAT, b""

    def _receive_all(self) -> None:
        number = 0
        try:
            while True:
                message = unpack(number, self._keys.from_peer, self._receive)
                number += 1
                if message.what != "beat":
                    self._incoming.put(message)
        except Malformed as error:
            self._lose(str(error))
        except OSError as error:
            self._lose(f"its connection ended: {error.strerror or error}")
        except EOFError:
            self._lose("its connection ended")

    def _receive(self, count: int) -> bytes:
        data = bytearray(count)
        rest = memoryview(data)
        while rest:
            got = self._sock.recv_into(rest)
            if got == 0:
                raise EOFError
            self.heard_at = monotonic()
            rest = rest[got:]
        return bytes(data)

    def _lose(self, why: str) -> None:
        if self.lost is None and not self._closed.is_set():
            self.lost = why
