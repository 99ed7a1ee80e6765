"""A solution that begins where it is expected ends where it would have, sooner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from derloop.contract import FloatArray
from derloop.memory import given, taken
from federates.grid.solver import Solver
from federates.grid.warm_start import WarmStart, _shares, is_worth

FEEDER = Path(__file__).parents[2] / "scenarios/feeders/ieee123/ieee123.dss"
BUSES = ("7", "35", "49", "65", "76", "83", "95", "108", "114")
TOLERANCE = 3e-10
AT = np.array([3, 60, 120, 200])


def prepared() -> Solver:
    """Return IEEE 123 with nine single-phase devices and its regulators at rest."""
    solver = Solver(FEEDER)
    for number, bus in enumerate(BUSES):
        solver.add_injection(f"pv_{number}", bus, [1], 2.4018)
    solver.prepare(controls=False, tolerance=TOLERANCE, max_iterations=100)
    return solver


def light(step: int) -> FloatArray:
    """Powers as under a sky that goes up and down within minutes, and of which each device sees more or less, kW."""
    return 40.0 + 8.0 * np.sin(step / 60 + np.arange(len(BUSES)) / 5)


class Stepped:
    """Devices, and how their feeder is solved, instant by instant."""

    def __init__(self) -> None:
        self.solver = prepared()
        self.setpoints = self.solver.injections([f"pv_{number}" for number in range(len(BUSES))])
        self.warm = WarmStart(self.solver, [self])

    def give(self, p_kw: FloatArray) -> None:
        self.setpoints.p_kw[:], self.setpoints.q_kvar[:] = p_kw, -0.2 * p_kw
        self.setpoints.write()

    def solve(self, p_kw: FloatArray, is_warm: bool = True) -> None:
        self.give(p_kw)
        if is_warm:
            self.warm.begin()
        self.solver.solve()
        self.warm.see()


def solved(powers_kw: Sequence[FloatArray], is_warm: bool) -> tuple[list[NDArray[np.complex128]], int]:
    """Return some nodes' voltages, V, of a solution for each of these powers, and how many iterations all took."""
    stepped, found, iterations = Stepped(), [], 0
    for p_kw in powers_kw:
        stepped.solve(p_kw, is_warm)
        found.append(stepped.solver.voltages()[AT].copy())
        iterations += stepped.solver.dss.Solution.Iterations()
    return found, iterations


def test_it_ends_at_the_same_voltages_after_two_thirds_of_the_iterations() -> None:
    powers = [light(step) for step in range(100)]
    cold, many = solved(powers, is_warm=False)
    warm, few = solved(powers, is_warm=True)
    assert few < 2 / 3 * many
    for one, other in zip(cold, warm, strict=True):
        assert np.abs(one - other).max() < 10 * TOLERANCE * 2401.8


def test_powers_that_jump_cost_few_iterations_more() -> None:
    """What is not like the last changes is not foretold, and what is foretold wrongly is found as before."""
    chance = np.random.default_rng(7)
    powers = [light(step) * chance.uniform(0, 1, len(BUSES)) for step in range(100)]
    cold, many = solved(powers, is_warm=False)
    warm, few = solved(powers, is_warm=True)
    assert few < 1.05 * many
    for one, other in zip(cold, warm, strict=True):
        assert np.abs(one - other).max() < 10 * TOLERANCE * 2401.8


def test_after_something_else_has_moved_it_begins_where_the_solver_is() -> None:
    stepped = Stepped()
    for step in range(4):
        stepped.solve(light(10 * step))
    before = stepped.solver.voltages().copy()
    stepped.give(light(40))
    stepped.warm.begin()
    assert np.abs(stepped.solver.voltages() - before).max() > 0.1  # V
    stepped.solver.begin_with(before)
    stepped.warm.leave()
    stepped.warm.begin()
    assert np.array_equal(stepped.solver.voltages(), before)


def test_who_takes_up_its_state_begins_at_the_same_voltages() -> None:
    one, other = Stepped(), Stepped()
    for step in range(4):
        one.solve(light(10 * step))
    given(other.warm, taken(one.warm))
    other.solver.begin_with(one.solver.voltages())
    for each in (one, other):
        each.give(light(40))
        each.warm.begin()
    assert np.array_equal(one.solver.voltages(), other.solver.voltages())


@pytest.mark.parametrize(
    ("wanted", "changes", "shares"),
    [
        ([2.0, 4.0, 0.0], [], ()),
        ([2.0, 4.0, 0.0], [[1.0, 2.0, 0.0]], (2.0,)),
        ([1.0, 0.0, 9.0], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], (1.0, 0.0)),
        ([5.0, 4.0, 0.0], [[1.0, 2.0, 0.0], [3.0, 0.0, 0.0]], (2.0, 1.0)),
        ([2.0, 4.0, 0.0], [[1.0, 2.0, 0.0], [2.0, 4.0, 1e-4]], (2.0,)),  # the older one hardly differs
    ],
)
def test_a_change_is_made_up_of_those_that_were_seen(
    wanted: list[float], changes: list[list[float]], shares: tuple[float, ...]
) -> None:
    assert _shares(np.array(wanted), [np.array(change) for change in changes]) == pytest.approx(shares, abs=1e-12)


def test_small_feeders_and_coarse_solutions_are_left_as_they_are() -> None:
    assert is_worth(9501, 1e-8)
    assert not is_worth(278, 3e-10)
    assert not is_worth(9501, 1e-4)
