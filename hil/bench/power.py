"""A fleet's devices in power hardware: what stands between their registers and the ports of the federate.

The scenario's devices are `scale` times as large as those of the bench: what they are told is divided by it, what they
say of themselves is multiplied. Devices that stand in no power hardware have a scale of 1, and the voltage that they
find.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from derloop.contract import FloatArray, Values
from derloop.kind import Context, Terminal
from hil.bench.file import Bench
from hil.bench.instruments import instruments_of
from hil.fleet.model import Functions
from hil.inverter.commands import Commands
from hil.inverter.measurements import Measurements, Nameplates
from hil.phil.interface import Powered, PowerInterface
from hil.phil.settings import PowerSettings
from hil.phil.stability import Answer, per_unit, steepest

if TYPE_CHECKING:
    from hil.frames.layout import Peer
    from hil.modbus.tap import Tap

SWITCHING_OFF = 8
"""Exchanges with a source: told, asked for errors, asked whether it is off, and all that again on a new connection."""


def power_of(
    bench: Bench,
    names: Sequence[str],
    terminals: Sequence[Terminal],
    context: Context,
    inverters: Functions,
    tap_of: Callable[[Peer], Tap],
) -> PowerInterface | None:
    """Return the power interface of a fleet; None where its devices stand in no power hardware.

    tap_of: what hears what is said to each instrument.
    """
    wired = [power for name in names if (power := bench.device(name).power) is not None]
    if len(wired) < len(names):
        return None
    devices = [
        Powered(name, power, _source_pu(terminal, context), _answer(inverters, index), _nodes(terminal))
        for index, (name, power, terminal) in enumerate(zip(names, wired, terminals, strict=True))
    ]
    beside = [each.power for name, each in bench.file.devices.items() if each.power is not None and name not in names]
    instruments = instruments_of(bench.file.instruments, wired, bench.path.parent, beside, tap_of)
    return PowerInterface(devices, instruments, context.step_ns / 1e9)


def settling_s(bench: Bench, names: Sequence[str]) -> float:
    """Return for how long devices are waited for once they have power."""
    return max((power.settle_s for name in names if (power := bench.device(name).power) is not None), default=0.0)


def leaving_s(bench: Bench, names: Sequence[str]) -> float:
    """Return how long it may take to switch off what gives devices power, one source after the other."""
    wired = [power for name in names if (power := bench.device(name).power) is not None]
    used = {power.ac_source for power in wired} | {power.dc.source for power in wired if power.dc is not None}
    return SWITCHING_OFF * sum(bench.file.instruments[name].deadline_s for name in used)


def _answer(inverters: Functions, index: int) -> Answer:
    """Return how a device answers its voltage by the curves that the scenario gives it, at their steepest."""
    curve, p_per_v = inverters.volt_var, 0.0
    if inverters.has("volt_watt"):
        numbers = {name: float(values[index]) for name, values in inverters.numbers("volt_watt").items()}
        p_per_v = steepest((numbers["v1_pu"], numbers["v2_pu"]), (numbers["p1_pu"], numbers["p2_pu"]))
    return Answer(p_per_v, 0.0 if curve is None else steepest(curve.v_pu, curve.q_pu))


def _nodes(terminal: Terminal) -> frozenset[tuple[str, int]]:
    return frozenset((terminal.bus, phase) for phase in terminal.phases)


def _source_pu(terminal: Terminal, context: Context) -> complex:
    """Return what stands behind a device in the feeder, in pu of the scenario's device."""
    assert context.feeder
    v_ln_v = 1000 * context.feeder.buses[terminal.bus].kv_ln
    ohm = context.feeder.source_impedance_ohm(terminal.bus, terminal.phases)
    return per_unit(ohm, v_ln_v, 1000 * terminal.rated_kva, len(terminal.phases))


def scales(wired: Sequence[PowerSettings | None]) -> FloatArray:
    """Return how many times as large as the bench's the scenario's devices are (n,)."""
    return np.array([1.0 if power is None else power.scale for power in wired])


def enlarged(plate: Nameplates, scale: FloatArray) -> Nameplates:
    """Return the nameplates (n,) of the devices that those of the bench stand for; voltages are not scaled."""
    powers = [f.name for f in fields(plate) if f.name != "v_nominal_v"]
    return replace(plate, **{name: scale * getattr(plate, name) for name in powers})


def reduced(commands: Commands, scale: FloatArray) -> Commands:
    """Return what the devices of the bench are told (n,) where those that they stand for are told `commands`."""
    p_w, q_var = commands.p_w, commands.q_var
    return replace(commands, p_w=None if p_w is None else p_w / scale, q_var=None if q_var is None else q_var / scale)


def seen_by_feeder(
    measured: Measurements, ages_s: FloatArray, scale: FloatArray, power: PowerInterface | None
) -> tuple[Measurements, FloatArray]:
    """Return what the feeder sees of devices (n,), and how old that is, s."""
    if power is None:
        return replace(measured, p_w=scale * measured.p_w, q_var=scale * measured.q_var), ages_s
    seen = power.seen(measured.p_w, measured.q_var, monotonic() - ages_s)
    return replace(measured, p_w=seen.p_w, q_var=seen.q_var), monotonic() - seen.at_s


def voltages(inputs: Values, count: int) -> tuple[FloatArray, FloatArray | None]:
    """Return the voltages (n,), pu, and the frequencies (n,), Hz, that the federation has for devices."""
    return inputs.get("v_pu", np.ones(count)), inputs.get("f_hz")
