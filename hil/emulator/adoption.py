"""Curves: written to a spare place, handed over by request, adopted as curve 1 (SunSpec DER Information Model)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Final, NamedTuple

from hil.emulator.registers import Registers
from hil.sunspec.points import Value


class Adoption(NamedTuple):
    """The names with which a model hands a curve over."""

    request: str
    result: str
    group: str


ADOPTIONS: Final[Mapping[str, Adoption]] = {
    **{m: Adoption("AdptCrvReq", "AdptCrvRslt", "Crv") for m in ("705", "706", "707", "708", "709", "710")},
    "711": Adoption("AdptCtlReq", "AdptCtlRslt", "Ctl"),
    "712": Adoption("AdptCrvReq", "AdptCrvRslt", "Crv"),
}
Allows = Callable[[int, set[str]], bool]
"""Whether a device can do what these points of it, just written, say."""
_OF_W_MAX = 0.0
"""706 DeptRef: of what is available is not known to registers."""
_IN_PROGRESS, _COMPLETED, _FAILED = 0.0, 1.0, 2.0


class _Pending(NamedTuple):
    """A curve, counted from 0, that a device is adopting."""

    slot: int
    readings: int
    """Of the result, that still answer 'in progress'."""


class Adoptions:
    """What n devices are adopting.

    A curve is adopted after `readings` readings of the result have said that it is in progress, or when time is
    advanced, whichever comes first.
    """

    def __init__(self, registers: Registers, readings: int, allows: Allows) -> None:
        self._registers, self._readings, self._allows = registers, readings, allows
        self._pending: dict[tuple[int, str], _Pending] = {}

    def is_busy(self, device: int, names: Iterable[str]) -> bool:
        """Return whether one of these points asks for a curve of a model that is just adopting one, or is of that."""
        pending = [(model, each.slot) for (owner, model), each in self._pending.items() if owner == device]
        taken = tuple(
            f"{model}.{path}"
            for model, slot in pending
            for path in (ADOPTIONS[model].request, f"{ADOPTIONS[model].group}.{slot}.")
        )
        return bool(taken) and any(name.startswith(taken) for name in names)

    def begin(self, device: int, changed: Mapping[str, Value]) -> None:
        """Begin to adopt what these points ask for."""
        for name, value in changed.items():
            model, _, path = name.partition(".")
            if _asks(model, path) and isinstance(value, int | float):
                self._pending[device, model] = _Pending(int(value) - 1, self._readings)
                self._registers.put(device, f"{model}.{ADOPTIONS[model].result}", _IN_PROGRESS)

    def count_reading(self, device: int, address: int, count: int) -> bool:
        """Note that registers are read; a result that has said 'in progress' often enough says how it ended.

        Returns whether an adoption has ended so.
        """
        ended = False
        for (owner, model), pending in list(self._pending.items()):
            if owner != device:
                continue
            result = self._registers.maps[device][f"{model}.{ADOPTIONS[model].result}"]
            if not address <= result.address < address + count:
                continue
            if pending.readings > 0:
                self._pending[device, model] = pending._replace(readings=pending.readings - 1)
            else:
                self._adopt(device, model)
                ended = True
        return ended

    def forget(self, device: int) -> None:
        """Adopt nothing that is pending on a device."""
        self._pending = {(owner, model): each for (owner, model), each in self._pending.items() if owner != device}

    def finish(self) -> set[int]:
        """Adopt all that is pending; return by whom."""
        devices = {device for device, _ in self._pending}
        for device, model in list(self._pending):
            self._adopt(device, model)
        return devices

    def adopt(self, device: int, model: str, slot: int) -> bool:
        """Adopt the curve at `slot`, counted from 0, at once; return whether the device can follow it."""
        self._pending[device, model] = _Pending(slot, 0)
        return self._adopt(device, model)

    def _adopt(self, device: int, model: str) -> bool:
        """Make curve 1 the copy of the pending one, all but its 'read-only', if the device can follow that."""
        pending, names = self._pending.pop((device, model)), ADOPTIONS[model]
        source, target = (f"{model}.{names.group}.{slot}." for slot in (pending.slot, 0))
        before = self._registers.image(device)
        self._registers.copy_group(device, source, target)
        points = {name for name in self._registers.maps[device].points if name.startswith(target)}
        valid = is_valid_curve(self._registers, device, model, source) and self._allows(device, points)
        if not valid:
            self._registers.restore(device, before)
        self._registers.put(device, f"{model}.{names.result}", _COMPLETED if valid else _FAILED)
        return valid


def _asks(model: str, path: str) -> bool:
    return model in ADOPTIONS and path == ADOPTIONS[model].request


def is_valid_curve(registers: Registers, device: int, model: str, start: str) -> bool:
    """Return whether a curve can be followed as far as registers tell; the numbers are for `allows` to judge.

    At one voltage there is one reactive power: a model's curve passes over a step.
    """
    if model == "706":
        return registers.number(device, start + "DeptRef") == _OF_W_MAX
    if model != "705":
        return True
    count = int(registers.number(device, start + "ActPt") or 0)
    volts, pcts = (
        [v for i in range(count) if (v := registers.number(device, f"{start}Pt.{i}.{axis}")) is not None]
        for axis in ("V", "Var")
    )
    rising = all(before <= after for before, after in pairwise(volts))
    falling = all(before >= after for before, after in pairwise(pcts))
    steep = any(v == w and pct != then for (v, pct), (w, then) in pairwise(zip(volts, pcts, strict=False)))
    supported = registers.number(device, start + "DeptRef") in (0, 1, 3)
    return count >= 2 and len(volts) == len(pcts) == count and rising and falling and not steep and supported
