"""The feeder as a federate."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from derloop.contract import FloatArray
from derloop.kind import Context, Permissions, PlaceError, Terminal
from federates.der.placement import Spread, place
from federates.grid.engine import SolverError
from federates.grid.feeder import check_terminals
from federates.grid.opendss import KIND, Feeder, OpenDssFeeder, OpenDssSettings

SCENARIOS = Path(__file__).parents[2] / "scenarios"
S = 1_000_000_000
STORAGE = Terminal("storage_0", "671", (1, 2, 3), 500.0)
ROOFTOP = Terminal("pv_0", "645", (2,), 50.0)


def context_of(**terminals: tuple[Terminal, ...]) -> Context:
    return Context("grid", SCENARIOS, datetime(2025, 7, 15, tzinfo=UTC), 60 * S, 3600 * S, 1, terminals=terminals)


def feeder_of(settings: OpenDssSettings, **terminals: tuple[Terminal, ...]) -> OpenDssFeeder:
    context = context_of(**terminals)
    return OpenDssFeeder(settings, context, Feeder(settings, context))


def settings_of(**changes: object) -> OpenDssSettings:
    return OpenDssSettings.model_validate({"feeder": "feeders/ieee13/ieee13.dss", **changes})


def powers(name: str, *p_kw: float) -> dict[str, FloatArray]:
    return {f"{name}.p_kw": np.array(p_kw), f"{name}.q_kvar": np.zeros(len(p_kw))}


def test_it_starts_with_the_published_solution() -> None:
    """IEEE 13 with the published taps: 3577.191 kW, 111.063 kW of losses (IEEE PES, run of 2004-06-24)."""
    values = feeder_of(settings_of(regulators="locked")).start()
    assert values["head_kw"][0] == pytest.approx(3577.191, rel=1e-3)
    assert values["losses_kw"][0] == pytest.approx(111.063, rel=2e-3)


def test_what_is_injected_is_not_drawn_from_the_bulk_system() -> None:
    grid = feeder_of(settings_of(regulators="locked"), storage=(STORAGE,))
    idle = grid.step(0, powers("storage", 0.0))
    idle_kw, idle_losses = idle["head_kw"][0], idle["losses_kw"][0]
    busy = grid.step(60 * S, powers("storage", 500.0))
    saved = idle_kw - busy["head_kw"][0]
    assert saved == pytest.approx(500 + idle_losses - busy["losses_kw"][0], abs=15.0)  # loads follow their voltage
    assert saved > 480


def test_a_device_sees_the_mean_of_its_phases_in_per_unit_of_its_bus() -> None:
    grid = feeder_of(settings_of(regulators="locked"), storage=(STORAGE,), pv=(ROOFTOP,))
    values = grid.step(0, {**powers("storage", 0.0), **powers("pv", 0.0)})
    nodes = dict(zip(grid.interface.outputs["v_pu"].labels, values["v_pu"], strict=True))
    assert values["storage.v_pu"][0] == pytest.approx(np.mean([nodes[f"671.{p}"] for p in (1, 2, 3)]), abs=1e-12)
    assert values["pv.v_pu"][0] == nodes["645.2"]


def test_a_repeated_step_starts_from_the_taps_of_the_last_instant() -> None:
    """A strong injection lets the regulators move; the repeated step without it must not find them moved."""
    moved, plain = (feeder_of(settings_of(), storage=(STORAGE,)) for _ in range(2))
    moved.step(0, powers("storage", 0.0))
    plain.step(0, powers("storage", 0.0))
    tried = moved.step(60 * S, powers("storage", 3000.0))["taps"].copy()
    expected = plain.step(60 * S, powers("storage", 0.0))["taps"]
    again = moved.step(60 * S, powers("storage", 0.0))["taps"]
    assert list(tried) != list(expected)
    assert list(again) == list(expected)


def test_a_collapsed_voltage_is_named_and_not_passed_on() -> None:
    grid = feeder_of(settings_of(regulators="locked", sane_v_pu=(0.95, 1.1)), storage=(STORAGE,))
    with pytest.raises(SolverError, match=r"voltage collapse: 0\.\d+ pu at '\w+\.\d', sane is 0\.95 to 1\.1"):
        grid.step(60 * S, powers("storage", -3000.0))


def test_loads_are_driven_by_what_they_draw() -> None:
    drives = tuple(Terminal(n, "634", (i + 1,), 0.0, True, n) for i, n in enumerate(("634a", "634b", "634c")))
    grid = feeder_of(settings_of(regulators="locked"), homes=drives)
    full = grid.step(0, powers("homes", 160.0, 120.0, 120.0))["head_kw"][0]
    half = grid.step(60 * S, powers("homes", 80.0, 60.0, 60.0))["head_kw"][0]
    assert full - half == pytest.approx(200, abs=10)
    assert "homes.v_pu" not in grid.interface.outputs


def test_one_load_has_one_driver() -> None:
    drive = Terminal("634a", "634", (1,), 0.0, True, "634a")
    with pytest.raises(PlaceError, match="'634a' is driven more than once, by homes and shops"):
        KIND.build(settings_of(), context_of(homes=(drive,), shops=(drive,)))


@pytest.mark.parametrize("trust", [False, True])
def test_a_feeder_that_runs_programs_needs_trust(tmp_path: Path, trust: bool) -> None:
    (tmp_path / "f.dss").write_text("Clear\nNew Circuit.c\nSet VoltageBases=[115] editor=true\nSolve\n")
    context = replace(context_of(), folder=tmp_path, permissions=Permissions(trust_feeder=trust))
    if trust:
        assert "sourcebus" in Feeder(OpenDssSettings(feeder="f.dss"), context).buses
        return
    with pytest.raises(PlaceError, match=r"f\.dss:3"):
        Feeder(OpenDssSettings(feeder="f.dss"), context)


@pytest.mark.parametrize(
    ("terminal", "why"),
    [
        (Terminal("x", "67x", (1,), 5.0), "'x' is at 67x.1, which the feeder does not have; did you mean"),
        (Terminal("x", "645", (1, 2), 5.0), "'x' is at 645.1.2, which is not all there: the bus has 2, 3"),
        (Terminal("x", "645", (), 5.0), "which is not all there"),
        (Terminal("x", "645", (2,), 5.0, True, "645c"), "has no load '645c'; did you mean"),
    ],
)
def test_a_terminal_of_any_kind_must_be_in_the_feeder(terminal: Terminal, why: str) -> None:
    with pytest.raises(PlaceError, match=why):
        KIND.build(settings_of(), context_of(outside=(terminal,)))


def test_a_path_that_opendss_cannot_quote_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / 'a"b'
    folder.mkdir()
    (folder / "f.dss").write_text("Clear\nNew Circuit.c\n")
    with pytest.raises(PlaceError, match="quotation mark"):
        Feeder(OpenDssSettings(feeder="f.dss"), replace(context_of(), folder=folder))


def four_wires(folder: Path, more: str) -> OpenDssFeeder:
    (folder / "feeder.dss").write_text(
        "Clear\nNew Circuit.four_wires bus1=head basekv=0.4 pu=1.0 MVAsc3=20 MVAsc1=20\n"
        "New Linecode.cable nphases=4 r1=0.3 x1=0.1 r0=0.9 x0=0.3 c1=0 c0=0\n"
        "New Line.service bus1=head.1.2.3.4 bus2=home.1.2.3.4 linecode=cable length=0.1\n"
        "New Reactor.earth bus1=head.4 bus2=head.0 phases=1 r=0.1 x=0\n"
        "New Load.home bus1=home.1.4 phases=1 kV=0.23 kW=2\n"
        f"Set VoltageBases=[0.4]\nCalcVoltageBases\n{more}\n"
    )
    settings = OpenDssSettings.model_validate({"feeder": "feeder.dss"})
    context = replace(context_of(), folder=folder)
    return OpenDssFeeder(settings, context, Feeder(settings, context))


def test_a_part_that_nothing_feeds_is_said_to_be_that(tmp_path: Path) -> None:
    with pytest.raises(SolverError, match=r"0\.000 pu at 'home\.\d', which nothing seems to feed, sane is"):
        four_wires(tmp_path, "Open Line.service 1").start()


def test_a_neutral_without_a_voltage_is_no_collapse(tmp_path: Path) -> None:
    grid = four_wires(tmp_path, "")
    values = dict(zip(grid.interface.outputs["v_pu"].labels, grid.start()["v_pu"], strict=True))
    assert 0.0 < values["home.4"] < 0.1 < 0.9 < values["home.1"]


MOVING = """Clear
New Circuit.c basekv=12.47 bus1=source
New LoadShape.day npts=2 interval=12 mult=(0.1 1)
New Line.l bus1=source bus2=b length=1 units=km
New Load.homes bus1=b kv=12.47 kw=1000 daily=day
New Load.shop bus1=b kv=12.47 kw=100
New Load.shed bus1=b kv=12.47 kw=10 yearly=day enabled=no
New PVSystem.roof bus1=b kv=12.47 kva=300 pmpp=300 irradiance=1 duty=day
New Storage.full bus1=b kv=12.47 kwrated=100 kwhrated=400 state=discharging
New Storage.rests bus1=b kv=12.47 kwrated=100 kwhrated=400 state=idling
Set VoltageBases=[12.47]
"""


def test_what_moves_over_time_in_the_file_and_stands_still_here_is_told(tmp_path: Path) -> None:
    """A day's shape gives every hour the same power, and 400 kWh last for ever: nobody would see it in a verdict."""
    (tmp_path / "f.dss").write_text(MOVING)
    homes = Terminal("homes", "b", (1, 2, 3), 1000.0, element="homes", draws=True)
    for driven, shaped in (({}, "load.homes, pvsystem.roof have"), ({"homes": (homes,)}, "grid: pvsystem.roof have")):
        context = replace(context_of(**driven), folder=tmp_path)
        settings = settings_of(feeder="f.dss")
        shapes, stores = OpenDssFeeder(settings, context, Feeder(settings, context)).cautions
        assert f"{shaped} shapes over time" in shapes
        assert stores.startswith("grid: storage.full charge or discharge all along")
    assert feeder_of(settings_of()).cautions == ()


