"""What a device would hold once a command was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from derloop.errors import Interlocked
from hil.inverter.dialect import Dialect
from hil.inverter.guard import Change
from hil.sunspec.codec import decode, encode
from hil.sunspec.errors import SunSpecError
from hil.sunspec.points import RegisterArray, Value
from hil.sunspec.register_map import RegisterMap


class Device(Protocol):
    """What is known of a discovered device, as far as it bears on what may be written to it."""

    @property
    def name(self) -> str: ...
    @property
    def map(self) -> RegisterMap: ...
    @property
    def image(self) -> RegisterArray: ...
    @property
    def dialect(self) -> Dialect: ...


class Outcome:
    """The values of a device's points with the registers of some changes in the place of what it holds now.

    The values are decoded from the registers that go out: what the device will hold, not what was asked.
    """

    def __init__(self, device: Device, changes: Sequence[Change] = ()) -> None:
        self._map, self._image = device.map, device.image
        self._new = {change.point.name: decode(change.point, change.registers) for change in changes}

    def __call__(self, name: str) -> Value:
        """Return what a point holds then; None where the device has no such point or does not implement it."""
        if name in self._new:
            return self._new[name]
        return self._map.value(name, self._image) if name in self._map else None

    def number(self, name: str) -> float | None:
        value = self(name)
        return value if isinstance(value, int | float) else None


def as_held(device: Device, values: Mapping[str, float | str]) -> dict[str, float | str]:
    """Return values as a device holds them: numbers for symbols, rounded to its steps.

    Raises Interlocked for a point that the device has not, or that cannot hold such a value.
    """
    try:
        encoded = {name: encode(device.map[name], value).value for name, value in values.items()}
    except SunSpecError as misfit:
        raise Interlocked(device.name, f"cannot be brought to its safe state: {misfit} (safe_state)") from misfit
    return {name: value for name, value in encoded.items() if value is not None}
