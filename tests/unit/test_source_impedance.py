"""What a bus has behind it, before anything of a run is solved."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from derloop.kind import Context
from federates.grid.opendss import Feeder, OpenDssSettings

TWO_BUSES = """clear
new circuit.two basekv=13.2 pu=1.0 phases=3 bus1=source r1=0.2 x1=1.0 r0=0.2 x0=1.0
new linecode.plain nphases=3 r1=0.5 x1=0.9 r0=0.5 x0=0.9 c1=0 c0=0 units=km
new line.one bus1=source bus2=far linecode=plain length=2 units=km
new line.back bus1=source bus2=earthed phases=3 r1=0.5 x1=0.9 r0=1.4 x0=2.7 c1=0 c0=0 length=2 units=km
new line.turned bus1=source.3.1 bus2=turned.3.1 phases=2 rmatrix=(3 | 0 1) xmatrix=(4 | 0 2) cmatrix=(0 | 0 0)
new line.side bus1=source.1 bus2=single.1 phases=1 r1=0.3 x1=0.4 r0=0.3 x0=0.4 c1=0 c0=0 length=1 units=km
set voltagebases=[13.2]
calcvoltagebases
"""


@pytest.fixture
def feeder(tmp_path: Path) -> Feeder:
    (tmp_path / "two.dss").write_text(TWO_BUSES)
    context = Context("grid", tmp_path, datetime(2025, 7, 15, tzinfo=UTC), 10**9, 10**10, 1)
    return Feeder(OpenDssSettings(feeder="two.dss"), context)


def test_a_bus_of_three_phases_has_the_impedances_of_source_and_line_in_series(feeder: Feeder) -> None:
    assert feeder.source_impedance_ohm("source", (1, 2, 3)) == pytest.approx(0.2 + 1.0j, abs=1e-9)
    assert feeder.source_impedance_ohm("far", (1, 2, 3)) == pytest.approx(0.2 + 1.0j + 2 * (0.5 + 0.9j), abs=1e-9)


def test_a_bus_of_one_phase_has_that_of_its_phase(feeder: Feeder) -> None:
    assert feeder.source_impedance_ohm("single", (1,)) == pytest.approx(0.5 + 1.4j, abs=1e-9)


def test_one_phase_of_a_bus_of_three_has_the_way_back_behind_it_too(feeder: Feeder) -> None:
    """(2 z1 + z0) / 3 for each phase, (z0 - z1) / 3 between two: two phases take half of that off each other's."""
    own, other = 0.2 + 1.0j + 2 * (0.8 + 1.5j), 2 * (0.3 + 0.6j)
    assert feeder.source_impedance_ohm("earthed", (2,)) == pytest.approx(own, abs=1e-9)
    assert feeder.source_impedance_ohm("earthed", (3, 1)) == pytest.approx(own - other / 2, abs=1e-9)
    assert feeder.source_impedance_ohm("earthed", (1, 2, 3)) == pytest.approx(own - other, abs=1e-9)


def test_each_phase_has_its_own_impedance_in_whatever_order_the_file_names_them(feeder: Feeder) -> None:
    assert feeder.source_impedance_ohm("turned", (1,)) == pytest.approx(1.2 + 3.0j, abs=1e-9)
    assert feeder.source_impedance_ohm("turned", (3,)) == pytest.approx(3.2 + 5.0j, abs=1e-9)


SPLIT_PHASE = """clear
new circuit.lateral basekv=12.47 pu=1.0 phases=3 bus1=source r1=1e-4 x1=1e-4 r0=1e-4 x0=1e-4
new line.lateral bus1=source.1 bus2=pole.1 phases=1 r1=144 x1=0 r0=144 x0=0 c1=0 c0=0 length=1
new transformer.service phases=1 windings=3 buses=(pole.1 legs.1.0 legs.0.2) kvs=(7.2 0.12 0.12) kvas=(100 100 100)
~ xhl=0.001 xht=0.001 xlt=0.001 %rs=(0.001 0.001 0.001)
new line.triplex bus1=legs.1.2 bus2=home.1.2 phases=2 rmatrix=(0.03 | 0 0.03) xmatrix=(0 | 0 0) cmatrix=(0 | 0 0)
set voltagebases=[12.47 0.208]
calcvoltagebases
"""


def test_two_legs_of_a_centre_tapped_winding_share_all_of_what_is_before_it(tmp_path: Path) -> None:
    """144 ohm at 7200 V are 0.04 ohm at 120 V, and carry the power of both legs: half of the other's was left out."""
    (tmp_path / "two.dss").write_text(SPLIT_PHASE)
    context = Context("grid", tmp_path, datetime(2025, 7, 15, tzinfo=UTC), 10**9, 10**10, 1)
    split = Feeder(OpenDssSettings(feeder="two.dss"), context)
    assert split.source_impedance_ohm("home", (1, 2)) == pytest.approx(0.03 + 2 * 0.04, abs=1e-4)
    assert split.source_impedance_ohm("home", (1,)) == pytest.approx(0.03 + 0.04, abs=1e-4)