BANKS = """Clear
New Circuit.c basekv=12.47 bus1=source
New Line.l bus1=source bus2=b length=1 units=km
New Load.homes bus1=b kv=12.47 kw=1000
New Capacitor.noon bus1=b kv=12.47 kvar=300
New Capacitor.needed bus1=b kv=12.47 kvar=300
New CapControl.noon capacitor=noon element=Line.l type=time onsetting=10 offsetting=16
New CapControl.needed capacitor=needed element=Line.l type=kvar onsetting=200 offsetting=-200
Set VoltageBases=[12.47]
"""


@pytest.mark.parametrize(
    ("settings", "is_told"),
    [
        ({}, True),
        ({"regulators": "locked"}, False),
        ({"operated": {"capacitors": ["noon"]}}, False),
        ({"operated": {"capacitors": ["noon"], "local_after_s": 900.0}}, True),
        ({"operated": {"capacitors": ["needed"]}}, True),
    ],
)
def test_a_bank_that_goes_by_the_clock_is_told_to_stand_still(
    settings: dict[str, object], is_told: bool, tmp_path: Path
) -> None:
    """It was out, or in, at every hour of a day, and nobody was told."""
    (tmp_path / "f.dss").write_text(BANKS)
    context, read = replace(context_of(), folder=tmp_path), settings_of(feeder="f.dss", **settings)
    cautions = OpenDssFeeder(read, context, Feeder(read, context)).cautions
    assert [text.split(",")[0] for text in cautions] == ["grid: capcontrol.noon switch by the time of day"] * is_told


