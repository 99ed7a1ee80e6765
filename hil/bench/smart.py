"""The functions that a scenario's `smart` sets, as what equipment is given: points of models 704, 706, 711 and 712.

Where each number stands is in `hil.emulator.functions`, as for emulated devices. Numbers in pu are of rated kW and
rated kVA: of the 702 VAMax that a device is set to, which is what the scenario has in its place, and of its rated power
as far as that is no more. Where WMax is set lower than this, the device is given as much more of it. Trips,
ride-through and entering service stay as they are set at the device: they protect it and the grid, and are no business
of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from derloop.errors import Rejected
from hil.emulator.functions import FUNCTIONS, Function, Place
from hil.fleet.model import GIVEN, Functions
from hil.inverter.device import Device
from hil.inverter.standing import GROUPS, Standing

_REFERENCES: Final[dict[str, dict[str, float | str]]] = {
    "706": {"ActPt": 2.0, "DeptRef": "W_MAX_PCT"},
    "711": {},
    "712": {"ActPt": 6.0, "DeptRef": "VA_MAX_PCT"},
}
"""How many points curves have, and what their percentages are of."""
_REACTIVE: Final = {
    "constant_pf": ("704.PFWInjEna", "704.PFWAbsEna", "123.OutPFSet_Ena"),
    "constant_q": ("704.VarSetEna", "123.VArPct_Ena"),
    "watt_var": ("712.Ena",),
}
"""What switches on the functions of reactive power, beside volt-var, which a run switches on or off in any case."""
Number = Callable[[str], float]
"""A number of a function, by name."""


def standing_of(inverters: Functions, index: int, device: Device) -> list[Standing]:
    """Return what the device in the place `index` of a fleet is given, once it is discovered."""
    asked = [function for function in FUNCTIONS if function.name in GIVEN and inverters.has(function.name)]
    return [each for function in asked for each in _standing(function, inverters, index, device)]


def refuse_another_mode(inverters: Functions, device: Device) -> None:
    """Raise Rejected for a device that holds another function of reactive power than the scenario gives it.

    IEEE 1547-2018 has one of them at a time; which of two shows is the device's affair.
    """
    given = next((name for name in ("volt_var", *_REACTIVE) if inverters.has(name)), None)
    others = {name: enables for name, enables in _REACTIVE.items() if not inverters.has(name)} if given else {}
    for name, enables in others.items():
        for enable in enables:
            if enable in device.map and device.map.value(enable, device.image) == 1:
                what = f"has {name} on ({enable}), beside which the scenario's {given} need not show"
                raise Rejected(device.name, f"{what}: switch it off at the device first")


def _standing(function: Function, inverters: Functions, index: int, device: Device) -> Iterator[Standing]:
    numbers = {name: float(values[index]) for name, values in inverters.numbers(function.name).items()}
    name = function.name
    if name == "constant_pf":
        yield from _power_factors(function, numbers, device)
    elif name == "constant_q":
        values = {"704.VarSetMod": 4.0, "704.VarSet": numbers["q_pu"] * _rating(device, "702.VAMax", "702.VAMaxRtg")}
        yield Standing(name, "704.VarSetEna", values)
    elif name == "active_power_limit":
        share = 100.0 * numbers["p_max_pu"] * _of_w_max(device)
        yield Standing(name, "704.WMaxLimPctEna", {"704.WMaxLimPct": min(max(share, 0.0), 100.0)})
    else:
        yield _curve(function, numbers, device)


def _power_factors(function: Function, numbers: dict[str, float], device: Device) -> Iterator[Standing]:
    """Yield the power factor for injecting, and for what can absorb, the same for absorbing."""
    values = {place.point: _number(place, numbers, device) for place in function.places}
    for side in ("PFWInj", "PFWAbs"):
        enable = f"704.{side}Ena"
        if side == "PFWInj" or (enable in device.map and device.map.value(enable, device.image) is not None):
            yield Standing("constant_pf", enable, {p.replace("PFWInj", side): value for p, value in values.items()})


def _curve(function: Function, numbers: dict[str, float], device: Device) -> Standing:
    assert function.enable
    model = function.enable.partition(".")[0]
    start = f"{model}.{GROUPS[model]}.0."
    points = {place.point.removeprefix(start): _number(place, numbers, device) for place in function.places}
    return Standing(function.name, function.enable, curve={**_REFERENCES[model], **points})


def _number(place: Place, numbers: dict[str, float], device: Device) -> float:
    share = _of_w_max(device) if place.reference == "w_max" else 1.0
    return place.factor * numbers[place.number] * share + place.offset


def _of_w_max(device: Device) -> float:
    """Return the rated active power, no more than the apparent power that is set, in units of 702 WMax."""
    rated, most, given = _rating(device, "702.WMaxRtg"), _rating(device, "702.VAMax"), _rating(device, "702.WMax")
    return min(rated, most or rated) / given if rated and given else 1.0


def _rating(device: Device, *names: str) -> float:
    """Return the first of these ratings that the device says; 0 if it says none."""
    held = (device.map.value(name, device.image) for name in names if name in device.map)
    return next((value for value in held if isinstance(value, int | float) and value > 0), 0.0)
