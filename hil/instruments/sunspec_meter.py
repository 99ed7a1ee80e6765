"""A SunSpec meter (models 201 to 204, 211 to 214) as the power meter of a bench: what it shows for its phases.

What flows from the device into the source is positive, as everywhere; meters count what is drawn as positive, and are
turned round.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from derloop.errors import Rejected, Unreachable
from hil.instruments.command_map import Measured, Quantity
from hil.instruments.file import InstrumentSettings, ModbusAt
from hil.instruments.modbus import said_by
from hil.inverter.dialect import QUANTITIES, Dialect, Source
from hil.inverter.sunspec_dialect import sunspec_dialect
from hil.modbus.endpoint import Address, Timing, located
from hil.modbus.tap import Tap
from hil.sunspec.discovery import discover
from hil.sunspec.errors import SunSpecMapError
from hil.sunspec.points import RegisterArray, Value
from hil.sunspec.reads import ReadPlan
from hil.sunspec.register_map import RegisterMap

if TYPE_CHECKING:
    from hil.modbus.blocking import ModbusConnection

_PHASES_OF: Final[Mapping[str, int]] = {"202": 2, "212": 2, "203": 3, "204": 3, "213": 3, "214": 3}
"""How many a meter has; others have one."""
_BY_PHASE: Final[Mapping[str, str]] = {"p_w": "Wph", "q_var": "VARph", "v_ln_v": "PhVph"}


def _of_phase(total: Source, measured: Measured, phase: int) -> Source | None:
    """Return where a phase of a meter has what another point has for all; None for what is one for all phases."""
    if measured not in _BY_PHASE:
        return None
    model = total.points[0].partition(".")[0]
    return replace(total, points=(f"{model}.{_BY_PHASE[measured]}{'ABC'[phase - 1]}",))


class SunSpecMeter:
    """One meter, opened by `open` and closed by `close`; not for several threads at once."""

    def __init__(self, name: str, settings: InstrumentSettings, folder: Path, tap: Tap | None = None) -> None:
        assert isinstance(settings.at, ModbusAt)
        self.name, self.identity, self._tap = name, "", tap
        self._timing, self._wanted = Timing(deadline_s=settings.deadline_s), settings.identity
        self._address = Address(located(settings.at.endpoint, folder), settings.at.unit)
        self._connection: ModbusConnection | None = None
        self._map, self._dialect = RegisterMap(0, (), ()), Dialect()

    def open(self) -> None:
        """Connect and discover. Raises Unreachable, or Rejected for what is no SunSpec meter."""
        from hil.modbus.blocking import ModbusConnection

        self._connection = ModbusConnection(self.name, self._address, self._timing, self._tap)
        try:
            self._discover(self._connection)
        except BaseException:
            self.close()
            raise

    meet = open

    def _discover(self, connection: ModbusConnection) -> None:
        try:
            self._map, image = discover(connection.read)
        except SunSpecMapError as failure:
            raise Rejected(self.name, f"{self._address}: {failure}") from failure
        self._dialect = sunspec_dialect(self._map, image)
        if lacking := [each for each in ("p_w", "q_var") if not self._is_measured(each)]:
            raise Rejected(self.name, f"{self._address}: measures no {' and no '.join(lacking)}; it is no meter")
        said = (self._map.value(point, image) for point in self._dialect.identity.values())
        self.identity = said_by(self.name, [str(text) for text in said if text], self._wanted) or "a SunSpec meter"

    def close(self) -> None:
        """Close the connection; once or more often."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def can_set(self, quantity: Quantity) -> bool:  # noqa: ARG002 - an instrument's
        """Nothing of a meter can be set."""
        return False

    def sets_apart(self, quantity: Quantity) -> bool:  # noqa: ARG002 - an instrument's
        """Nothing of a meter can be set."""
        return False

    def can_read(self, measured: Measured) -> bool:
        """Return whether it is measured; before the meter is opened, whether meters do."""
        return self._is_measured(measured) if self.identity else measured in QUANTITIES

    def set(self, quantity: Quantity, value: float, phases: Sequence[int] = (1,)) -> None:  # noqa: ARG002
        """Raise Rejected."""
        raise Rejected(self.name, f"is a meter: {quantity} cannot be set")

    def verify(self, quantity: Quantity, value: float, phases: Sequence[int] = (1,)) -> None:  # noqa: ARG002
        """Raise Rejected."""
        raise Rejected(self.name, f"is a meter: {quantity} cannot be set")

    def read(self, measured: Measured, phases: Sequence[int] = (1,)) -> list[float]:
        """Return what is measured, once for all phases of the meter, or on each of `phases` that are not all.

        Raises Rejected where the meter says nothing.
        """
        total = self._dialect.measured[measured]  # type: ignore[index] # `can_read` says which there are
        sources = [_of_phase(total, measured, phase) for phase in phases] if self._are_some(phases) else [total]
        return [self._number(source) for source in sources if source is not None] or [self._number(total)]

    def _are_some(self, phases: Sequence[int]) -> bool:
        """Return whether phases are not all that the meter has; one of a single phase may stand at any."""
        model = self._dialect.measured["p_w"].points[0].partition(".")[0]
        count = _PHASES_OF.get(model, 1)
        return count > 1 and not {*phases} >= {*range(1, count + 1)}

    def _number(self, source: Source) -> float:
        value = source.value({name: self._value(name) for name in source.points if name in self._map})
        if math.isnan(value):
            raise Rejected(self.name, f"{', '.join(source.points)}: nothing is measured")
        return value

    def _is_measured(self, measured: str) -> bool:
        source = {str(quantity): each for quantity, each in self._dialect.measured.items()}.get(measured)
        return source is not None and any(name in self._map for name in source.points)

    def _value(self, name: str) -> Value:
        if self._connection is None:
            raise Unreachable(self.name, f"{self._address}: the connection is closed")
        image: RegisterArray = np.zeros(self._map.size, dtype=np.uint16)
        scale = self._map.moving_scale(name)
        plan = ReadPlan(self._map, [name] if scale is None else [name, scale])
        for request, at in zip(plan.requests, plan.places, strict=True):
            image[at : at + request.registers] = self._connection.read(*request)
        return self._map.current(name, image)