SECOND_CIRCUIT = """Clear
New Circuit.pole bus1=head basekv=12.47
New Line.below phases=2 bus1=head.1.2 bus2=pole.4.5 length=1 units=km
New Load.mill bus1=pole.4.5 phases=1 kv=12.47 conn=delta kw=100 kvar=0 model=1
New Load.homes bus1=head.3 phases=1 kv=7.2 kw=50 kvar=0 model=1
Set VoltageBases=[12.47]
"""


@pytest.mark.parametrize(
    ("kv", "times"),
    [
        ("", (0.231 / 12.47 / 0.95) ** 2),
        ("kv=0.4", (3**-0.5 / 0.95) ** 2),
        ("kv=0.1333", (3**0.5 / 1.05) ** 2),
        ("kv=0.231", None),
    ],
)
def test_loads_whose_voltage_is_not_that_of_their_bus_are_told(tmp_path: Path, kv: str, times: float | None) -> None:
    """Beyond its band a load is an admittance. Without a `kV` OpenDSS takes 12.47: next to nothing was drawn."""
    off, none = (
        f"New Load.off bus1=home.2.4 phases=1 {kv} kw=1 kvar=0",
        "New Load.none bus1=home.3.4 phases=1 kw=0 kvar=0",
    )
    said = [text.split(" times) draw far ")[0].split("(") for text in four_wires(tmp_path, f"{off}\n{none}").cautions]
    assert [name for name, _ in said] == ["grid: load.off "] * (times is not None)
    assert [float(found) for _, found in said] == ([] if times is None else pytest.approx([times], rel=0.15))


