"""What a federate is: the contract that every engine drives and every kind of federate fulfils.

Everything else in the house depends on this file; it depends on nothing but numpy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol, Self, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Values = Mapping[str, FloatArray]
"""One array for each port, as long as the port has labels."""

Arrival = Literal["now", "before", "coupled"]
"""What an input sees of its source unless the scenario's wire says otherwise.

- `now`: the value of this instant (the source is stepped first);
- `before`: the last value before this instant (a control acts on what was measured);
- `coupled`: the scenario's `coupling` decides, as for a device and its feeder, which bear on each other
  within one instant: delayed by a step, or converged.
"""
ARRIVALS: tuple[Arrival, ...] = get_args(Arrival)


@dataclass(frozen=True, slots=True)
class Port:
    """One named quantity at the edge of a federate: a vector with one element for each label."""

    unit: str
    """"kW", "kvar", "pu", "Hz", "W/m2", "degC", "1" ..."""
    labels: tuple[str, ...]
    """What each element is: "pv_3", "671.2" ..."""
    arrival: Arrival = "now"
    """Only for inputs."""
    otherwise: float | None = None
    """Only for inputs: what each element is where no wire ends; None: one must."""

    @property
    def size(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Balance:
    """What a federate conserves: what enters it, less what leaves it, is what it stores more.

    Every run recomputes it from what was recorded, at each instant and over the whole. Named are ports of the
    federate: outputs, or inputs, which stand for what their source was recorded to give. A power holds from its
    instant until the next, unless it is named in `passed`; a store is the state at its instant, in the power's unit
    times hours.
    """

    quantity: str
    """"energy", "heat", "power" ..."""
    enters: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    """Leaves too, and is never negative: a loss that is would be energy from nowhere."""
    stored: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    """Those of the ports above whose values are means over the step that has just passed."""
    partner: str = ""
    """The federate with which it is, where it is about what two of them say of one thing."""
    whole: bool = False
    """Summed over all elements of each port; otherwise element by element, and the ports must be equally long."""
    tolerance: float = 1e-9
    """How far it may be open, relative to the largest term."""
    times: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Factors, one for each element, of ports that are in another unit: a state of charge times its capacity."""
    resolution: tuple[float, ...] = ()
    """What the federate's values cannot tell, for each element, in the power's unit: allowed besides."""

    @property
    def powers(self) -> tuple[str, ...]:
        return (*self.enters, *self.leaves, *self.lost)


@dataclass(frozen=True, slots=True)
class Interface:
    """How a federate is stepped and what it exchanges. It does not change during a run."""

    step_ns: int
    inputs: Mapping[str, Port] = field(default_factory=dict)
    outputs: Mapping[str, Port] = field(default_factory=dict)
    repeatable: bool = True
    """May be stepped again for the same instant: it then starts from its state at the last instant."""
    blocking: bool = False
    """Waits on sockets or hardware, and so gets a thread of its own, in which all its steps are taken."""
    balances: tuple[Balance, ...] = ()
    """What can be proven of it from what was recorded."""
    paced: bool = False
    """Lives in wall-clock time: hardware, or an emulator on its own clock. Its run is held to the wall clock.

    Its output `age_s`, if it has one, in seconds, is how old each of its measurements was when its step returned:
    elements labelled as those of its other outputs, or one for all of them. Its output `unproven`, if it has one, is
    above 0 for an element whose commands do not show in what it measures: no verdict can rest on that.
    """

    start_s: float = 0.0
    """How long starting may take beyond what it may take others: equipment that has been energised is waited for."""
    stop_s: float = 0.0
    """How long stopping may take beyond what it may take others: equipment is left as it was found, and verified."""


class Bundle(dict[str, FloatArray]):
    """An array of zeros for each port, all of them parts of one `vector`, in the order of the ports.

    A federate that returns the same bundle each time, and writes into it in place, spares a run to copy and to check
    each port by itself: on a small scenario that costs more than the models do. What is assigned, `bundle["p_kw"] =
    p_kw`, or updated, `bundle |= values`, is copied into its part; KeyError for a port that has none, ValueError for
    one of another size, and for what would become a number without being one: text, complex, or masked values.
    """

    __slots__ = ("vector",)

    def __init__(self, ports: Mapping[str, Port]) -> None:
        edges = np.cumsum([0, *(port.size for port in ports.values())]).tolist()
        self.vector = np.zeros(edges[-1])
        super().__init__(zip(ports, (self.vector[first:last] for first, last in pairwise(edges)), strict=True))

    def __setitem__(self, port: str, value: FloatArray) -> None:
        part = self[port]
        if value.shape != part.shape:
            raise ValueError(f"{port!r} has shape {value.shape}, its part in the bundle {part.shape}")
        if type(value) is not np.ndarray or value.dtype.kind not in "fiub":
            _require_numbers(port, value)
        part[...] = value

    def update(self, values: Values) -> None:  # type: ignore[override]
        for port, value in values.items():
            self[port] = value

    def __ior__(self, values: Values) -> Self:  # type: ignore[override, misc]
        self.update(values)
        return self


