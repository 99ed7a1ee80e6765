"""A fleet's model behind real Modbus servers, spoken to as equipment is.

`"via": "emulator"`: each device of the fleet is a SunSpec server on a free port of 127.0.0.1, in lock-step with
simulated time; what is exchanged in a step is in `hil.lockstep`. The federate offers what a device can tell: `p_kw`,
`q_kvar`, and for a storage `soc_pu`, `p_max_kw` and `p_min_kw`. `"via": "emulator:FILE"` takes transport and quirks
from an emulator file in the scenario's folder.

`"via": "served"`: the same servers on the clock of the wall, for clients from outside (`hil.serving.open_fleet`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derloop.contract import Federate, FloatArray, Interface, Values
from derloop.errors import ScenarioError, did_you_mean
from derloop.kind import Context, PlaceError, Settings, Terminal

if TYPE_CHECKING:
    from hil.lockstep import Lockstep
    from hil.serving.file import FleetEntry
    from hil.serving.open_fleet import OpenFleet

TOLD = ("p_kw", "q_kvar", "soc_pu", "p_max_kw", "p_min_kw")
"""The outputs of a model that a device can tell too."""


class Curve(Protocol):
    @property
    def v_pu(self) -> tuple[float, ...]: ...
    @property
    def q_pu(self) -> tuple[float, ...]: ...
    @property
    def response_s(self) -> float: ...


class Smart(Protocol):
    """What the settings say that concerns every function."""

    @property
    def f_nominal_hz(self) -> float: ...
    @property
    def needs_frequency(self) -> bool: ...
    @property
    def permit_service(self) -> bool: ...
    @property
    def q_injected_max_pu(self) -> float: ...
    @property
    def q_absorbed_max_pu(self) -> float: ...


class Functions(Protocol):
    """The smart-inverter functions of n devices, which can be set while they run, as by a write from outside."""

    @property
    def smart(self) -> Smart: ...

    @property
    def volt_var(self) -> Curve | None:
        """The curve that the scenario asks for."""
        ...

    @property
    def in_service(self) -> NDArray[np.bool_]:
        """Who is in service (n,)."""
        ...

    def has(self, function: str) -> bool:
        """Whether the scenario switches `function` on."""
        ...

    def numbers(self, function: str) -> Mapping[str, FloatArray]:
        """Return every number (n,) of `function` as it is set, or its default where it is not."""
        ...

    def check(self, function: str, **numbers: float) -> None:
        """Raise ValueError for numbers of one device that `adjust` would not take."""
        ...

    def adjust(self, function: str, on: ArrayLike = True, **changes: ArrayLike) -> None:
        """Use these numbers from now on, where the function is `on` (n,). Raises ValueError out of range."""
        ...

    def set_permit_service(self, permitted: ArrayLike) -> None:
        """Permit service, or not (n,)."""
        ...

    def set_volt_var(self, on: FloatArray, v_pu: FloatArray, q_kvar: FloatArray, response_s: ArrayLike) -> None:
        """Use these curves from now on: v_pu and q_kvar (n, k), on (n,) 0 or 1, response_s (n,)."""
        ...


@runtime_checkable
class HasInverters(Protocol):
    """A model of devices that have inverters."""

    @property
    def inverters(self) -> Functions: ...


class InverterModel(HasInverters, Federate, Protocol):
    """A federate with inverters."""


class Storage(Protocol):
    @property
    def energy_kwh(self) -> FloatArray:
        """From empty to full (n,)."""
        ...

    @property
    def soc_min_pu(self) -> float: ...
    @property
    def soc_max_pu(self) -> float: ...


@runtime_checkable
class HasStorage(Protocol):
    """A model of devices that store energy."""

    @property
    def storage(self) -> Storage: ...


def emulator(
    model: Federate, settings: Settings, terminals: tuple[Terminal, ...], argument: str, context: Context
) -> EmulatedFleet:
    """Put `model` behind Modbus servers in lock-step; `argument`, if any, is an emulator file that says how.

    Raises PlaceError for a model that cannot be steered through registers, and for a file that is wrong.
    """
    del settings
    entry = _entry(argument, context, others_too=False)
    return EmulatedFleet(with_inverters(model), terminals, context, entry)


def served(
    model: Federate, settings: Settings, terminals: tuple[Terminal, ...], argument: str, context: Context
) -> OpenFleet:
    """Put `model` behind Modbus servers on the clock of the wall, for clients from outside to command.

    Raises PlaceError as `emulator` does.
    """
    from hil.serving.open_fleet import OpenFleet

    del settings
    entry = _entry(argument, context, others_too=True)
    return OpenFleet(with_inverters(model), terminals, nominal_voltages(terminals, context), entry)


def with_inverters(model: Federate) -> InverterModel:
    if not isinstance(model, HasInverters):
        raise PlaceError([(("via",), "this kind has no functions that can be set over Modbus")])
    return model


def _entry(argument: str, context: Context, *, others_too: bool) -> FleetEntry:
    """Return how the emulator file `argument` has this fleet served; plainly where none is named.

    others_too: a fleet that the file does not name is served plainly, if the file names none.
    """
    from hil.serving.file import FleetEntry, read_inside

    if not argument:
        return FleetEntry()
    try:
        fleets = read_inside(argument, context.folder).fleets
    except ScenarioError as error:
        raise PlaceError([(("via",), f"{argument}{p.pointer}: {p.what}") for p in error.problems]) from error
    if context.name in fleets:
        return fleets[context.name]
    if others_too and not fleets:
        return FleetEntry()
    what = f"{argument} has no fleet {context.name!r}{did_you_mean(context.name, tuple(fleets))}"
    raise PlaceError([(("via",), what)])


class EmulatedFleet:
    """n devices: each a model behind a Modbus server of its own, and a client that takes it for equipment."""

    def __init__(
        self, model: InverterModel, terminals: tuple[Terminal, ...], context: Context, entry: FleetEntry
    ) -> None:
        self._model, self._terminals, self._entry, self._name = model, terminals, entry, context.name
        self._v_nominal_v = nominal_voltages(terminals, context)
        self._interface = told_interface(model.interface)
        self._folder: Path | None = None
        self._lockstep: Lockstep | None = None

    @property
    def interface(self) -> Interface:
        return self._interface

    def keep_in(self, folder: Path) -> None:
        """Keep every frame in the run's folder."""
        self._folder = folder

    def start(self) -> Values:
        """Start the servers, discover the devices, and give them their curve over Modbus."""
        from hil.counterpart import Emulated  # what speaks Modbus, not before a run begins
        from hil.frames.journal import journal_path
        from hil.lockstep import Lockstep
        from hil.registered import RegisteredFleet

        labels = [terminal.label for terminal in self._terminals]
        fleet = RegisteredFleet(self._model, self._terminals, self._v_nominal_v, self._entry.profiles_for(labels))
        frames = None if self._folder is None else journal_path(self._folder, self._name)
        self._lockstep = Lockstep(Emulated(fleet, self._entry), self._model, labels, self._entry.timing, frames)
        return self._lockstep.start()

    def step(self, now_ns: int, inputs: Values) -> Values:
        assert self._lockstep
        return self._lockstep.step(now_ns, inputs)

    def stop(self) -> None:
        if self._lockstep:
            self._lockstep.stop()
        self._model.stop()

    def statistics(self) -> Mapping[str, float]:
        """Return what went over the wire."""
        return self._lockstep.statistics() if self._lockstep else {}


def told_interface(model: Interface) -> Interface:
    """Return the ports of a model that devices in its place have too, in lock-step."""
    told = {name: port for name, port in model.outputs.items() if name in TOLD}
    return Interface(model.step_ns, model.inputs, told, repeatable=False, blocking=True)


def nominal_voltages(terminals: tuple[Terminal, ...], context: Context) -> FloatArray:
    """Return the line-to-neutral voltage (n,) of each device's bus, V."""
    assert context.feeder
    buses = context.feeder.buses
    return np.array([1000 * buses[t.bus].kv_ln for t in terminals])