TAPPED = (
    "New Transformer.tapped phases=1 windings=3 buses=[home.1.4 leg.1.0 leg.0.2] kVs=[0.231 0.12 0.12]\n"
    "New Transformer.mill buses=[home.1.2.3 mill] conns=[delta wye] kVs=[0.4 0.48] kVAs=[50 50]\n"
)


@pytest.mark.parametrize(
    ("bases", "said"),
    [
        ("0.4, 0.24, 0.48", ["leg (0.12 kV per unit of 0.1386)"]),
        ("0.4, 0.208", ["mill (0.2771 kV per unit of 0.2309)"]),
        ("0.4, 0.208, 0.48", []),
    ],
)
def test_buses_whose_base_is_not_that_of_their_windings_are_told(tmp_path: Path, bases: str, said: list[str]) -> None:
    """Half of a centre-tapped winding is 0.866 pu of 0.24: every voltage there was a violation, and nobody said why."""
    cautions = four_wires(tmp_path, f"{TAPPED}Set VoltageBases=[{bases}]\nCalcVoltageBases").cautions
    told = [text for text in cautions if "VoltageBases" in text]
    assert told == [
        f"grid: {bus} have another base than the windings there, both to ground: is it among the "
        "VoltageBases, times 1.732?"
        for bus in said
    ]


def test_loads_of_a_second_circuit_on_the_poles_may_be_in_a_feeder_and_be_driven(tmp_path: Path) -> None:
    """Of a load at nodes beyond 3 alone a phase was made up, that its bus does not have: a KeyError."""
    (tmp_path / "f.dss").write_text(SECOND_CIRCUIT)
    mill = Terminal("mill", "pole", (4, 5), 100.0, element="mill", draws=True)
    settings = settings_of(feeder="f.dss")
    for drawn, terminals in ((100.0, {}), (70.0, {"load": (mill,)})):
        context = replace(context_of(**terminals), folder=tmp_path)
        feeder = Feeder(settings, context)
        check_terminals(context, feeder)
        grid = OpenDssFeeder(settings, context, feeder)
        assert feeder.loads["mill"].phases == (4, 5)
        values = grid.step(0, powers("load", 70.0))
        assert values["head_kw"][0] - values["losses_kw"][0] == pytest.approx(50.0 + drawn, abs=1e-6)
    spread = place(Spread(count=20, on="loads"), (5.0, 5.0), replace(context_of(), name="pv", feeder=feeder))
    assert {(unit.bus, unit.phases) for unit in spread} == {("head", (3,))}
