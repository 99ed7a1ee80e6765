"""A solution that begins where the last instants lead ends where it would have, sooner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from derloop.contract import FloatArray
from derloop.kind import Bus
from derloop.memory import given, taken
from federates.grid import warm_start
from federates.grid.additions import add_injection
from federates.grid.movement import Movement
from federates.grid.setpoints import Setpoints
from federates.grid.solver import Solver
from federates.grid.warm_start import WarmStart

FEEDER = Path(__file__).parents[2] / "scenarios/feeders/ieee123/ieee123.dss"
BUSES = ("7", "35", "49", "65", "76", "83", "95", "108", "114")
TOLERANCE, COARSE = 3e-10, 1e-4
BASE_V, LOW_V = 2401.8, 277.1
APART_V = 10 * TOLERANCE * BASE_V
"""What solutions that began elsewhere may be apart."""


def bus_of(node: str) -> str:
    return node.partition(".")[0]


def light(step: int) -> FloatArray:
    """Powers as under a sky that goes up and down within minutes, and of which each device sees more or less, kW."""
    return 40.0 + 8.0 * np.sin(step / 60 + np.arange(len(BUSES)) / 5)


class Stepped:
    """IEEE 123 with nine single-phase devices and its regulators at rest, solved instant by instant."""

    def __init__(self, is_warm: bool = True, tolerance: float = TOLERANCE, more: str = "") -> None:
        self.solver = Solver(FEEDER)
        self.solver.dss.Text.Command(more)
        for number, bus in enumerate(BUSES):
            add_injection(self.solver, f"pv_{number}", Bus(bus, (1, 2, 3), 2.4018), [1])
        self.solver.prepare(controls=False, tolerance=tolerance, max_iterations=100)
        self._setpoints = Setpoints(self.solver.dss, "Generator", [f"pv_{number}" for number in range(len(BUSES))])
        self._source = self.solver.elements.names.index("vsource.source")
        self.bases_v = np.array([LOW_V if bus_of(n) in ("xf1", "610") else BASE_V for n in self.solver.nodes])
        self.warm, self._is_warm = WarmStart(self.solver, tolerance, self.bases_v), is_warm

    def give(self, p_kw: FloatArray) -> None:
        self._setpoints.p_kw[:], self._setpoints.q_kvar[:] = p_kw, -0.2 * p_kw
        self._setpoints.write()

    def solve(self, p_kw: FloatArray) -> None:
        self.give(p_kw)
        if self._is_warm:
            self.warm.solve(begins=True)
        else:
            self.solver.solve()
        self.warm.end(complex(self.solver.elements.powers_of(np.array([self._source]))[0]))


def solved(
    powers_kw: Sequence[FloatArray], is_warm: bool, tolerance: float = TOLERANCE
) -> tuple[list[NDArray[np.complex128]], int]:
    """Return the voltages, V, of a solution for each of these powers, and how many iterations all took."""
    stepped, found, iterations = Stepped(is_warm, tolerance), [], 0
    for p_kw in powers_kw:
        stepped.solve(p_kw)
        found.append(stepped.solver.voltages().copy())
        iterations += stepped.solver.dss.Solution.Iterations()
    return found, iterations


def test_it_ends_at_the_same_voltages_after_two_thirds_of_the_iterations() -> None:
    powers = [light(step) for step in range(100)]
    (cold, many), (warm, few) = solved(powers, is_warm=False), solved(powers, is_warm=True)
    assert few < 2 / 3 * many
    assert np.abs(np.array(cold) - np.array(warm)).max() < APART_V


def test_powers_that_jump_cost_few_iterations_more() -> None:
    """What would have been far from the last instant is not gone on with, and a bad beginning is none of an end."""
    chance = np.random.default_rng(7)
    powers = [light(step) * chance.uniform(0, 1, len(BUSES)) for step in range(100)]
    (cold, many), (warm, few) = solved(powers, is_warm=False), solved(powers, is_warm=True)
    assert few < 1.05 * many
    assert np.abs(np.array(cold) - np.array(warm)).max() < APART_V


def stepped_twice() -> tuple[Stepped, Stepped]:
    """Return two feeders, of which the first has been solved, with their voltages alike."""
    one, other = Stepped(), Stepped()
    for step in range(5):
        one.solve(light(10 * step))
    other.solver.begin_with(one.solver.voltages())
    return one, other


def test_after_something_has_moved_it_begins_where_the_solver_is() -> None:
    one, _ = stepped_twice()
    before_v = one.solver.voltages().copy()
    one.warm.leave()
    one.warm.begin()
    assert np.array_equal(one.solver.voltages(), before_v)


def test_who_takes_up_its_state_begins_at_the_same_voltages() -> None:
    one, other = stepped_twice()
    before_v = one.solver.voltages().copy()
    given(other.warm, taken(one.warm))
    one.warm.begin()
    other.warm.begin()
    assert np.array_equal(one.solver.voltages(), other.solver.voltages())
    assert np.abs(one.solver.voltages() - before_v).max() > 0.1  # V


@pytest.mark.parametrize(
    ("share", "further"),
    [
        ([1.0, 1.0, 1.0, 1.0], 1.0),
        ([0.0, 1.0, 2.0, 3.0], 4.0),
        ([0.0, 1.0, 4.0, 9.0], 16.0),
        ([1.0, 1.0, 1.0, 9.0], 9.0),
        ([1.0, 2.0, 1.0, 2.0], 2.0),
        ([2.0, 3.0], 3.0),  # nothing says how the last one came
    ],
)
def test_it_goes_on_by_the_degree_that_would_have_been_nearest(share: list[float], further: float) -> None:
    """Voltages that are a share of others, as the head's power is."""
    stepped = Stepped()
    volts = stepped.solver.voltages().copy()
    for each in share:
        stepped.solver.begin_with(volts * each)
        stepped.warm.end(each * (300 + 100j))
        stepped.warm.begin()
    assert np.abs(stepped.solver.voltages() - volts * further).max() < 1e-9


