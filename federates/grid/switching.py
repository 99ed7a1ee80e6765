"""What is switched in a feeder, and which of its nodes are connected then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from derloop.kind import Bus
from federates.grid import circuit
from federates.grid.conductors import Pairs, beyond_phases, conductors, coupling, parts
from federates.grid.engine import command
from federates.grid.served import Served
from federates.grid.solver import Solver


def admit(solver: Solver, lines: Sequence[str]) -> None:
    """Let lines that do not conduct be open switches, so that they can be closed; their buses are known then."""
    if not lines:
        return
    by_hand_kv = circuit.bases_by_hand_kv(solver.dss)
    for line in lines:
        command(solver.dss, f'Edit "Line.{line}" enabled=yes')
        command(solver.dss, f'Close "Line.{line}" 1')
        command(solver.dss, f'Close "Line.{line}" 2')
    command(solver.dss, "MakeBusList")
    command(solver.dss, "CalcVoltageBases")
    circuit.set_bases(solver.dss, by_hand_kv)
    for line in lines:
        command(solver.dss, f'Open "Line.{line}" 1')


def switch_line(solver: Solver, line: str, closed: bool) -> None:
    """Open or close all phases of a line. `Solver.rearrange` must follow, here and below."""
    command(solver.dss, f'{"Close" if closed else "Open"} "Line.{line}" 1')


def switch_sources(solver: Solver, names: Sequence[str], closed: Sequence[bool]) -> None:
    """Take voltage sources in or out of service; the feeder's head is called `source`."""
    for name, is_in in zip(names, closed, strict=True):
        command(solver.dss, f"Edit Vsource.{name} enabled={'yes' if is_in else 'no'}")


def switch_fault(solver: Solver, name: str, on: bool) -> None:
    """Let a fault that was added be there, or not."""
    command(solver.dss, f"Edit Fault.{name} enabled={'yes' if on else 'no'}")


class Arrangement:
    """Which nodes of a prepared solver are connected as it is switched now.

    Nothing is fed through a neutral: it is in the part in which the phases of its bus are.
    """

    def __init__(self, solver: Solver, buses: Mapping[str, Bus], served: Sequence[Served]) -> None:
        """served: who must know what is alive whenever that may have changed."""
        self._solver, self._served = solver, served
        number = {node: index for index, node in enumerate(solver.nodes)}
        led = [bus for bus in buses.values() if bus.neutral and bus.phases]
        self._neutrals = np.array([number[f"{bus.name}.{bus.neutral}"] for bus in led], np.intp)
        self._first_phases = np.array([number[f"{bus.name}.{bus.phases[0]}"] for bus in led], np.intp)
        self._joined, self._led = self._conductors(
            [(number[f"{bus.name}.{n}"], number[f"{bus.name}.{bus.neutral}"]) for bus in led for n in bus.phases]
        )

    def _conductors(self, led: Sequence[tuple[int, int]]) -> tuple[Pairs, Pairs]:
        """Return which nodes conductors join, neutrals left out; and each phase with its neutral, or star point.

        led: each phase of a bus to which a line brings a neutral, and this.
        """
        elements, to_neutral = self._solver.elements, np.array(led, np.intp).reshape(-1, 2).T
        joined, starred = conductors(self._solver.dss, [elements.names[i] for i in elements.delivery])
        alone = starred[:, ~np.isin(starred[1], joined)]
        stars = beyond_phases(self._solver.nodes, [*joined.flat, *to_neutral[1]])
        return joined[:, ~np.isin(joined, self._neutrals).any(0)], np.concatenate([to_neutral, alone, stars], axis=1)

    def parts(self) -> NDArray[np.intp]:
        """Take in what was switched; return the number of the connected part (nodes,) in which each node now is."""
        where, joined = self._solver.rearrange(), self._joined
        values, rows, starts = self._solver.dss.YMatrix.getYsparse(True)
        found = parts(where.size, joined[:, coupling(values, rows, starts, where[joined])])
        found[self._neutrals] = found[self._first_phases]
        return found

    def with_neutrals(self, alive: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which nodes (nodes,) are alive, where phases are known to be: a neutral is with any phase of its."""
        phases, neutrals = self._led
        alive[neutrals] = False
        np.logical_or.at(alive, neutrals, alive[phases])
        return alive

    def serve(self, alive: NDArray[np.bool_]) -> None:
        """Let everybody know which nodes (nodes,) are alive."""
        for each in self._served:
            each.serve(alive)
