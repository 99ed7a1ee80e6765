"""What can be operated in a feeder: switches, tap changers and capacitor banks, by the names that its file gives them.

A line that the file does not enable is an open switch where it is operated, and a bank is out. Taps are the numbers of
OpenDSS's regulators, counted from the middle of their range: 0 is neutral, 16 raises by 10 %, where the file does not
say otherwise. A capacitor bank has as many steps as the file says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StringConstraints

from derloop.contract import FloatArray
from derloop.errors import did_you_mean
from derloop.kind import Settings
from federates.fleets import Path, Problems
from federates.grid import circuit, inventory
from federates.grid.solver import Solver
from federates.grid.switching import admit, switch_line

BoolArray = NDArray[np.bool_]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200)]
LOCKED = 0
"""The most that a regulator moves at once, as OpenDSS has it, where it does not move."""


class OperatedSettings(Settings):
    """What others may operate in the feeder."""

    switches: tuple[Pattern, ...] = Field(
        default=(),
        max_length=1000,
        description="Globs of lines that are switches: input `switch_set`, 1 closed, 0 open.",
        examples=[["sw_*"]],
    )
    regulators: tuple[Pattern, ...] = Field(
        default=(), max_length=1000, description="Globs of tap changers' controls: input `tap_set`.", examples=[["rg*"]]
    )
    capacitors: tuple[Pattern, ...] = Field(
        default=(),
        max_length=1000,
        description="Globs of capacitor banks: input `capacitor_set`, steps in.",
        examples=[["*"]],
    )
    local_after_s: float | None = Field(
        default=None,
        gt=0.0,
        le=1e7,
        description="Tap changers and capacitor banks go back to the file's own controls when commands are older than "
        "this, s; the input `commanded_at_s` says how old they are. Without it, they wait for ever.",
        examples=[900.0],
    )


def matching(patterns: Sequence[str], names: Sequence[str], what: str, path: Path) -> tuple[tuple[str, ...], Problems]:
    """Return the names that fit a pattern, in their own order and lower case; and the patterns that fit none."""
    known = [name.lower() for name in names]
    fitting = [[name for name in known if fnmatchcase(name, pattern.lower())] for pattern in patterns]
    problems: Problems = [
        ((*path, i), f"the feeder has no {what} {pattern!r}" + did_you_mean(pattern, known))
        for i, pattern in enumerate(patterns)
        if not fitting[i]
    ]
    found = {name for names in fitting for name in names}
    return tuple(name for name in known if name in found), problems


class Apparatus:
    """Switches, tap changers and capacitor banks of a feeder that are operated."""

    def __init__(self, solver: Solver, settings: OperatedSettings, relayed: Sequence[str]) -> None:
        """relayed: lower-case names of further lines that are switches, because something opens them."""
        self._solver, self._dss = solver, solver.dss
        at: Path = ("operated",)
        self.switches, problems = matching(settings.switches, inventory.lines(solver), "line", (*at, "switches"))
        regulators, missing = matching(
            settings.regulators, inventory.regulators(solver), "regulator", (*at, "regulators")
        )
        banks = self._dss.Capacitors.AllNames() if self._dss.Capacitors.Count() else []
        self.capacitors, lost = matching(settings.capacitors, banks, "capacitor", (*at, "capacitors"))
        self.problems = [*problems, *missing, *lost]
        """What is named and is not there."""
        for name in self.capacitors:
            self._admit_bank(name)
        self.regulators = regulators
        self._numbers = [[n.lower() for n in inventory.regulators(solver)].index(name) for name in regulators]
        self._bank_controls = self._enabled_capacitor_controls()
        self._most_changes = [self._most_change(index) for index in range(len(inventory.regulators(solver)))]
        self.movable = (*self.switches, *(name for name in relayed if name not in self.switches))
        """Every switch that may move."""
        self.closed_in_file = np.array([inventory.is_closed(solver, name) for name in self.movable], dtype=np.bool_)
        admit(solver, np.array(self.movable)[~self.closed_in_file].tolist() if self.movable else [])

    # --- switches ------------------------------------------------------------------------------------

    def switch(self, names: Iterable[str], closed: Iterable[bool]) -> None:
        """Open or close; the solver's `rearrange` must follow."""
        for name, is_closed in zip(names, closed, strict=True):
            switch_line(self._solver, name, bool(is_closed))

    # --- tap changers --------------------------------------------------------------------------------

    def taps(self) -> FloatArray:
        """Return the tap numbers of those that are operated."""
        return self._solver.positions.taps()[self._numbers]

    def limit_taps(self) -> tuple[FloatArray, FloatArray]:
        """Return the lowest and the highest tap number of those that are operated."""
        found = [self._tap_range(number) for number in self._numbers]
        return np.array([low for low, _ in found]), np.array([high for _, high in found])

    def _tap_range(self, number: int) -> tuple[float, float]:
        controls = self._dss.RegControls
        controls.Idx(number + 1)
        name, winding = self._regulated(), controls.TapWinding() or controls.Winding()
        self._dss.Text.Command(f'Edit "{name}" wdg={winding}')
        told = inventory.properties(self._solver, name, ("mintap", "maxtap", "numtaps"))
        least, most, count = map(float, told)
        step, middle = (most - least) / count, (most + least) / 2.0
        return round((least - middle) / step), round((most - middle) / step)

    def _regulated(self) -> str:
        """Return the full name of what the active tap changer moves: a transformer, or an autotransformer."""
        name = self._dss.RegControls.Transformer()
        of_class = "Transformer" if self._dss.Circuit.SetActiveElement(f"Transformer.{name}") >= 0 else "AutoTrans"
        return f"{of_class}.{name}"

    def set_taps(self, taps: FloatArray) -> None:
        """Move those that are operated to these tap numbers, as far as they go."""
        for number, tap, now in zip(self._numbers, taps, self.taps(), strict=True):
            if tap != now:
                self._dss.RegControls.Idx(number + 1)
                self._dss.RegControls.TapNumber(int(tap))

    def rest_regulators(self, resting: BoolArray) -> None:
        """Let these tap changers of all that the feeder has (regulators,) stay where they are; the others act.

        They do so as the file has it: one that it locks stays locked.
        """
        for index, (rests, most) in enumerate(zip(resting, self._most_changes, strict=False)):
            self._dss.RegControls.Idx(index + 1)
            self._dss.RegControls.MaxTapChange(LOCKED if rests else most)

    def _most_change(self, index: int) -> int:
        """Return how many taps the file lets one of all tap changers move at once."""
        self._dss.RegControls.Idx(index + 1)
        return int(self._dss.RegControls.MaxTapChange())

    def operated_regulators(self) -> BoolArray:
        """Return which of all tap changers (regulators,) are operated."""
        return np.isin(np.arange(len(inventory.regulators(self._solver))), self._numbers)

    def regulated_buses(self) -> tuple[tuple[str, ...], ...]:
        """Return the lower-case buses of each of all tap changers: its winding's, and the one that it looks at."""
        return tuple(self._regulated_buses(index) for index in range(len(inventory.regulators(self._solver))))

    def _regulated_buses(self, index: int) -> tuple[str, ...]:
        controls: Any = self._dss.RegControls
        controls.Idx(index + 1)
        winding, looked_at = controls.Winding(), str(controls.MonitoredBus())
        self._dss.Circuit.SetActiveElement(self._regulated())
        own = str(self._dss.CktElement.BusNames()[winding - 1])
        return tuple(bus.split(".")[0].lower() for bus in (own, looked_at) if bus)

    # --- capacitor banks -----------------------------------------------------------------------------

    def capacitor_steps(self) -> FloatArray:
        """Return how many steps of each operated bank are in."""
        return np.array([float(sum(self._states(name))) for name in self.capacitors])

    def most_steps(self) -> FloatArray:
        return np.array([float(len(self._states(name))) for name in self.capacitors])

    def _states(self, name: str) -> list[int]:
        """Make a bank the active one; return which of its steps are in."""
        self._dss.Capacitors.Name(name)
        *states, is_open = circuit.bank(self._dss)
        return [0] * len(states) if is_open else states

    def _admit_bank(self, name: str) -> None:
        """Let a bank that the file does not enable be one that is out, so that it can be put in."""
        states = self._states(name)
        if not self._dss.CktElement.Enabled():
            self._dss.CktElement.Enabled(True)
            circuit.set_bank(self._dss, [*(0 for _ in states), 0])

    def set_capacitors(self, steps: FloatArray) -> None:
        """Have so many steps of each operated bank in."""
        for name, wanted in zip(self.capacitors, steps, strict=True):
            states = self._states(name)
            if sum(states) != int(wanted):
                circuit.set_bank(self._dss, [*(int(i < wanted) for i in range(len(states))), 0])

    def rest_capacitors(self, resting: BoolArray) -> None:
        """Let these controls of banks (controls,) rest, and the others act: of those that the file enables."""
        for index, rests in zip(self._bank_controls, resting, strict=False):
            self._dss.CapControls.Idx(index + 1)
            self._dss.Circuit.SetActiveElement(f"CapControl.{self._dss.CapControls.Name()}")
            self._dss.CktElement.Enabled(not rests)

    def operated_capacitors(self) -> BoolArray:
        """Return which of the controls of banks (controls,) that the file enables are of operated banks."""
        return np.array([self._bank_of(index) in self.capacitors for index in self._bank_controls], np.bool_)

    def local_capacitors(self) -> tuple[str, ...]:
        """Return the lower-case names of the banks that controls of the file move, and nobody else does."""
        banks = dict.fromkeys(self._bank_of(index) for index in self._bank_controls)
        return tuple(bank for bank in banks if bank not in self.capacitors)

    def banked_buses(self) -> tuple[tuple[str, ...], ...]:
        """Return the lower-case buses of each of these controls: its bank's, and that at which it looks."""
        return tuple(self._banked_buses(index) for index in self._bank_controls)

    def _banked_buses(self, index: int) -> tuple[str, ...]:
        bank, controls = self._bank_of(index), self._dss.CapControls
        ends = (f"Capacitor.{bank}", 1), (controls.MonitoredObj(), controls.MonitoredTerm())
        return tuple(self._bus_of(element, terminal) for element, terminal in ends)

    def _bus_of(self, element: str, terminal: int) -> str:
        self._dss.Circuit.SetActiveElement(element)
        return str(self._dss.CktElement.BusNames()[terminal - 1]).split(".")[0].lower()

    def _bank_of(self, index: int) -> str:
        """Make a control of banks the active one; return the lower-case name of its bank."""
        self._dss.CapControls.Idx(index + 1)
        return str(self._dss.CapControls.Capacitor()).lower()

    def _enabled_capacitor_controls(self) -> list[int]:
        """Return which controls of banks the file enables, counted from 0."""
        controls: Any = self._dss.CapControls
        found = []
        for index in range(controls.Count()):
            controls.Idx(index + 1)
            self._dss.Circuit.SetActiveElement(f"CapControl.{controls.Name()}")
            if self._dss.CktElement.Enabled():
                found.append(index)
        return found
