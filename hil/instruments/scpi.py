"""An instrument that speaks SCPI: commands that are verified, answers that come by a deadline.

After every command the instrument is asked for its errors: SCPI answers no command, so that a wrong one would be lost
silently. pyvisa with pyvisa-py carries the words.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from derloop.errors import PluginError, Rejected, Unreachable
from hil.instruments.command_map import CommandMap, Measured, Quantity, filled
from hil.instruments.file import InstrumentSettings, ModbusAt
from hil.modbus.tap import Tap

MOST_ERRORS = 20
"""How many of an instrument's errors are read: a queue that never ends must not hold a run."""


class Words(Protocol):
    """What carries the words of an instrument."""

    def write(self, command: str) -> object: ...
    def query(self, command: str) -> str: ...
    def close(self) -> None: ...


class ScpiInstrument:
    """One instrument, opened by `open` and closed by `close`; not for several threads at once."""

    def __init__(self, name: str, settings: InstrumentSettings, commands: CommandMap, tap: Tap | None = None) -> None:
        """tap: hears what is said and answered."""
        assert not isinstance(settings.at, ModbusAt)
        self._tap = tap
        self._resource = settings.at.resource
        self.name, self._settings, self._commands = name, settings, commands
        self._words: Words | None = None
        self.identity = ""

    def open(self) -> None:
        """Connect, see who answers, and begin. Raises as `meet`, and Rejected where it does not take how to begin."""
        self.meet()
        try:
            for command in self._commands.begin:
                self._tell(command)
        except BaseException:
            self.close()
            raise

    def meet(self) -> None:
        """Connect and see who answers. Raises Unreachable, or Rejected for another instrument than the bench has."""
        self._words = _opened(self.name, self._settings)
        try:
            self.identity = self._ask(self._commands.identify)
            if self._settings.identity not in self.identity:
                why = f"is {self.identity!r}, which does not contain {self._settings.identity!r}"
                raise Rejected(self.name, why)
            self.identity = self.identity or "an instrument that does not say who it is"  # and yet has answered
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; once or more often. What the instrument does is not changed."""
        words, self._words = self._words, None
        if words is not None:
            with suppress(*_failures()):
                words.close()

    def can_set(self, quantity: Quantity) -> bool:
        return quantity in self._commands.settings

    def sets_apart(self, quantity: Quantity) -> bool:
        """Return whether each phase can be set to a value of its own."""
        return quantity in self._commands.settings and self._commands.settings[quantity].each_phase

    def can_read(self, measured: Measured) -> bool:
        return measured in self._commands.readings

    def set(self, quantity: Quantity, value: float, phases: Sequence[int] = (1,)) -> None:
        """Set a quantity, on each of `phases` where they are set apart, and verify that it is set.

        Raises Rejected where the instrument names an error or has something else set.
        """
        if quantity not in self._commands.settings:
            raise Rejected(self.name, f"its command map {self._commands.name!r} cannot set {quantity}")
        setting = self._commands.settings[quantity]
        for phase in phases if setting.each_phase else phases[:1]:
            self._tell(setting.said(value, phase))
            self.verify(quantity, value, (phase,))

    def verify(self, quantity: Quantity, value: float, phases: Sequence[int] = (1,)) -> None:
        """Raise Rejected unless a quantity is still what it was set to, on each of `phases` where they are apart."""
        setting = self._commands.settings[quantity]
        for phase in phases if setting.each_phase else phases[:1]:
            found = self._number(filled(setting.query, phase=phase), setting.heard)
            if not abs(found - value) <= setting.tolerance:
                raise Rejected(self.name, f"{quantity} of phase {phase} was set to {value:g} and is {found:g}")

    def read(self, measured: Measured, phases: Sequence[int] = (1,)) -> list[float]:
        """Return what is measured on each of `phases`; once where the instrument tells it for all of them."""
        if measured not in self._commands.readings:
            raise Rejected(self.name, f"its command map {self._commands.name!r} cannot measure {measured}")
        reading = self._commands.readings[measured]
        asked = phases if reading.each_phase else phases[:1]
        return [reading.factor * self._number(filled(reading.query, phase=phase)) for phase in asked]

    def _number(self, query: str, heard: Any = float) -> float:
        answer = self._ask(query)
        try:
            value = float(heard(answer))
        except ValueError:
            raise Rejected(self.name, f"{query!r} was answered with {answer[:80]!r}, no number") from None
        if not math.isfinite(value) or abs(value) >= 9.9e37:  # SCPI's not-a-number and infinity
            raise Rejected(self.name, f"{query!r} was answered with {answer[:80]!r}: nothing is measured")
        return value

    def _tell(self, command: str) -> None:
        self._carried(command, lambda words: words.write(command))
        errors = [error for error in self._errors() if error]
        if errors:
            raise Rejected(self.name, f"{command!r}: {'; '.join(errors)}")

    def _errors(self) -> list[str]:
        found: list[str] = []
        for _ in range(MOST_ERRORS):
            answer = self._ask(self._commands.error)
            code = answer.partition(",")[0].strip().lstrip("+")
            if code == "0":
                break
            found.append(answer)
        return found

    def _ask(self, query: str) -> str:
        answer: str = self._carried(query, lambda words: words.query(query))
        if self._tap:
            self._tap("received", answer.encode("ascii", "backslashreplace"))
        return answer.strip()

    def _carried(self, what: str, work: Any) -> Any:
        """Do one exchange; what goes wrong closes the connection, so that no late answer is taken for another's."""
        if self._words is None:
            raise Unreachable(self.name, f"{what!r}: the connection is closed")
        if self._tap:
            self._tap("sent", what.encode("ascii", "backslashreplace"))
        try:
            return work(self._words)
        except _failures() as failure:
            self.close()
            raise Unreachable(self.name, f"{self._resource}: {what!r}: {_reason(failure)}") from failure


def _opened(name: str, settings: InstrumentSettings) -> Words:
    try:
        import pyvisa
    except ImportError as missing:
        raise PluginError("instruments need pyvisa and pyvisa-py: pip install 'derloop[bench]'") from missing
    assert not isinstance(settings.at, ModbusAt)
    options: Mapping[str, Any] = {"read_termination": "\n", "write_termination": "\n"}
    if settings.at.transport == "serial":
        options = {**options, "baud_rate": settings.at.baud}
    try:
        resource: Any = pyvisa.ResourceManager("@py").open_resource(
            settings.at.resource, open_timeout=round(1000 * settings.deadline_s), **options
        )
        resource.timeout = round(1000 * settings.deadline_s)
        _send_at_once(resource)
    except Exception as failure:  # pyvisa-py raises just that, as where no host has the name
        raise Unreachable(name, f"{settings.at.resource}: {_reason(failure)}") from failure
    words: Words = resource
    return words


def _send_at_once(resource: Any) -> None:
    """Let what is written not wait until what was written before is acknowledged: 40 ms for a query after a command.

    (Nagle's algorithm, RFC 896, and delayed acknowledgements, RFC 1122, 4.2.3.2.) pyvisa-py 0.8 sets no such option.
    """
    carrier = getattr(resource.visalib.sessions[resource.session], "interface", None)
    if isinstance(carrier, socket.socket):
        carrier.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _failures() -> tuple[type[Exception], ...]:
    """Return what a connection raises that is lost, silent, or says what is no text."""
    import pyvisa

    return (OSError, UnicodeDecodeError, pyvisa.errors.Error)


def _reason(failure: Exception) -> str:
    return " ".join(str(failure).split()) or type(failure).__name__
