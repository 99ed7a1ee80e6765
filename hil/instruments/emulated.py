"""Instruments that speak SCPI over TCP, for trying a bench without one: they keep what is set, and measure what they
are told.

Commands are those of the shipped command maps, in any case, with phases as suffixes. An unknown word goes to the error
queue, as SCPI has it, and is answered with nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from hil.instruments.command_map import CommandMap, Quantity
from hil.modbus.thread import LoopThread

Measure = Callable[[str, int], float]
"""(what, phase) -> what is measured there, in the sign in which the instrument says it."""
UNDEFINED_HEADER = '-113,"Undefined header"'
NO_ERROR = '0,"No error"'
MOST_ERRORS = 30


class EmulatedInstrument:
    """One instrument on a free port of 127.0.0.1, with the words of a command map."""

    def __init__(
        self, commands: CommandMap, measure: Measure, identity: str = "derloop,emulated instrument,0,1"
    ) -> None:
        self._commands, self._measure, self.identity = commands, measure, identity
        self.held: dict[tuple[Quantity, int], float] = {}
        """What is set, by quantity and phase (1 where it is set for all)."""
        self.errors: list[str] = []
        self.ignores: set[str] = set()
        """Quantities whose commands are taken and forgotten."""
        self.is_silent = False
        self._thread: LoopThread | None = None
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._patterns = [(_pattern(s.command), q) for q, s in commands.settings.items()]
        self._queries = [(_pattern(s.query), q) for q, s in commands.settings.items()]
        self._readings = [(_pattern(r.query), m) for m, r in commands.readings.items()]

    @property
    def port(self) -> int:
        assert self._server
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def is_on(self) -> bool:
        return self.held.get(("output", 1), 0.0) == 1.0

    def __enter__(self) -> Self:
        self._thread = LoopThread("emulated instrument")
        self._server = self._thread.run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._thread
        self._thread.run(self._shut_down())
        self._thread.close()

    def disconnect(self) -> None:
        """Drop every connection, as an instrument that restarts; new ones are taken."""
        assert self._thread
        self._thread.run(self._drop())

    async def _drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.02)

    async def _shut_down(self) -> None:
        assert self._server
        self._server.close()
        await self._drop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                answer = self.answer(line.decode("ascii", "replace").strip())
                if answer is not None and not self.is_silent:
                    writer.write(answer.encode() + b"\n")
        except (OSError, ValueError):  # the peer has gone, or sends a line without an end
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def answer(self, line: str) -> str | None:
        """Do one command, or answer one query; None where there is no answer."""
        if not line.endswith("?"):
            self._do(line)
            return None
        if line.upper() == self._commands.identify.upper():
            return self.identity
        if line.upper() == self._commands.error.upper():
            return self.errors.pop(0) if self.errors else NO_ERROR
        return self._asked(line)

    def _do(self, line: str) -> None:
        if line.upper() == "*CLS":
            self.errors.clear()
            return
        for pattern, quantity in self._patterns:
            if found := pattern.fullmatch(line):
                self._hold(quantity, int(found.groupdict().get("phase") or 1), found["value"])
                return
        self._complain(UNDEFINED_HEADER)

    def _hold(self, quantity: Quantity, phase: int, text: str) -> None:
        try:
            value = self._commands.settings[quantity].heard(text)
        except ValueError:
            self._complain('-104,"Data type error"')
            return
        if quantity not in self.ignores:
            self.held[quantity, phase] = value

    def _asked(self, line: str) -> str | None:
        for pattern, quantity in self._queries:
            if found := pattern.fullmatch(line):
                value = self.held.get((quantity, int(found.groupdict().get("phase") or 1)), 0.0)
                return _word(self._commands.settings[quantity].words, value)
        for pattern, measured in self._readings:
            if found := pattern.fullmatch(line):
                return f"{self._measure(measured, int(found.groupdict().get('phase') or 1)):.6E}"
        self._complain(UNDEFINED_HEADER)
        return None

    def _complain(self, error: str) -> None:
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(error)


def _word(words: Mapping[Any, str], value: float) -> str:
    return words.get(f"{value:.0f}", f"{value:.6E}") if words else f"{value:.6E}"


def _pattern(command: str) -> re.Pattern[str]:
    """Return what finds a command, with its phase and value."""
    text = re.escape(command).replace(r"\{value\}", r"(?P<value>\S+)").replace(r"\{phase\}", r"(?P<phase>[123])")
    return re.compile(text, re.IGNORECASE)
