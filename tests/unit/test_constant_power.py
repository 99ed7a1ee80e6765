"""Loads of constant power are known without being asked: what is told of them is what OpenDSS tells of each element."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from derloop.contract import FloatArray
from federates.grid import inventory
from federates.grid.constant_power import ConstantPower
from federates.grid.solver import Solver
from federates.grid.views import ClassPowers

FEEDER = Path(__file__).parents[2] / "scenarios" / "feeders" / "ieee13" / "ieee13.dss"
OF_EACH_SHAPE = """
New Load.one bus1=675.1 phases=1 kV=2.4 kW=20 kvar=10 vminpu=0.9 vmaxpu=1.1
New Load.two bus1=671.2.3 phases=1 conn=delta kV=4.16 kW=30 kvar=-5 vminpu=0.9 vmaxpu=1.1
New Load.open bus1=671 phases=2 conn=delta kV=4.16 kW=25 kvar=5 vminpu=0.9 vmaxpu=1.1
New Load.three bus1=680 phases=3 kV=4.16 kW=50 kvar=20 vminpu=0.9 vmaxpu=1.1
New Load.pair bus1=680.1.2 phases=2 kV=4.16 kW=40 kvar=10 vminpu=0.9 vmaxpu=1.1
New Load.floating bus1=680.1.2.3.4 phases=3 kV=4.16 kW=45 kvar=15 vminpu=0.9 vmaxpu=1.1
New Reactor.neutral bus1=680.4 phases=1 kV=2.4 R=1 X=0
New Load.to_earth bus1=680.3.0 phases=1 conn=delta kV=2.4 kW=15 kvar=3 vminpu=0.9 vmaxpu=1.1
New Load.weak bus1=675.3 phases=1 kV=2.4 kW=10 kvar=2 vminpu=0.1 vlowpu=0.8 vmaxpu=1.1
New Load.impedance bus1=675.2 phases=1 model=2 kV=2.4 kW=12 kvar=4
New Load.none bus1=675.1 phases=1 kV=2.4 kW=0 kvar=0
New Load.gone bus1=675.2 phases=1 kV=2.4 kW=10 kvar=4 enabled=no
"""
SHAPES = {"one", "two", "three", "pair", "floating", "to_earth", "weak", "none"}


class Known:
    """Loads of a feeder, beside what OpenDSS tells of them."""

    def __init__(self, feeder: Path) -> None:
        self.solver = solver = Solver(feeder)
        solver.prepare(controls=False, tolerance=1e-10, max_iterations=100)
        kv = {bus.name: bus.kv_ln for bus in inventory.buses(solver).values()}
        self._bases_v = np.array([1000 * kv[node.partition(".")[0]] for node in solver.nodes])
        self.loads = np.flatnonzero([name.startswith("load.") for name in solver.elements.names])
        self.drawn = np.zeros(len(solver.elements.names), np.complex128)
        self.constant = ConstantPower(solver, self._bases_v, self.loads, self.drawn)

    @property
    def names(self) -> set[str]:
        return {self.solver.elements.names[i].partition(".")[2] for i in self.constant.elements}

    @property
    def _v_pu(self) -> FloatArray:
        v_pu: FloatArray = np.abs(self.solver.voltages()) / self._bases_v
        return v_pu

    def told(self) -> list[complex]:
        self.constant.tell(self._v_pu)
        found = [complex(kva) for kva in self.drawn[self.constant.elements]]
        assert self.constant.total_kw == pytest.approx(sum(found).real, rel=1e-12)
        return found

    def expected(self) -> list[complex]:
        return [complex(kva) for kva in self.solver.elements.powers()[self.constant.elements]]

    def fed_with(self, v_pu: float) -> None:
        self.solver.dss.Vsources.First()
        self.solver.dss.Vsources.PU(v_pu)
        self.solver.solve()


@pytest.fixture
def feeder(tmp_path: Path) -> Path:
    path = tmp_path / "feeder.dss"
    path.write_text(FEEDER.read_text() + OF_EACH_SHAPE)
    return path


def edited(feeder: Path, line: str) -> Path:
    feeder.write_text(f"{feeder.read_text()}\n{line}\n")
    return feeder


def test_loads_of_every_shape_are_known(feeder: Path) -> None:
    known = Known(feeder)
    assert known.names >= SHAPES
    assert known.names.isdisjoint({"open", "impedance", "gone"})
    assert known.told() == pytest.approx(known.expected(), rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("v_pu", [0.35, 0.7, 0.85, 0.9, 0.95, 1.05, 1.1, 1.15, 1.3])
def test_loads_outside_of_their_bands_are_asked(feeder: Path, v_pu: float) -> None:
    known = Known(feeder)
    within = known.told()
    known.fed_with(v_pu)
    assert known.told() == pytest.approx(known.expected(), rel=1e-8, abs=1e-9)
    known.fed_with(1.0001)
    known.fed_with(1.0)
    assert known.told() == within


def test_nothing_is_asked_while_all_are_in_their_bands(feeder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Known(feeder)
    monkeypatch.setattr(ClassPowers, "_read", lambda *_: pytest.fail("asked"))
    known.told()


def test_loads_that_something_may_cut_off_are_not_known(feeder: Path) -> None:
    known = Known(edited(feeder, "New Fuse.at_one monitoredobj=line.632_633 switchedobj=load.one"))
    assert known.names == set()
    assert known.told() == []


def test_loads_that_the_file_multiplies_are_known_as_they_are_then(feeder: Path) -> None:
    known = Known(edited(feeder, "Set loadmult=1.02"))
    assert known.names >= SHAPES
    assert known.told() == pytest.approx(known.expected(), rel=1e-8, abs=1e-9)


def test_loads_that_draw_another_power_than_they_say_are_not_known(
    feeder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("federates.grid.constant_power.MODEL", 2)
    assert Known(feeder).names == set()
