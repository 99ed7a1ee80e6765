"""What a feeder file has that is not followed, or cannot be meant so: told before a run."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from derloop.errors import some_of
from derloop.kind import FeederLoad
from federates.grid import inventory
from federates.grid.feeder import Feeder
from federates.grid.settings import OpenDssSettings
from federates.grid.solver import Solver

LEAST_DRAWN, MOST_DRAWN = 0.5, 2.0
"""Of what a load is said to draw: what is beyond is no matter of the feeder's voltages."""


class Cautions:
    """What moves over time in the file, and stands still here; loads and voltage bases that it cannot mean so."""

    def __init__(self, settings: OpenDssSettings, feeder: Feeder, driven: Collection[str]) -> None:
        """feeder: solved as its file stands. driven: its loads that federates drive."""
        self._solver, self._driven = feeder.solver, {f"load.{name}" for name in driven}
        self._timed = _timed(settings, feeder)
        self._off_base = _off_base(feeder.loads.values(), feeder.solver)

    def told(self, name: str) -> tuple[str, ...]:
        """Return what must be said of the feeder `name`."""
        shaped = [element for element in inventory.shaped(self._solver) if element not in self._driven]
        storing = inventory.storing(self._solver)
        said = {
            "have shapes over time (daily, yearly, duty) in the feeder file, which are not followed": shaped,
            "charge or discharge all along, as the feeder file has them: nothing counts their energy": storing,
            "switch by the time of day, which stands still in the feeder: their banks stay as they are": self._timed,
        }
        off = "draw far from what the feeder file says, as it is solved: is their kV that of their bus, and it earthed?"
        said[off] = [f"load.{load} ({times:.2g} times)" for load, times in self._off_base]
        base = "have another base than the windings there, both to ground: is it among the VoltageBases, times 1.732?"
        rated = inventory.off_base(self._solver).items()
        said[base] = [f"{bus} ({kv:.4g} kV per unit of {base_kv:.4g})" for bus, (kv, base_kv) in rated]
        return tuple(f"{name}: {some_of(elements)} {what}" for what, elements in said.items() if elements)


def _timed(settings: OpenDssSettings, feeder: Feeder) -> list[str]:
    """Return the controls that act, and switch by the time of day."""
    if settings.regulators == "locked":
        return []
    told = feeder.apparatus.capacitors if settings.operated.local_after_s is None else ()
    return [name for name, bank in inventory.timed(feeder.solver).items() if bank not in told]


def _off_base(loads: Collection[FeederLoad], solver: Solver) -> list[tuple[str, float]]:
    """Return the loads that draw far from what they are to, and how many times that: the feeder solves with them so.

    As where their `kV` is not that of their bus: off by the root of three, OpenDSS has them as admittances.
    """
    number = {name: index for index, name in enumerate(solver.elements.names)}
    at = np.array([number[f"load.{load.name}"] for load in loads], np.intp)
    nominal_kva = np.abs([complex(load.kw, load.kvar) for load in loads])
    drawn_kva = np.abs(solver.elements.powers()[at])
    of_it = np.divide(drawn_kva, nominal_kva, out=np.ones(at.size), where=nominal_kva > 0.0)
    off = (of_it < LEAST_DRAWN) & (drawn_kva > 0.0) | (of_it > MOST_DRAWN)
    return [(load.name, float(times)) for load, times, is_off in zip(loads, of_it, off, strict=True) if is_off]
