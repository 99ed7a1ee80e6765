"""What the model of a fleet offers, so that devices can take its place: its functions, its storage, its ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derloop.contract import Federate, FloatArray, Interface, Port, Values
from derloop.kind import Context, PlaceError, Terminal

TOLD = ("p_kw", "q_kvar", "soc_pu", "stored_kwh", "p_max_kw", "p_min_kw")
"""The outputs of a model that a device can tell too."""
POWERS = ("p_kw", "q_kvar")
REACHED, AGE = "reached", "age_s"
"""Input: whether registers are exchanged with a device in this step, 1 or 0. Output: how old its measurements are."""

GIVEN = ("constant_pf", "constant_q", "active_power_limit", "volt_watt", "frequency_droop", "watt_var")
"""The functions of a scenario's `smart` that equipment is given, beside the volt-var curve."""


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

    def set_maxima(self, s_pu: FloatArray, q_injected_pu: FloatArray, q_absorbed_pu: FloatArray) -> None:
        """Keep to these parts (n,) of the rated apparent power and of the most reactive powers from now on."""
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
    def charge_kw(self) -> FloatArray:
        """With how much it can be charged (n,)."""
        ...

    @property
    def discharge_kw(self) -> FloatArray: ...
    @property
    def soc_min_pu(self) -> float: ...
    @property
    def soc_max_pu(self) -> float: ...


@runtime_checkable
class HasStorage(Protocol):
    """A model of devices that store energy."""

    @property
    def storage(self) -> Storage: ...


def with_inverters(model: Federate) -> InverterModel:
    if not isinstance(model, HasInverters):
        raise PlaceError([(("via",), "this kind has no functions that can be set over Modbus")])
    return model


def told_outputs(model: Interface) -> dict[str, Port]:
    """Return the outputs of a model that devices in its place have too; an engine stores heat, of which none tells."""
    told = TOLD if "soc_pu" in model.outputs else [name for name in TOLD if name != "stored_kwh"]
    return {name: port for name, port in model.outputs.items() if name in told}


FILLING_S = 0.05
"""For how long, at most, a device's registers are filled and it is found over Modbus, on a slow and busy machine."""


def told_interface(model: Interface) -> Interface:
    """Return the ports of a model that devices in its place have too, in lock-step, and those of the wires to them."""
    told = told_outputs(model)
    labels = next(iter(told.values())).labels
    inputs = {**model.inputs, REACHED: Port("1", labels, otherwise=1.0)}
    outputs, start_s = {**told, AGE: Port("s", labels)}, FILLING_S * len(labels)
    return Interface(model.step_ns, inputs, outputs, repeatable=False, blocking=True, start_s=start_s)


class Connections(NamedTuple):
    """How n devices are connected, as they say it of themselves."""

    phases: tuple[int, ...]
    """How many they have. One between two phases has a single one, and no neutral."""
    v_nominal_v: FloatArray
    """Line to neutral (n,), V; between the phases where a device stands between two."""


def connections(terminals: tuple[Terminal, ...], context: Context) -> Connections:
    """Return how devices are connected to their buses."""
    assert context.feeder
    buses = [context.feeder.buses[terminal.bus] for terminal in terminals]
    counts = np.array([len(terminal.phases) for terminal in terminals])
    between = (counts == 2) & np.array([bus.is_between_phases for bus in buses])
    v_ln_v = np.array([1000 * bus.kv_ln for bus in buses])
    return Connections(tuple(np.where(between, 1, counts).tolist()), np.where(between, 3**0.5, 1.0) * v_ln_v)


class Takes:
    """Between what the devices of a fleet take power setpoints: they refuse others, which a model cuts."""

    def __init__(self, model: InverterModel, terminals: Sequence[Terminal]) -> None:
        charge_kw = model.storage.charge_kw if isinstance(model, HasStorage) else np.zeros(len(terminals))
        self._p_kw = -charge_kw, np.array([terminal.rated_kva for terminal in terminals])

    def within(self, inputs: Values) -> Values:
        """Return inputs whose setpoints devices take."""
        if (p_set_kw := inputs.get("p_set_kw")) is None:
            return inputs
        return {**inputs, "p_set_kw": np.clip(p_set_kw, *self._p_kw)}