def test_a_small_feeder_goes_on_by_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_start, "CURVED_NODES", 1000)
    stepped = Stepped()
    volts = stepped.solver.voltages().copy()
    for each in (0.0, 1.0, 4.0, 9.0):
        stepped.solver.begin_with(volts * each)
        stepped.warm.end(each * (300 + 100j))
        stepped.warm.begin()
    assert np.abs(stepped.solver.voltages() - volts * 14.0).max() < 1e-9


# --- a coarse tolerance ------------------------------------------------------------------------------


def test_to_a_coarse_tolerance_one_iteration_does_where_it_moves_nothing_by_more() -> None:
    """And is nearer than the two that begin at the last voltages, for what they begin with is nearer."""
    powers = [light(step) for step in range(100)]
    exact, _ = solved(powers, is_warm=False)
    (cold, many), (warm, few) = (solved(powers, is_warm, COARSE) for is_warm in (False, True))
    assert many >= 200
    assert few < 105
    cold_v, warm_v = (np.abs(np.array(found) - np.array(exact))[5:].max(axis=1) for found in (cold, warm))
    assert warm_v.max() < COARSE / 10 * BASE_V
    assert np.median(warm_v) < np.median(cold_v)


def test_where_powers_jump_a_coarse_tolerance_is_kept_by_more_iterations() -> None:
    chance = np.random.default_rng(7)
    powers = [light(step) * chance.uniform(0, 4, len(BUSES)) for step in range(100)]
    exact, _ = solved(powers, is_warm=False)
    warm, iterations = solved(powers, is_warm=True, tolerance=COARSE)
    assert iterations > 150
    assert (np.abs(np.array(warm) - np.array(exact)) / Stepped().bases_v).max() < COARSE


def test_a_beginning_whose_angles_are_off_is_not_ended_with_after_one_iteration() -> None:
    """OpenDSS compares magnitudes alone, which the first iteration would leave as they are, within the tolerance."""
    stepped = Stepped(tolerance=COARSE)
    for _ in range(5):
        stepped.solve(light(0))
    ends_v = stepped.solver.voltages().copy()
    stepped.solver.begin_with(ends_v * np.exp(0.002j))
    assert not stepped.solver.iterate_once(Movement(COARSE, stepped.bases_v))
    assert (np.abs(np.abs(stepped.solver.voltages()) - np.abs(ends_v)) / stepped.bases_v).max() < COARSE
    stepped.solver.begin_with(ends_v * np.exp(0.002j))
    stepped.warm.solve(begins=False)
    assert stepped.solver.dss.Solution.Iterations() == 2
    assert np.abs((stepped.solver.voltages() - ends_v) / stepped.bases_v).max() < COARSE / 10


def test_where_it_ends_does_not_depend_on_what_was_solved_before_but_for_where_it_begins() -> None:
    """OpenDSS compares with what it solved last, which no checkpoint has."""
    ended, elsewhere = Stepped(tolerance=COARSE), Stepped(tolerance=COARSE)
    for _ in range(5):
        ended.solve(light(0))
    elsewhere.solve(8 * light(0))
    elsewhere.give(light(0))
    elsewhere.solver.begin_with(ended.solver.voltages())
    for stepped in (ended, elsewhere):
        stepped.warm.solve(begins=False)
        assert stepped.solver.dss.Solution.Iterations() == 1
    assert np.array_equal(ended.solver.voltages(), elsewhere.solver.voltages())


def test_a_feeder_file_that_asks_for_more_iterations_has_them() -> None:
    stepped = Stepped(tolerance=COARSE, more="Set miniterations=4")
    for step in range(5):
        stepped.solve(light(step))
        assert stepped.solver.dss.Solution.Iterations() == 4


def test_who_else_solves_makes_two_iterations_as_ever() -> None:
    stepped = Stepped(tolerance=COARSE)
    for _ in range(3):
        stepped.solve(light(0))
    assert stepped.solver.dss.Solution.Iterations() == 1
    stepped.solver.solve()
    assert stepped.solver.dss.Solution.Iterations() == 2
