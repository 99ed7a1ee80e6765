"""Distribution management beside a small feeder: alarms, settings of taps and banks, peaks, and silence."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

import derloop
from derloop.contract import FloatArray
from derloop.kind import Context, PlaceError
from federates.control.adms import monitoring
from federates.control.adms.adms import Adms
from federates.control.adms.peak import PeakState, next_level
from federates.control.adms.ports import ALARMS
from federates.control.adms.settings import AdmsSettings, MonitoringSettings, PeakSettings
from federates.grid.opendss import Feeder, OpenDssFeeder, OpenDssSettings

SCENARIOS = Path(__file__).parents[2] / "scenarios"
S = 10**9
STEP_S = 60
RADIAL = """Clear
New Circuit.radial bus1=head basekv=12.47 pu=1.0 r1=0 x1=0.1 r0=0 x0=0.1
New Transformer.reg phases=3 windings=2 buses=(head a) conns=(wye wye) kvs=(12.47 12.47) kvas=(9000 9000) xhl=0.01
New RegControl.reg transformer=reg winding=2 vreg=123 band=2 ptratio=60 ctprim=300
New Line.ab phases=3 bus1=a bus2=b r1=0.8 x1=1.6 r0=1.6 x0=4 c1=0 c0=0 length=1 normamps=200
New Capacitor.b phases=3 bus1=b kv=12.47 kvar=900
New Load.b phases=3 bus1=b kv=12.47 kw=2400 kvar=1200 model=2
Set VoltageBases=(12.47)
CalcVoltageBases
"""
GRID = {
    "feeder": "radial.dss",
    "operated": {"regulators": ["*"], "capacitors": ["*"], "local_after_s": 300},
    "monitored": ["ab"],
}
VOLT_VAR = {"volt_var": {"v_pu": (0.95, 1.05), "every_s": 600}}


class Managed:
    """A feeder and its distribution management: what one says arrives at the other an instant later, or not."""

    def __init__(self, folder: Path, adms: dict[str, Any], text: str = RADIAL, **grid: Any) -> None:
        (folder / "radial.dss").write_text(text)
        settings = OpenDssSettings.model_validate({**GRID, **grid})
        start = datetime(2025, 7, 15, tzinfo=UTC)
        context = Context("adms", folder, start, STEP_S * S, 3600 * S, 1, settings={"grid": settings})
        at_grid = replace(context, name="grid")
        feeder = Feeder(settings, at_grid)
        self.grid = OpenDssFeeder(settings, at_grid, feeder)
        self.adms = Adms(AdmsSettings.model_validate(adms), replace(context, feeders={"grid": feeder}))
        self.measured = self._kept(self.grid.start())
        self.told = self._kept(self.adms.start())
        self._heard, self._arrived = self.measured, self.told
        self._now_s = 0

    @staticmethod
    def _kept(values: Any) -> dict[str, FloatArray]:
        return {name: np.array(value) for name, value in values.items()}

    def run(self, steps: int, deaf: bool = False, dumb: bool = False) -> dict[str, FloatArray]:
        """Step on. deaf: the control hears nothing new; dumb: what it tells does not arrive."""
        for _ in range(steps):
            self._heard = self._heard if deaf else self.measured
            heard = {"age_s": np.zeros(1), **self._heard}
            inputs = {port: heard[port.removeprefix("grid.")] for port in self.adms.interface.inputs}
            self.told = self._kept(self.adms.step(self._now_s * S, inputs))
            self._arrived = self._arrived if dumb else self.told
            arrived = {p: self._arrived[f"grid.{p}"] for p in self.grid.interface.inputs if p != "source_v_pu"}
            self.measured = self._kept(self.grid.step(self._now_s * S, arrived))
            self._now_s += STEP_S
        return self.measured

    @property
    def v_b_pu(self) -> float:
        return float(self.measured["v_pu"][self.grid.interface.outputs["v_pu"].labels.index("b.1")])


def test_less_voltage_is_less_energy_and_the_lowest_that_is_allowed_is_found(tmp_path: Path) -> None:
    managed = Managed(tmp_path, VOLT_VAR)
    local_kw = managed.run(1)["head_kw"][0]
    assert 1.0 < managed.v_b_pu < 1.04
    lower_kw = managed.run(2)["head_kw"][0]
    assert 0.953 <= managed.v_b_pu < 0.953 + 0.00625
    # a load of constant impedance: power goes with the square of its voltage
    assert lower_kw < 0.92 * local_kw


def test_a_neutral_that_is_a_node_is_no_outage(tmp_path: Path) -> None:
    """It has next to no voltage, and stood as an alarm for as long as the run lasted."""
    earth = "New Reactor.earth phases=1 bus1=b.4 bus2=b.0 R=1 X=0\nNew Load.n bus1=b.1.4 phases=1 kv=7.2 kw=50\n"
    managed = Managed(tmp_path, VOLT_VAR, text=RADIAL + earth)
    managed.run(3)
    assert "b.4" in managed.grid.interface.outputs["v_pu"].labels
    assert not managed.told["alarms"].any()


def test_its_expectation_is_what_the_feeder_then_does(tmp_path: Path) -> None:
    managed = Managed(tmp_path, VOLT_VAR)
    found = managed.run(3)
    assert found["head_kw"][0] == pytest.approx(managed.told["cost_kw"][0], rel=1e-5)
    assert managed.told["cost_kw"][0] < managed.told["cost_kw"][1]


def test_of_a_feeder_that_hangs_on_a_bus_it_expects_what_the_feeder_does_at_the_voltage_of_the_bus(
    tmp_path: Path,
) -> None:
    bus = {"kind": "transmission-bus", "feeders": ["grid"], "short_circuit_mva": 200, "v_pu": 1.03}
    sets = [f"federates.bulk={json.dumps(bus)}", "duration_s=3600", "checks=[]"]
    run = derloop.run(SCENARIOS / "kind_adms.json", sets, engine="local", out=tmp_path / "run", report=False)
    assert run.outcome == "completed", run.failure
    expected_kw, without_kw = run["adms.cost_kw"][7]  # sought anew, with what was measured at the last instant
    assert without_kw == pytest.approx(run["grid.losses_kw"][6, 0], rel=1e-3)
    assert expected_kw == pytest.approx(run["grid.losses_kw"][7, 0], rel=1e-2)


def test_what_grid_forming_units_give_is_in_what_it_expects(tmp_path: Path) -> None:
    """They were left out: beside 900 kW of them losses were said to be 42 kW, and were 25. All phases are alike."""
    forming = {"kind": "grid-forming", "at": [{"bus": "671", "rated_kva": 1500, "energy_kwh": 5000}], "p_set_pu": 0.6}
    sets = [f"federates.forming={json.dumps(forming)}", "duration_s=3600", "checks=[]"]
    run = derloop.run(SCENARIOS / "kind_adms.json", sets, engine="local", out=tmp_path / "run", report=False)
    assert run.outcome == "completed", run.failure
    assert run["grid.forming.p_kw"][6, 0] == pytest.approx(900.0, abs=1.0)
    assert run["adms.cost_kw"][7, 1] == pytest.approx(run["grid.losses_kw"][6, 0], rel=0.1)


def test_a_control_that_hears_nothing_holds_and_then_its_feeder_goes_back_to_local_control(tmp_path: Path) -> None:
    managed = Managed(tmp_path, VOLT_VAR)
    managed.run(3)
    set_by_control = managed.v_b_pu
    managed.run(4, deaf=True)
    assert managed.told["alarms"][4] == 1.0
    assert managed.v_b_pu == pytest.approx(set_by_control)
    managed.run(6, deaf=True)
    assert managed.v_b_pu > set_by_control + 0.03
    managed.run(2)
    assert managed.told["alarms"][4] == 0.0
    assert managed.v_b_pu == pytest.approx(set_by_control, abs=0.007)


def test_a_feeder_that_hears_no_commands_goes_back_to_local_control(tmp_path: Path) -> None:
    managed = Managed(tmp_path, VOLT_VAR)
    managed.run(3)
    set_by_control = managed.v_b_pu
    managed.run(4, dumb=True)
    assert managed.v_b_pu == pytest.approx(set_by_control)
    managed.run(4, dumb=True)
    assert managed.v_b_pu > set_by_control + 0.03


def test_without_volt_var_taps_are_left_to_local_control(tmp_path: Path) -> None:
    managed = Managed(tmp_path, {})
    managed.run(3)
    assert managed.v_b_pu > 1.0


def test_the_same_instant_again_gives_the_same(tmp_path: Path) -> None:
    managed = Managed(tmp_path, VOLT_VAR)
    managed.run(2)
    inputs = {port: managed.measured[port.removeprefix("grid.")] for port in managed.adms.interface.inputs}
    first = managed._kept(managed.adms.step(120 * S, inputs))
    again = managed.adms.step(120 * S, inputs)
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_an_overload_and_a_low_voltage_raise_alarms(tmp_path: Path) -> None:
    managed = Managed(tmp_path, {"monitoring": {"v_pu": (1.03, 1.06)}}, ratings_a={"ab": 100.0})
    managed.run(2)
    assert managed.told["overload"][0] == 1.0
    assert managed.told["alarms"][0] >= 3.0  # b in three phases
    assert managed.adms.statistics()["alarms_raised"] >= 4.0


# --- alarms by hand ----------------------------------------------------------------------------------


def alarmed(*v_pu: float) -> str:
    """Return for each voltage in turn whether the low alarm stands: 0.95 raises it, 0.955 ends it."""
    now, found = monitoring.none(1, 0), ""
    for v in v_pu:
        now = monitoring.watch(now, np.array([v]), np.zeros(0), np.array([True]), MonitoringSettings())
        found += str(int(now.low[0]))
    return found


def test_an_alarm_does_not_flicker() -> None:
    assert alarmed(0.96, 0.949, 0.951, 0.954, 0.956, 0.951, 0.949) == "0111001"


def test_what_is_dead_is_an_outage_and_no_low_voltage() -> None:
    now = monitoring.watch(
        monitoring.none(2, 0), np.array([0.0, 1.06]), np.zeros(0), np.array([True, True]), MonitoringSettings()
    )
    assert list(now.counts) == [0.0, 1.0, 1.0, 0.0]


# --- peaks by hand -----------------------------------------------------------------------------------


def levels(*heads_kw: float, hold_s: float = 120.0) -> str:
    settings = PeakSettings.model_validate(
        {"limit_kw": 1000, "release_kw": 800, "hold_s": hold_s, "v_low_pu": 0.92, "members": {"m": {"allow": 0}}}
    )
    state, found = PeakState(), ""
    for k, head_kw in enumerate(heads_kw):
        state = next_level(settings, state, head_kw, 60.0 * k)
        found += str(state.level)
    return found


def test_measures_are_taken_one_after_the_other_and_given_back_one_after_the_other() -> None:
    assert levels(900, 1100, 1100, 1100, 900, 700, 700, 700, 700, 700, 700) == "01222211000"


def test_a_peak_lowers_the_voltage_only_for_as_long_as_it_lasts(tmp_path: Path) -> None:
    peak = {"limit_kw": 2400, "release_kw": 2380, "v_low_pu": 0.92, "hold_s": 1e4}
    managed = Managed(tmp_path, {"volt_var": {"v_pu": (1.0, 1.05), "every_s": 86400}, "peak": peak})
    managed.run(3)
    assert managed.told["measures"][0] == 1.0
    managed.run(1)
    assert 0.92 <= managed.v_b_pu < 0.935


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adms", "grid", "why"),
    [
        (VOLT_VAR, {"operated": {}}, "neither regulators nor capacitors"),
        ({}, {"operated": {}, "monitored": []}, "nothing could be told to 'grid'"),
        ({}, {"operated": {"regulators": ["*"]}}, "they need volt_var, or local_after_s"),
        ({**VOLT_VAR, "stale_after_s": 1}, {}, "measures every 60 s: always older than that"),
        ({**VOLT_VAR, "peak": {"limit_kw": 1, "members": {"x": {"allow": 0}}}}, {}, "no fleet is called 'x'"),
        ({"restoration": {}, **VOLT_VAR}, {}, "needs indicators of 'grid'"),
    ],
)
def test_what_cannot_be_managed_is_refused(tmp_path: Path, adms: Any, grid: Any, why: str) -> None:
    with pytest.raises(PlaceError, match=why):
        Managed(tmp_path, adms, **grid)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"volt_var": {"v_pu": (1.05, 0.95)}}, "must be above 0 and less than"),
        ({"volt_var": {"v_pu": (0.99, 1.0), "margin_pu": 0.01}}, "leaves nothing of v_pu"),
        ({"volt_var": {"taps": (5, 2)}}, "must not be greater"),
        ({"volt_var": {"inverters": ["pv"], "q_most_pu": 0.2, "q_step_pu": 0.3}}, "q_step_pu 0.3 is more than q_most"),
        ({"monitoring": {"v_pu": (0.97, 1.03), "v_back_pu": 0.07}}, "v_back_pu 0.07 is all of v_pu"),
        ({"monitoring": {"loading_pu": 0.5, "loading_back_pu": 0.6}}, "must be less than loading_pu 0.5"),
        ({"volt_var": {"v_pu": (0.917, 1.05)}, "peak": {"limit_kw": 5, "v_low_pu": 0.95}}, "it lowers no voltage"),
        ({"peak": {"limit_kw": 5}}, "needs v_low_pu, members or both"),
        ({"peak": {"limit_kw": 5, "v_low_pu": 0.9}}, "needs volt_var"),
        ({"peak": {"limit_kw": 5, "release_kw": 6, "members": {"m": {"allow": 0}}}}, "must not be above limit_kw"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        AdmsSettings.model_validate(settings)


@pytest.mark.long
def test_an_outage_of_the_network_is_seen_by_the_date_of_what_is_heard(tmp_path: Path) -> None:
    """Nothing is heard from 1 h to 3 h; three steps of 300 s later it is stale, and 1800 s later taps are local."""
    links = '"links": [{"to": "adms"}, {"from": "adms"}], "events": [{"begins_s": 3600, "lasts_s": 7200, "to": "adms"}]'
    network = 'federates.network={"kind": "network", "step_s": 300, ' + links + "}"
    scenario = Path(__file__).parents[2] / "scenarios/kind_adms.json"
    run = derloop.run(scenario, [network, "duration_s=14400"], engine="local", out=tmp_path / "run", report=False)
    time_ns, alarms = run.folder.read("adms.alarms")
    stale_min = time_ns[alarms[:, 4] > 0.0] / (60 * S)
    assert (stale_min.min(), stale_min.max()) == (pytest.approx(75, abs=10), pytest.approx(180, abs=10))
    time_ns, taps = run.folder.read("grid.taps")
    held, local = (taps[np.searchsorted(time_ns, minutes * 60 * S)] for minutes in (85, 110))
    assert list(held) != list(local)


def test_a_feeder_in_which_nothing_is_operated_is_stale_when_a_network_says_so(tmp_path: Path) -> None:
    """It does not date what it tells; three steps of 60 s are allowed."""
    managed = Managed(tmp_path, {}, operated={})
    heard = {f"grid.{port}": value for port, value in managed.measured.items()}
    stale = []
    for k, age_s in enumerate([60.0, 180.0, 181.0]):
        told = managed.adms.step((k + 9) * STEP_S * S, {**heard, "grid.age_s": np.array([age_s])})
        stale.append(float(told["alarms"][ALARMS.index("stale")]))
    assert stale == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("grid", [{}, {"operated": {}}], ids=["dated by the feeder", "by the network"])
def test_nothing_is_decided_by_what_was_said_before_the_run_began(tmp_path: Path, grid: dict[str, Any]) -> None:
    """A network of three steps hands on the feeder as its file has it until then, in which b is at 0.93 pu."""
    managed = Managed(tmp_path, {} if grid else VOLT_VAR, RADIAL.replace("kw=2400", "kw=4800"), **grid)
    begun = {f"grid.{port}": value for port, value in managed.measured.items()}
    for k in range(4):
        told = managed.adms.step(k * STEP_S * S, {**begun, "grid.age_s": np.array([(k + 1.0) * STEP_S])})
        alarms = dict(zip(ALARMS, told["alarms"], strict=True))
        assert alarms["low_voltage"] == 0.0
        assert alarms["stale"] == (0.0 if k == 0 else 1.0)
    assert managed.adms.statistics()["searches"] == 0.0


@pytest.mark.parametrize(
    ("operated", "adms", "acting", "is_told"),
    [
        (["reg"], VOLT_VAR, "active", True),
        (["reg"], VOLT_VAR, "locked", False),
        (["reg"], {"monitoring": {}}, "active", False),
        (["reg", "b"], VOLT_VAR, "active", False),
    ],
)
def test_a_bank_that_moves_by_itself_and_is_not_heard_of_is_told(
    tmp_path: Path, operated: list[str], adms: dict[str, Any], acting: str, is_told: bool
) -> None:
    """Its power flow had the bank as in the file, whatever the bank's own control had done: nobody was told."""
    control = "New CapControl.b capacitor=b element=Line.ab type=kvar onsetting=300 offsetting=-900\nSet VoltageBases"
    told = {"regulators": ["reg"], "capacitors": [name for name in operated if name != "reg"], "local_after_s": 300}
    managed = Managed(tmp_path, adms, RADIAL.replace("Set VoltageBases", control), operated=told, regulators=acting)
    said = ("adms: banks b of 'grid' move by controls of the file",) if is_told else ()
    assert tuple(text.split(",")[0] for text in managed.adms.cautions) == said