def _require_numbers(port: str, value: FloatArray) -> None:
    if value.dtype.kind not in "fiub":
        raise ValueError(f"{port!r} is an array of {value.dtype}, not one of numbers")
    if isinstance(value, np.ma.MaskedArray) and value.mask.any():
        raise ValueError(f"{port!r} has no value where it is masked")


class Federate(Protocol):
    """A group of devices of one kind (or a grid, or a control) that advances in time steps.

    It knows nothing of the engine that drives it, nor of the other federates.

    - Time is integer nanoseconds since the scenario's start.
    - `inputs` are read-only views that hold during the call; copy what is kept.
    - Outputs may be the same arrays each time; whoever moves them copies them. A `Bundle` is moved at the least cost.
    - A second `step` for the same instant starts from the state at the last instant; the last call counts.
    """

    @property
    def interface(self) -> Interface: ...

    def start(self) -> Values:
        """Open what is needed; return the outputs that hold before the first step."""
        ...

    def step(self, now_ns: int, inputs: Values) -> Values:
        """Return the outputs at `now_ns`."""
        ...

    def stop(self) -> None:
        """Leave everything safe and closed. Called once, also after a failure, also of `start`."""
        ...

    # A federate may also have `statistics`: see `Statistics`; `answers`: see `Answering`; `iterate`: see `Iterating`;
    # `keep_in`: see `Keeping`; `cautions`: see `Cautious`; a state that can be taken and put back: see
    # `derloop.memory`.


class Statistics(Protocol):
    """What a federate can add to a run's summary once the run is over: counts, sums, worst cases."""

    def statistics(self) -> Mapping[str, float]: ...


@runtime_checkable
class Keeping(Protocol):
    """What a federate has that leaves files of its own beside the series: the frames of every exchange ..."""

    def keep_in(self, folder: Path) -> None:
        """Keep them below the run's `folder`. Called once, before `start`."""
        ...


@runtime_checkable
class Cautious(Protocol):
    """What a federate has of which somebody must know before a run begins."""

    @property
    def cautions(self) -> Sequence[str]:
        """What must be said: that nothing would stop equipment should the run die ... Known before `start`."""
        ...


@dataclass(frozen=True, slots=True)
class Jacobian:
    """How outputs answer small changes of inputs within an instant: d output = left @ (sum of right @ d input).

    Ports of which nothing is known are left out.
    """

    rank: int
    left: dict[str, FloatArray]
    """For each output, (size, rank)."""
    right: dict[str, FloatArray]
    """For each input, (rank, size)."""


@runtime_checkable
class Answering(Protocol):
    """What a federate can add for a converged loop: a first guess of its answers, right to some ten per cent."""

    def answers(self, inputs: Sequence[str], outputs: Sequence[str]) -> Jacobian:
        """Return how these outputs answer these inputs. Called once, after `start`."""
        ...


@runtime_checkable
class Iterating(Protocol):
    """What a federate can add for a converged loop, which steps it several times for one instant. The last one counts.

    Where the loop reads no more of it than `iterated`, each pass is an `iterate` in the place of a `step`, and
    `conclude` follows the last one: what only others read is so computed once.
    """

    def iterated(self) -> Collection[str]:
        """Return which outputs are right after a pass. Called once, after `start`."""
        ...

    def iterate(self, now_ns: int, inputs: Values) -> Values:
        """As `step`, with all outputs; but those that are not `iterated` may be of an earlier instant."""
        ...

    def conclude(self) -> Values:
        """Return all outputs at the instant of the last pass."""
        ...


def interface_to_json(interface: Interface) -> dict[str, Any]:
    """Return `interface` as plain JSON values, for another process, which steps and has no balances to judge."""

    def ports(of: Mapping[str, Port]) -> dict[str, Any]:
        return {name: [port.unit, list(port.labels), port.arrival, port.otherwise] for name, port in of.items()}

    return {
        "step_ns": interface.step_ns,
        "inputs": ports(interface.inputs),
        "outputs": ports(interface.outputs),
        "repeatable": interface.repeatable,
        "blocking": interface.blocking,
        "paced": interface.paced,
        "start_s": interface.start_s,
        "stop_s": interface.stop_s,
    }


def interface_from_json(data: Mapping[str, Any]) -> Interface:
    """The inverse of `interface_to_json`, but for the balances."""

    def ports(of: Mapping[str, Any]) -> dict[str, Port]:
        return {name: Port(unit, tuple(labels), *asked) for name, (unit, labels, *asked) in of.items()}

    return Interface(
        data["step_ns"],
        ports(data["inputs"]),
        ports(data["outputs"]),
        data["repeatable"],
        data["blocking"],
        paced=data["paced"],
        start_s=data["start_s"],
        stop_s=data["stop_s"],
    )
