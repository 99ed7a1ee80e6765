"""A control outside that answers over HTTP: one POST of JSON for each instant, held to a deadline and a size."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException, IncompleteRead
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from derloop.errors import DerloopError
from federates.control.own.listening import Measured
from federates.control.own.ports import Site

LOOPBACK = ("127.0.0.1", "localhost", "::1")
JSON_TYPE = {"Content-Type": "application/json", "Accept": "application/json", "Connection": "close"}
SHOWN = 120


class Answer(BaseModel):
    """What the process answers."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)

    setpoints: dict[str, float | list[float]]


class OverHttp:
    """A control that is asked at `url`."""

    def __init__(self, url: str, deadline_s: float, max_bytes: int, parameters: Mapping[str, Any]) -> None:
        parts = urlsplit(url)
        self._url, self._host, self._port = url, parts.hostname or "", parts.port or 80
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._deadline_s, self._max_bytes = deadline_s, max_bytes
        self._parameters = dict(parameters)
        self._about: dict[str, Any] = {}

    def begin(self, site: Site) -> None:
        """Keep what the first request tells: parameters, labels, units and the start."""
        about = {"labels": site.labels, "units": site.units, "step_s": site.step_s, "start": site.start.isoformat()}
        self._about = {"parameters": self._parameters, "site": {**about, "seed": site.seed}}

    def answer(self, now_s: float, measured: Measured) -> object:
        body = {"now_s": now_s, "measured": {name: values.tolist() for name, values in measured.items()}}
        said = self._posted(json.dumps({**body, **self._about}).encode())
        self._about = {}
        return self._typed(said).setpoints

    def end(self) -> None:
        """Nothing is held between two requests."""

    def _typed(self, said: bytes) -> Answer:
        try:
            return Answer.model_validate_json(said)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = "/".join(map(str, first["loc"][:2]))
            raise DerloopError(f"{self._url} answers with what is not asked for: /{where}: {first['msg']}") from error

    def _posted(self, body: bytes) -> bytes:
        """Return the body of the answer. Raises: DerloopError for whatever else comes, or does not."""
        try:
            status, said = self._exchanged(body)
        except (OSError, HTTPException, ValueError) as error:
            raise DerloopError(f"{self._url}: {self._failed(error)}") from error
        if status != 200:
            text = said[:SHOWN].decode("utf-8", "replace")
            raise DerloopError(f"{self._url} answers with status {status}: {text!r}")
        if len(said) > self._max_bytes:
            raise DerloopError(f"{self._url} answers with more than max_bytes, {self._max_bytes}")
        return said

    def _exchanged(self, body: bytes) -> tuple[int, bytes]:
        """Return status and body, of the body a byte more than may be taken."""
        with closing(HTTPConnection(self._host, self._port, timeout=self._deadline_s)) as connection:
            connection.connect()
            with self._in_time(connection.sock):
                connection.request("POST", self._path, body, JSON_TYPE)
                with connection.getresponse() as response:
                    said = response.read(self._max_bytes + 1)
                    if response.length and len(said) <= self._max_bytes:
                        raise IncompleteRead(said, response.length)
                    return response.status, said

    def _failed(self, error: Exception) -> str:
        if isinstance(error, TimeoutError | _TooLate):
            return f"no answer within deadline_s, {self._deadline_s:g} s"
        return f"no answer: {str(error) or type(error).__name__}"

    @contextmanager
    def _in_time(self, sock: socket.socket) -> Iterator[None]:
        """End what goes on within it at the deadline: a socket's own timeout begins anew with each byte."""
        late = threading.Event()

        def end() -> None:
            late.set()
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self._deadline_s, end)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            if late.is_set():
                raise _TooLate


class _TooLate(OSError):
    """The deadline has passed."""
