"""The voltage source of the feeder's file, whose magnitude may come from a bus that feeds it."""

from __future__ import annotations

from typing import Final

from derloop.contract import Port, Values
from federates.grid import inventory
from federates.grid.setpoints import Sources
from federates.grid.solver import Solver

PORT: Final = "source_v_pu"
SOURCE: Final = "source"
"""What OpenDSS calls the source that comes with a circuit."""


class Head:
    """The one source of a feeder's file. Where nobody says otherwise it stays as the file has it.

    It is given to OpenDSS where it has moved: that is asked at each step, in most of which it has not.
    """

    def __init__(self, solver: Solver) -> None:
        self._in_file = inventory.head_source(solver)
        self._sources: Sources | None = None
        self._v_pu = self._in_file[0]

    @property
    def inputs(self) -> dict[str, Port]:
        return {PORT: Port("pu", ("source",), "coupled", self._in_file[0])}

    def attach(self, solver: Solver) -> None:
        """Be given from now on: once the list of elements is final."""
        self._sources = Sources(solver.dss, [SOURCE])
        self._sources.v_pu[:], self._sources.angle_deg[:] = self._in_file

    def write(self, inputs: Values) -> None:
        """Let the magnitude behind the source's impedance be what the input says, pu."""
        if self._sources is not None and PORT in inputs and inputs[PORT][0] != self._v_pu:
            self._sources.v_pu[:] = self._v_pu = inputs[PORT][0]
            self._sources.write()
