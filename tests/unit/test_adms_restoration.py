"""Fault location, isolation and restoration: sections by hand, and IEEE 123 with its switches and ties."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from derloop.contract import FloatArray
from derloop.kind import Context, PlaceError
from federates.control.adms.adms import Adms
from federates.control.adms.model import GridModel
from federates.control.adms.restoration import sections_of
from federates.control.adms.sections import Sections, sections
from federates.control.adms.settings import AdmsSettings
from federates.grid.opendss import Feeder, OpenDssFeeder, OpenDssSettings

SCENARIOS = Path(__file__).parents[2] / "scenarios"
S = 10**9
STEP_S = 10
LOADS_KW = {"61": 550.0, "160": 1105.0, "25": 760.0, "135": 755.0, "197": 320.0}
"""Of the sections of IEEE 123, each by its first bus in the file: sums of the published spot loads."""
RELAYS = [
    {"switch": "sw_rg1_149", "pickup_a": 1200, "time_dial": 2},
    {"switch": "sw_13_152", "pickup_a": 800, "time_dial": 1, "recloses_s": [15]},
    {"switch": "sw_18_135", "pickup_a": 800, "time_dial": 1, "recloses_s": [15]},
    {"switch": "sw_60_160", "pickup_a": 700, "time_dial": 0.5, "recloses_s": [15]},
    {"switch": "sw_97_197", "pickup_a": 500, "time_dial": 0.3, "recloses_s": [15]},
]
RATINGS_A = {"sw_*": 800, "149_1": 800, "1_7": 800, "7_8": 800, "8_13": 800, "*": 530}
GRID = {
    "feeder": "feeders/ieee123/ieee123.dss",
    "operated": {"switches": ["sw_*"], "regulators": ["*"], "capacitors": ["*"]},
    "monitored": ["line.*"],
    "ratings_a": RATINGS_A,
    "indicators": {"pickup_a": 1000},
    "protection": RELAYS,
}
VOLT_VAR = {"v_pu": (0.92, 1.055), "most_solutions": 40, "every_s": 86400}
ADMS = {"restoration": {"after_s": 30}, "volt_var": VOLT_VAR}


class Managed:
    """A feeder and its distribution management, stepped as wired: what is measured arrives an instant later."""

    def __init__(self, fault: str, adms: dict[str, Any] = ADMS, **grid: Any) -> None:
        settings = OpenDssSettings.model_validate({**GRID, "faults": [{"bus": fault, "begins_s": 60}], **grid})
        start = datetime(2025, 7, 15, tzinfo=UTC)
        context = Context("adms", SCENARIOS, start, STEP_S * S, 3600 * S, 1, settings={"grid": settings})
        at_grid = replace(context, name="grid")
        feeder = Feeder(settings, at_grid)
        self.grid = OpenDssFeeder(settings, at_grid, feeder)
        self.adms = Adms(AdmsSettings.model_validate(adms), replace(context, feeders={"grid": feeder}))
        self.measured = {name: np.array(value) for name, value in self.grid.start().items()}
        self.told: dict[str, FloatArray] = dict(self.adms.start())

    def until(self, end_s: int, lost: tuple[int, int] = (0, 0)) -> dict[str, FloatArray]:
        """Step to an instant; nothing is heard of the feeder between the two of `lost`."""
        heard = self.measured
        for now_s in range(0, end_s + 1, STEP_S):
            heard = heard if lost[0] <= now_s < lost[1] else self.measured
            inputs = {port: heard[port.removeprefix("grid.")] for port in self.adms.interface.inputs}
            self.told = dict(self.adms.step(now_s * S, inputs))
            told = {port.removeprefix("grid."): value for port, value in self.told.items()}
            found = self.grid.step(now_s * S, {port: told[port] for port in self.grid.interface.inputs if port in told})
            self.measured = {name: np.array(value) for name, value in found.items()}
        return self.measured

    def closed(self) -> set[str]:
        labels = self.grid.interface.outputs["switches"].labels
        return {name for name, state in zip(labels, self.measured["switches"], strict=True) if state}


def within_limits(values: dict[str, FloatArray]) -> bool:
    v_pu = values["v_pu"][values["v_pu"] > 0.0]
    return bool(v_pu.min() >= 0.917 and v_pu.max() <= 1.058 and values["loading_pu"].max() <= 1.0)


@pytest.mark.parametrize(
    ("fault", "section", "opened", "tied"),
    [
        ("54", "61", {"sw_13_152", "sw_60_160", "sw_xf1_610"}, {"sw_151_300"}),
        pytest.param("76", "160", {"sw_60_160", "sw_97_197"}, {"sw_151_300"}, marks=pytest.mark.long),
        pytest.param("105", "197", {"sw_97_197"}, set(), marks=pytest.mark.long),
        pytest.param("42", "135", {"sw_18_135"}, set(), marks=pytest.mark.long),
    ],
)
def test_all_healthy_sections_are_served_again(fault: str, section: str, opened: set[str], tied: set[str]) -> None:
    managed = Managed(fault)
    values = managed.until(220)
    normal = {"sw_13_152", "sw_18_135", "sw_60_160", "sw_xf1_610", "sw_97_197", "sw_rg1_149"}
    assert managed.closed() == (normal - opened) | tied
    assert values["unserved_kw"][0] == pytest.approx(LOADS_KW[section])
    assert within_limits(values)
    labels = managed.adms.interface.outputs["faulted"].labels
    assert [labels[i] for i in np.flatnonzero(managed.told["faulted"])] == [section]


def test_behind_a_fault_next_to_the_head_everything_is_fed_by_another_source() -> None:
    managed = Managed("18", feeder="feeders/ieee123/ieee123_two_sources.dss")
    values = managed.until(220)
    assert "sw_rg1_149" not in managed.closed()
    assert values["unserved_kw"][0] == pytest.approx(LOADS_KW["25"])
    assert within_limits(values)


def test_what_is_overloaded_elsewhere_keeps_nobody_in_the_dark() -> None:
    """A lateral that was overloaded all along, and that no plan touches, broke the limits of every plan."""
    managed = Managed("54", ratings_a={"1_3": 1.0, **RATINGS_A})
    values = managed.until(160)
    assert "sw_151_300" in managed.closed()
    assert values["unserved_kw"][0] == pytest.approx(LOADS_KW["61"])
    assert values["loading_pu"].max() > 10.0


@pytest.mark.parametrize(("lateral", "rated_a"), [("5_6", 12.1), ("47_48", 11.6)])
def test_what_is_overloaded_elsewhere_draws_its_power_at_other_voltages(lateral: str, rated_a: float) -> None:
    """At 1.5 or 3 times its rating it has 4 % more current at the voltages of the best plan: 1105 kW stayed dark."""
    managed = Managed("54", ratings_a={lateral: rated_a, **RATINGS_A})
    values = managed.until(160)
    assert values["unserved_kw"][0] == pytest.approx(LOADS_KW["61"])
    assert values["loading_pu"].max() > 1.5


def test_what_is_overloaded_already_is_not_loaded_with_what_is_restored() -> None:
    """The line to 44 is on the way round: at 1.1 times its rating before, it is given nothing more to carry."""
    managed = Managed("54", ratings_a={"42_44": 90.0, **RATINGS_A})
    values = managed.until(160)
    assert values["unserved_kw"][0] == pytest.approx(LOADS_KW["61"] + LOADS_KW["160"] + LOADS_KW["197"])
    assert values["loading_pu"].max() == pytest.approx(1.1, abs=0.05)


def test_what_would_overload_the_way_round_stays_dark() -> None:
    """Up to 60 % of the ratings the way round carries the section 197, but not the 1105 kW of 160 besides."""
    managed = Managed("54", adms={"restoration": {"after_s": 30, "loading_pu": 0.6}, "volt_var": VOLT_VAR})
    values = managed.until(180)
    assert values["unserved_kw"][0] == pytest.approx(LOADS_KW["61"] + LOADS_KW["160"])
    assert values["loading_pu"].max() <= 0.6


def test_nothing_is_switched_on_what_was_heard_too_long_ago() -> None:
    """Telemetry is lost from 80 s on, before the lock-out is heard: nobody opens and nobody closes."""
    silent = Managed("54")
    values = silent.until(220, lost=(80, 300))
    assert silent.told["alarms"][4] == 1.0
    assert "sw_151_300" not in silent.closed()
    assert values["unserved_kw"][0] == pytest.approx(1975.0)


def test_it_restores_late_when_telemetry_comes_back() -> None:
    late = Managed("54")
    values = late.until(260, lost=(80, 160))
    assert late.told["alarms"][4] == 0.0
    assert values["unserved_kw"][0] == pytest.approx(550.0)


def test_a_second_fault_is_found_where_it_is_while_indicators_still_tell_of_the_first() -> None:
    """The section ahead of the first fault was taken for faulted as well: 1105 kW that are well stayed dark."""
    faults = [{"bus": "101", "begins_s": 60}, {"bus": "40", "begins_s": 600}]
    managed = Managed("101", faults=faults)
    managed.until(1200)
    sections_told = managed.adms.interface.outputs["faulted"].labels
    assert {n for n, is_it in zip(sections_told, managed.told["faulted"], strict=True) if is_it} == {"135", "197"}


def test_restoration_needs_relays_and_indicators() -> None:
    with pytest.raises(PlaceError, match="needs protection of 'grid'"):
        Managed("54", protection=[])


def test_restoration_operates_every_switch_that_may_lock_out() -> None:
    """Behind a breaker that nobody could close loads counted as served, and of a fault next to it nothing was known."""
    others = {"switches": ["sw_13_152", "sw_18_135", "sw_60_160", "sw_97_197", "sw_1[0-9][0-9]_*"]}
    with pytest.raises(PlaceError, match="sw_rg1_149 of 'grid' have protection, and are not among operated"):
        Managed("54", operated=others)
    Managed("54", {"monitoring": {}}, operated=others)


# --- sections by hand --------------------------------------------------------------------------------


def chain() -> Sections:
    """a - b - c in a row by switches 0 and 1, d beside c by 2, and switch 3 a tie from d to a; a is fed."""
    return sections(["a", "a2", "b", "c", "d"], [("a", "a2")], [("a2", "b"), ("b", "c"), ("c", "d"), ("d", "a")], ["a"])


def test_buses_that_are_joined_without_a_switch_are_a_section() -> None:
    found = chain()
    assert found.names == ("a", "b", "c", "d")
    assert found.ends == ((0, 1), (1, 2), (2, 3), (3, 0))


def test_buses_that_a_transformer_of_three_windings_joins_are_a_section() -> None:
    """Its second winding was left out: nothing fed what is there, and no fault was found in it."""
    found = sections(["a", "b", "c"], [("a", "b", "c")], [("b", "a")], ["a"])
    assert found.names == ("a",)
    assert found.fed([False]) == [1]


def test_a_tie_that_the_file_opens_joins_no_sections(tmp_path: Path) -> None:
    """One that is not operated was taken for closed: what is on both of its sides was one section."""
    lines = "".join(
        f"New Line.{name} bus1={a} bus2={b} switch=yes\n" for name, a, b in (("sw", "a", "b"), ("tie", "a", "c"))
    )
    (tmp_path / "f.dss").write_text(
        f"New Circuit.c bus1=a basekv=12.47\n{lines}New Line.bc bus1=b bus2=c length=1\n"
        "Set VoltageBases=[12.47]\nOpen Line.tie 1\n"
    )
    settings = OpenDssSettings.model_validate({"feeder": "f.dss", "operated": {"switches": ["sw"]}})
    start = datetime(2025, 7, 15, tzinfo=UTC)
    context = Context("adms", tmp_path, start, S, 3600 * S, 1, settings={"grid": settings})
    found = sections_of(GridModel(context))
    assert found.names == ("a", "b")
    assert found.ends == ((0, 1),)


def test_a_fault_is_where_its_current_went_in_and_not_out() -> None:
    found, normal = chain(), [True, True, True, False]
    assert found.faulted(normal, [True, True, False, False]) == {2}
    assert found.faulted(normal, [True, False, False, False]) == {1}
    assert found.faulted(normal, [False] * 4) == set()


def test_rings_and_what_is_fed_twice_are_no_tree() -> None:
    found = chain()
    assert found.fed([True, True, True, False]) == [1, 1, 1, 1]
    assert found.fed([True, False, True, True]) == [1, 1, 1, 1]
    assert found.fed([True, False, False, False]) == [1, 1, 0, 0]
    assert max(found.fed([True] * 4)) == 2
    assert max(replace(found, sources=frozenset({0, 3})).fed([True, True, True, False])) == 2
