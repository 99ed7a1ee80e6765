"""Switches, taps, banks and faults of a feeder: what is fed from where, what is dead, and what repeats."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from derloop.contract import FloatArray, Values
from derloop.kind import Context, PlaceError, Terminal
from derloop.memory import given as put_in
from derloop.memory import taken
from federates.grid.conductors import coupling
from federates.grid.opendss import Feeder, OpenDssFeeder, OpenDssSettings

S = 10**9
RING = """Clear
New Circuit.ring bus1=head basekv=12.47 pu=1.02 r1=0 x1=0.5 r0=0 x0=0.5
New Line.sw_a phases=3 bus1=head bus2=a switch=yes r1=0.001 x1=0 r0=0.001 x0=0 c1=0 c0=0 length=1
New Line.ab phases=3 bus1=a bus2=b r1=0.4 x1=0.8 r0=0.8 x0=2 c1=0 c0=0 length=1 normamps=200
New Line.sw_b phases=3 bus1=head bus2=d switch=yes r1=0.001 x1=0 r0=0.001 x0=0 c1=0 c0=0 length=1
New Line.dc phases=3 bus1=d bus2=c r1=0.4 x1=0.8 r0=0.8 x0=2 c1=0 c0=0 length=1
New Line.sw_tie phases=3 bus1=b bus2=c switch=yes r1=0.001 x1=0 r0=0.001 x0=0 c1=0 c0=0 length=1 enabled=no
New Transformer.reg phases=3 windings=2 buses=(d e) conns=(wye wye) kvs=(12.47 12.47) kvas=(5000 5000) xhl=0.01
New RegControl.reg transformer=reg winding=2 vreg=122 band=2 ptratio=60 ctprim=300
New Capacitor.e phases=3 bus1=e kv=12.47 kvar=300
New Load.b phases=3 bus1=b kv=12.47 kw=900 kvar=300 model=1 vminpu=0.7
New Load.c phases=3 bus1=c kv=12.47 kw=600 kvar=200 model=1 vminpu=0.7
New Load.e phases=3 bus1=e kv=12.47 kw=300 kvar=100 model=1 vminpu=0.7
Set VoltageBases=(12.47)
CalcVoltageBases
"""
ALL = {"switches": ["sw_*"], "regulators": ["*"], "capacitors": ["*"]}


def ring(tmp_path: Path, text: str = RING, pv_bus: str = "b", **settings: Any) -> OpenDssFeeder:
    (tmp_path / "ring.dss").write_text(text)
    read = OpenDssSettings.model_validate({"feeder": "ring.dss", "operated": {"switches": ["sw_*"]}, **settings})
    terminals = {"pv": (Terminal("pv_0", pv_bus, (1, 2, 3), 500.0),)}
    start = datetime(2025, 7, 15, tzinfo=UTC)
    context = Context("grid", tmp_path, start, S, 3600 * S, 1, terminals=terminals)
    return OpenDssFeeder(read, context, Feeder(read, context))


def told(a: float, b: float, tie: float, pv_kw: float = 0.0, **others: float) -> dict[str, FloatArray]:
    more = {name: np.array([value]) for name, value in others.items()}
    return {
        "switch_set": np.array([a, b, tie]),
        "pv.p_kw": np.array([pv_kw]),
        "pv.q_kvar": np.zeros(1),
        **more,
    }


def at(grid: OpenDssFeeder, values: Values, node: str) -> float:
    return float(values["v_pu"][grid.interface.outputs["v_pu"].labels.index(node)])


def test_what_no_source_feeds_is_dead_and_its_loads_are_not_served(tmp_path: Path) -> None:
    grid = ring(tmp_path)
    values = grid.step(0, told(0, 1, 0, pv_kw=200.0))
    assert at(grid, values, "b.1") == 0.0
    assert values["unserved_kw"][0] == pytest.approx(900.0)
    assert values["others_kw"][0] == pytest.approx(900.0, abs=1e-3)  # c and e
    assert values["pv.solved_kw"][0] == pytest.approx(0.0, abs=1e-9)
    assert values["pv.undelivered_kw"][0] == pytest.approx(200.0)
    assert values["head_kw"][0] == pytest.approx(900.0 + values["losses_kw"][0], abs=1e-5)


def test_a_tie_that_the_file_does_not_enable_feeds_from_the_other_side(tmp_path: Path) -> None:
    grid = ring(tmp_path, monitored=["sw_*"], accounts={})
    apart = grid.step(0, told(1, 1, 0))
    v_apart_pu = at(grid, apart, "b.1")
    assert v_apart_pu > 0.97
    over = grid.step(S, told(0, 1, 1))
    assert over["unserved_kw"][0] == 0.0
    assert at(grid, over, "a.1") > 0.9
    assert at(grid, over, "b.1") < v_apart_pu
    assert list(over["switches"]) == [0.0, 1.0, 1.0]
    of_load_b_a = np.hypot(900, 300) / (np.sqrt(3) * 12.47 * at(grid, over, "b.1"))
    assert over["current_a"][2] == pytest.approx(of_load_b_a, rel=1e-3)


def test_an_instant_that_is_stepped_again_begins_with_the_switches_that_it_is_told(tmp_path: Path) -> None:
    once, again = ring(tmp_path, operated=ALL), ring(tmp_path, operated=ALL)
    orders = {"tap_set": 4.0, "capacitor_set": 0.0}
    again.step(0, told(1, 1, 0, **orders))
    once.step(0, told(1, 1, 0, **orders))
    again.step(S, told(0, 1, 0, 300.0, tap_set=-6.0, capacitor_set=1.0))
    expected = once.step(S, told(1, 1, 0, **orders))
    found = again.step(S, told(1, 1, 0, **orders))
    np.testing.assert_allclose(found["v_pu"], expected["v_pu"], atol=1e-9)
    for port in ("taps", "capacitors", "switches"):
        assert list(found[port]) == list(expected[port])


def test_what_was_switched_off_is_dead_in_each_pass_of_the_instant(tmp_path: Path) -> None:
    grid = ring(tmp_path)
    grid.step(0, told(1, 1, 0))
    passes = [grid.step(S, told(0, 1, 0, kw)) for kw in (100.0, 200.0) for _ in range(2)]
    assert [values["unserved_kw"][0] for values in passes] == [pytest.approx(900.0)] * 4
    assert at(grid, passes[-1], "b.1") == 0.0
    assert at(grid, grid.step(S, told(1, 1, 0)), "b.1") > 0.97


def test_taps_and_banks_obey_and_stay_within_what_they_have(tmp_path: Path) -> None:
    grid = ring(tmp_path, operated=ALL)
    low = grid.step(0, told(1, 1, 0, tap_set=-8.0, capacitor_set=0.0))
    assert low["taps"][0] == -8.0
    assert low["capacitors"][0] == 0.0
    assert at(grid, low, "e.1") == pytest.approx(0.95 * at(grid, low, "d.1"), rel=1e-3)
    most = grid.step(S, told(1, 1, 0, tap_set=40.0, capacitor_set=7.0))
    assert most["taps"][0] == 16.0
    assert most["capacitors"][0] == 1.0


def test_taps_of_a_range_that_is_not_about_nominal_go_as_far_as_they_go(tmp_path: Path) -> None:
    """They are counted from the middle of it: 8 below and 12 above were taken for it, and -12 was not to be had."""
    text = RING.replace("xhl=0.01", "xhl=0.01 wdg=2 mintap=0.95 maxtap=1.1 numtaps=24")
    grid = ring(tmp_path, text, operated=ALL)
    for step, (told_tap, tap, turns) in enumerate([(-40.0, -12.0, 0.95), (0.0, 0.0, 1.025), (40.0, 12.0, 1.1)]):
        values = grid.step(step * S, told(1, 1, 0, tap_set=told_tap, capacitor_set=0.0))
        assert values["taps"][0] == tap
        assert at(grid, values, "e.1") == pytest.approx(turns * at(grid, values, "d.1"), rel=1e-3)


def test_a_tap_changer_that_the_file_locks_stays_locked_where_switches_are_operated(tmp_path: Path) -> None:
    """It moved as any other: what the file lets it move at once was overwritten."""
    high = RING.replace("vreg=122", "vreg=126")
    assert ring(tmp_path, high).step(0, told(1, 1, 0))["taps"][0] == 4.0
    locked = ring(tmp_path, high.replace("ctprim=300", "ctprim=300 maxtapchange=0"))
    assert locked.start()["taps"][0] == 0.0
    assert [locked.step(k * S, told(1, b, 0))["taps"][0] for k, b in enumerate((1, 0, 1))] == [0.0, 0.0, 0.0]


def test_a_tap_changer_rests_where_the_bus_that_it_looks_at_is_dead(tmp_path: Path) -> None:
    """One that looks at a bus further on, which is dead, went up to its highest tap: 1.09 pu for whoever stayed."""
    line = "New Line.sw_f phases=3 bus1=e bus2=f switch=yes r1=0.001 x1=0 r0=0.001 x0=0 c1=0 c0=0 length=1"
    text = RING.replace("ctprim=300", f"ctprim=300 bus=f\n{line}")
    grid = ring(tmp_path, text)
    taps = grid.step(0, {**told(1, 1, 0), "switch_set": np.array([1, 1, 0, 1])})["taps"][0]
    open_now = grid.step(S, {**told(1, 1, 0), "switch_set": np.array([1, 1, 0, 0])})
    assert at(grid, open_now, "f.1") == 0.0
    assert open_now["taps"][0] == taps
    assert at(grid, open_now, "e.1") < 1.05


def test_an_autotransformer_is_operated_as_any_tap_changer(tmp_path: Path) -> None:
    """It ended the run with a traceback, also where switches alone were operated."""
    text = RING.replace("New Transformer.reg phases=3 windings=2", "New AutoTrans.reg phases=3 windings=2")
    text = text.replace("kvs=(12.47 12.47)", "kvs=(12.47 11.9)").replace("conns=(wye wye) ", "")
    switched = ring(tmp_path, text.replace("xhl", "xhx"))
    dead = switched.step(0, told(1, 0, 0))
    assert at(switched, dead, "e.1") == 0.0
    assert dead["taps"][0] == switched.start()["taps"][0]
    grid = ring(tmp_path, text.replace("xhl", "xhx"), operated=ALL)
    for step, (told_tap, tap) in enumerate([(-40.0, -16.0), (3.0, 3.0), (40.0, 16.0)]):
        values = grid.step(step * S, told(1, 1, 0, tap_set=told_tap, capacitor_set=0.0))
        assert values["taps"][0] == tap
        ratio = at(grid, values, "e.1") / at(grid, values, "d.1")
        in_series = 0.57 / (11.9 * (1 + 0.00625 * tap))  # turns of the winding between the two sides
        assert ratio == pytest.approx(1 / (1 + in_series), rel=1e-3)


def test_names_may_have_blanks_and_dots(tmp_path: Path) -> None:
    """At a bus with a blank in its name no device, fault or switch could be, nor taps set of what has a dot."""
    text = RING
    for plain, name in {"sw_b": "sw_b.1", "reg phases": "reg.1 x phases", "=reg w": '="reg.1 x" w'}.items():
        text = text.replace(plain, name)
    text = text.replace("Transformer.reg.1 x", '"Transformer.reg.1 x"').replace("Line.sw_a", '"Line.sw_a 1"')
    text = text.replace("=b ", '="bus b" ')
    fault = {"bus": "bus b", "begins_s": 2.0}
    grid = ring(tmp_path, text, "bus b", operated=ALL, faults=[fault], monitored=["*"])
    orders = {"tap_set": -8.0, "capacitor_set": 0.0}
    values = grid.step(0, told(1, 1, 0, pv_kw=200.0, **orders))
    assert values["pv.solved_kw"][0] == pytest.approx(200.0)
    assert at(grid, values, "e.1") == pytest.approx(0.95 * at(grid, values, "d.1"), rel=1e-3)
    assert at(grid, grid.step(S, told(0, 1, 0, **orders)), "bus b.1") == 0.0
    assert at(grid, grid.step(2 * S, told(1, 1, 0, **orders)), "bus b.1") < 0.1


def test_what_has_no_rating_is_monitored_only_with_one(tmp_path: Path) -> None:
    """Its loading was infinite, and the run failed before its first step."""
    text = RING.replace("normamps=200", "normamps=0")
    with pytest.raises(PlaceError, match=r"no rating of line\.ab \(normamps 0\): see ratings_a"):
        ring(tmp_path, text, monitored=["*"])
    grid = ring(tmp_path, text, monitored=["*"], ratings_a={"ab": 20.0})
    assert np.isfinite(grid.start()["loading_pu"]).all()


def test_a_bank_whose_control_the_file_does_not_enable_stays_where_it_was_told(tmp_path: Path) -> None:
    """When commands were too old, that control acted all the same."""
    control = "New CapControl.e capacitor=e element=Transformer.reg terminal=1 type=voltage ptratio=60 onsetting=119"
    left = {"tap_set": 0.0, "capacitor_set": 0.0, "commanded_at_s": 0.0}
    steps = []
    for enabled in ("yes", "no"):
        text = f"{RING}{control} offsetting=130 delay=1 enabled={enabled}\n".replace("pu=1.02", "pu=0.97")
        grid = ring(tmp_path, text, operated={**ALL, "local_after_s": 60.0})
        steps.append([grid.step(k * S, told(1, 1, 0, **left))["capacitors"][0] for k in (0, 61)])
    assert steps == [[0.0, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize("line", ["Open Capacitor.e 1", "Disable Capacitor.e"])
def test_a_bank_that_the_file_has_out_says_so_and_comes_in_where_it_is_told(tmp_path: Path, line: str) -> None:
    """It was said to be in, and where it was told to be, it stayed out: 300 kvar were missed by nobody."""
    grid = ring(tmp_path, RING + line, operated=ALL)
    out = grid.start()
    assert (out["capacitors"][0], out["head_kvar"][0]) == (0.0, pytest.approx(606.5, abs=1.0))
    put_in = grid.step(0, told(1, 1, 0, tap_set=0.0, capacitor_set=1.0))
    assert (put_in["capacitors"][0], put_in["head_kvar"][0]) == (1.0, pytest.approx(295.1, abs=1.0))


STREET = """Clear
New Circuit.street bus1=a basekv=12.47
New Transformer.t phases=3 windings=2 buses=(a s.1.2.3.4) conns=(delta wye) kvs=(12.47 0.4) kvas=(630 630) xhl=4
New Reactor.earth phases=1 bus1=s.4 bus2=s.0 R=0.01 X=0
New Line.sw_a phases=3 bus1=s.1.2.3 bus2=b.1.2.3 switch=yes r1=0.0001 x1=0 r0=0.0001 x0=0 c1=0 c0=0 length=1
New Line.neutral phases=1 bus1=s.4 bus2=b.4 r1=0.0001 x1=0 r0=0.0001 x0=0 c1=0 c0=0 length=1
New Line.cable phases=4 bus1=b.1.2.3.4 bus2=c.1.2.3.4 r1=0.3 x1=0.1 r0=0.9 x0=0.3 c1=0 c0=0 length=0.1
New Load.one phases=1 bus1=c.1.4 kv=0.231 kw=20 vminpu=0.7
New Load.two phases=1 bus1=c.2.4 kv=0.231 kw=5 vminpu=0.7
Set VoltageBases=(12.47 0.4)
CalcVoltageBases
"""


def test_behind_a_switch_with_a_neutral_beside_it_everything_is_dead(tmp_path: Path) -> None:
    """Loads joined the dead phases to the neutral, and they were taken for fed: the run ended with a collapse."""
    grid = ring(tmp_path, STREET)
    devices = {"pv.p_kw": np.array([3.0]), "pv.q_kvar": np.zeros(1)}
    assert at(grid, grid.step(0, {"switch_set": np.ones(1), **devices}), "c.1") > 0.95
    opened = grid.step(S, {"switch_set": np.zeros(1), **devices})
    assert [at(grid, opened, node) for node in ("b.1", "c.3", "c.4", "s.1")] == pytest.approx([0, 0, 0, 1], abs=1e-3)
    assert (opened["unserved_kw"][0], opened["pv.undelivered_kw"][0]) == pytest.approx((25.0, 3.0))
    assert opened["head_kw"][0] == pytest.approx(0.0, abs=1e-6)
    again = grid.step(2 * S, {"switch_set": np.ones(1), **devices})
    assert (again["unserved_kw"][0], again["others_kw"][0]) == pytest.approx((0.0, 25.0))


def test_a_fault_is_there_at_the_steps_within_its_time(tmp_path: Path) -> None:
    """One that came and went between two steps was accepted, and never there."""
    spells = [{"begins_s": 1.2, "lasts_s": 0.9}, {"begins_s": 4.0, "lasts_s": 0.1}]
    grid = ring(tmp_path, faults=[{"bus": "b", **spell} for spell in spells])
    kw = [float(grid.step(k * S, told(1, 1, 0))["head_kw"][0]) for k in range(6)]
    assert [value > 5000.0 for value in kw] == [False, False, True, False, True, False]


def test_a_neutral_that_is_a_node_is_not_outside_of_the_band(tmp_path: Path) -> None:
    """It has next to no voltage, and was counted as too low all the time."""
    earth = "New Reactor.earth phases=1 bus1=f.4 bus2=f.0 R=1 X=0\nNew Load.f bus1=f.1.4 phases=1 kv=7.2 kw=50\n"
    line = "New Line.f phases=3 bus1=b bus2=f r1=0.1 x1=0.1 r0=0.1 x0=0.1 c1=0 c0=0 length=1\n"
    grid = ring(tmp_path, RING + line + earth, accounts={"v_low_pu": 0.9})
    values = [grid.step(k * S, told(1, 1, 0)) for k in range(3)][-1]
    assert 0.0 < at(grid, values, "f.4") < 0.05
    assert grid.statistics()["outside_node_h"] == 0.0
    assert grid.statistics()["dead_node_h"] == 0.0


@pytest.mark.parametrize(("phases", "kv"), [(1, 7.2), (2, 12.47), (3, 12.47)])
def test_a_transformer_is_loaded_as_its_kva_are(tmp_path: Path, phases: int, kv: float) -> None:
    """One of two phases was told to be loaded one and a half times as much."""
    nodes = ".".join("123"[:phases])
    text = (
        RING
        + f"New Transformer.t phases={phases} windings=2 buses=(e.{nodes} f.{nodes}) kvs=({kv} {kv}) kvas=(900 900)\n"
    )
    text += "".join(f"New Load.f{k} bus1=f.{k} phases=1 kv=7.2 kw={450 / phases} pf=1\n" for k in range(1, phases + 1))
    grid = ring(tmp_path, text, monitored=["transformer.t"])
    values = grid.start()
    assert values["loading_pu"][0] == pytest.approx(0.5 / at(grid, values, "e.1"), rel=0.02)


def test_old_commands_leave_the_tap_changer_to_its_own_control(tmp_path: Path) -> None:
    grid = ring(tmp_path, operated={**ALL, "local_after_s": 60.0})
    obeyed = grid.step(0, told(1, 1, 0, tap_set=-8.0, capacitor_set=1.0, commanded_at_s=0.0))
    assert at(grid, obeyed, "e.1") < 0.98
    late = grid.step(61 * S, told(1, 1, 0, tap_set=-8.0, capacitor_set=1.0, commanded_at_s=0.0))
    assert 121 / 120 <= at(grid, late, "e.1") <= 123 / 120
    back = grid.step(62 * S, told(1, 1, 0, tap_set=-8.0, capacitor_set=1.0, commanded_at_s=62.0))
    assert back["taps"][0] == -8.0


def test_a_tap_changer_in_a_dead_part_stays_where_it_is(tmp_path: Path) -> None:
    grid = ring(tmp_path)
    before = grid.step(0, told(1, 1, 0))["taps"].copy()
    dead = grid.step(S, told(1, 0, 0))
    assert at(grid, dead, "e.1") == 0.0
    assert list(dead["taps"]) == list(before)


def test_an_arc_is_cleared_and_reclosing_succeeds(tmp_path: Path) -> None:
    relay = {"switch": "sw_a", "pickup_a": 200.0, "time_dial": 0.2, "recloses_s": [2.0]}
    fault = {"bus": "b", "begins_s": 1.0, "r_ohm": 0.1, "arc": True}
    grid = ring(tmp_path, protection=[relay], faults=[fault], indicators={"pickup_a": 200.0, "reset_s": 3.0})
    seen = [{port: v.copy() for port, v in grid.step(k * S, told(1, 1, 0)).items()} for k in range(9)]
    assert [v["switches"][0] for v in seen] == [1, 1, 0, 0, 1, 1, 1, 1, 1]
    assert seen[-1]["unserved_kw"][0] == 0.0
    assert seen[-1]["locked_out"][0] == 0.0


def test_a_fault_that_stays_ends_in_lock_out_and_only_its_indicator_falls(tmp_path: Path) -> None:
    relay = {"switch": "sw_a", "pickup_a": 200.0, "time_dial": 0.2, "recloses_s": [2.0]}
    fault = {"bus": "b", "begins_s": 1.0, "r_ohm": 0.1}
    grid = ring(tmp_path, protection=[relay], faults=[fault], indicators={"pickup_a": 200.0})
    states = []
    for k in range(8):
        values = grid.step(k * S, told(1, 1, 0))
        states.append(values["switches"][0])
    assert states == [1, 1, 0, 0, 1, 0, 0, 0]
    assert values["locked_out"][0] == 1.0
    assert list(values["fault_seen"]) == [1.0, 0.0, 0.0]
    assert at(grid, values, "e.1") > 0.95


def test_accounts_add_up_losses_and_time_outside_of_the_band(tmp_path: Path) -> None:
    grid = ring(tmp_path, operated=ALL, accounts={"v_low_pu": 0.97}, monitored=["ab"], ratings_a={"ab": 20.0})
    for k in range(3):
        values = grid.step(k * 1800 * S, told(1, 1, 0, tap_set=-16.0, capacitor_set=0.0))
    assert values["element_lost_kwh"].sum() == pytest.approx(values["losses_kw"][0], rel=1e-6)  # one hour
    assert values["element_losses_kw"].sum() == pytest.approx(values["losses_kw"][0], rel=1e-9)
    outside = dict(zip(grid.interface.outputs["outside_h"].labels, values["outside_h"], strict=True))
    assert outside["e.1"] == pytest.approx(1.0)
    assert outside["a.1"] == 0.0
    assert values["overloaded_h"][0] == pytest.approx(1.0)
    assert grid.statistics()["outside_node_h"] == pytest.approx(3.0 + 3 / 3600)  # with the last step, a second


def test_what_is_not_asked_for_is_not_there(tmp_path: Path) -> None:
    plain = ring(tmp_path, operated={})
    ports = {*plain.interface.inputs, *plain.interface.outputs}
    assert ports.isdisjoint({"switch_set", "switches", "current_a", "element_losses_kw", "unserved_kw"})


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"operated": {"switches": ["sw_x"]}}, "the feeder has no line 'sw_x'"),
        ({"operated": {"regulators": ["rag"]}}, "no regulator 'rag'; did you mean 'reg'"),
        ({"operated": {"capacitors": ["f*"]}}, r"no capacitor 'f\*'"),
        ({"monitored": ["sw_a", "transformer.x"]}, "no line or transformer 'transformer.x'"),
        ({"ratings_a": {"ab": 5.0}, "monitored": ["sw_a"]}, "fits nothing that is monitored"),
        ({"protection": [{"switch": "swa", "pickup_a": 1.0}]}, "no line 'swa'; did you mean 'sw_a'"),
        ({"faults": [{"bus": "z", "begins_s": 0}]}, "no bus 'z'"),
        ({"faults": [{"bus": "b", "begins_s": 5.2, "lasts_s": 0.8}]}, "between two steps of 1 s: it would never be"),
    ],
)
def test_what_the_feeder_does_not_have_is_refused(tmp_path: Path, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(PlaceError, match=why):
        ring(tmp_path, **settings)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"protection": [{"switch": "sw_a", "pickup_a": 1.0, "recloses_s": [-5.0]}]}, "greater than or equal to 0"),
        ({"faults": [{"bus": "b", "begins_s": 0, "phases": [1, 1]}]}, "phases 1, 1 name one twice"),
        ({"sane_v_pu": [2.0, 0.3]}, "must be a band from 0 or more to more than that, not 2 to 0.3"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], why: str) -> None:
    """It closed before it had opened; had half the resistance; let the run end with a collapse at 1 pu."""
    with pytest.raises(ValidationError, match=why):
        OpenDssSettings.model_validate({"feeder": "ring.dss", **settings})


def test_a_tie_that_its_own_control_has_open_is_open_and_closes_when_it_is_told(tmp_path: Path) -> None:
    """It was said to be closed from the first step on, and stood open until it was told to open."""
    text = RING.replace(" enabled=no\nNew Transformer", "\nNew Transformer").replace(
        "Set VoltageBases", "New SwtControl.tie switchedobj=Line.sw_tie switchedterm=1 normal=open\nSet VoltageBases"
    )
    grid = ring(tmp_path, text, monitored=["sw_tie"])
    assert grid.start()["switches"].tolist() == [1.0, 1.0, 0.0]
    values = grid.step(0, told(1, 1, 1))
    assert values["switches"].tolist() == [1.0, 1.0, 1.0]
    assert values["current_a"][0] > 5.0


POLES = """Clear
New Circuit.c bus1=head basekv=12.47 r1=0 x1=0.5 r0=0 x0=0.5
New Line.sw_1 phases=1 bus1=head.1 bus2=b.1 switch=yes
New Line.sw_2 phases=1 bus1=head.2 bus2=b.2 switch=yes
New Line.sw_3 phases=1 bus1=head.3 bus2=b.3 switch=yes
New Load.mill phases=3 bus1=b kv=12.47 kw=900 kvar=0 model=1
New Load.home phases=1 bus1=b.2 kv=7.2 kw=50 kvar=0 model=1
Set VoltageBases=(12.47)
"""


@pytest.mark.parametrize(
    ("closed", "unserved_kw"), [((0, 1, 1), 300.0), ((1, 0, 1), 350.0), ((0, 0, 1), 650.0), ((0, 0, 0), 950.0)]
)
@pytest.mark.parametrize("parts_kw", [(90.0,), (60.0, 30.0)])
def test_where_some_phases_are_dead_the_others_are_served(
    tmp_path: Path, closed: tuple[int, int, int], unserved_kw: float, parts_kw: tuple[float, ...]
) -> None:
    """Its first phase spoke for all of a load, or a device: all was unserved, or nothing, and no balance closed."""
    (tmp_path / "poles.dss").write_text(POLES)
    read = OpenDssSettings.model_validate({"feeder": "poles.dss", "operated": {"switches": ["sw_*"]}})
    plants = tuple(Terminal(f"pv_{i}", "b", (1, 2, 3), 100.0) for i in range(len(parts_kw)))
    start = datetime(2025, 7, 15, tzinfo=UTC)
    context = Context("grid", tmp_path, start, S, 3600 * S, 1, terminals={"pv": plants})
    grid = OpenDssFeeder(read, context, Feeder(read, context))
    given = {"pv.p_kw": np.array(parts_kw), "pv.q_kvar": np.zeros(len(parts_kw))}
    values = grid.step(0, {**given, "switch_set": np.array(closed, dtype=np.float64)})
    assert values["unserved_kw"][0] == pytest.approx(unserved_kw)
    assert values["others_kw"][0] == pytest.approx(950.0 - unserved_kw, abs=1e-6)
    share = np.array(closed).sum() / 3
    assert values["pv.solved_kw"] == pytest.approx(share * np.array(parts_kw), abs=1e-6)
    assert values["pv.undelivered_kw"] == pytest.approx((1 - share) * np.array(parts_kw))


WIRE = """New Line.wire phases=3 bus1=b bus2=c r1=0.4 x1=0.8 r0=0.8 x0=2 c1={c} c0={c} length=1 units=km
{more}
Set VoltageBases"""


def poles(tmp_path: Path, closed: tuple[int, int, int], c_nf: float = 0.0, more: str = "") -> tuple[Values, Any]:
    """Return what there is behind switches of single poles with a line of three phases behind them, and where."""
    (tmp_path / "poles.dss").write_text(POLES.replace("Set VoltageBases", WIRE.format(c=c_nf, more=more)))
    read = OpenDssSettings.model_validate({"feeder": "poles.dss", "operated": {"switches": ["sw_*"]}})
    context = Context("grid", tmp_path, datetime(2025, 7, 15, tzinfo=UTC), S, 3600 * S, 1)
    grid = OpenDssFeeder(read, context, Feeder(read, context))
    values = grid.step(0, {"switch_set": np.array(closed, dtype=np.float64)})
    return values, lambda bus: [at(grid, values, f"{bus}.{phase}") for phase in (1, 2, 3)]


@pytest.mark.parametrize("c_nf", [0.0, 10.0])
@pytest.mark.parametrize(("closed", "unserved_kw"), [((0, 1, 1), 300.0), ((1, 0, 0), 650.0), ((0, 0, 0), 950.0)])
def test_a_phase_that_is_open_is_dead_on_the_lines_behind_it_too(
    tmp_path: Path, c_nf: float, closed: tuple[int, int, int], unserved_kw: float
) -> None:
    """It ran beside live ones, and so was taken for one of them: the run ended with a collapse of its voltage."""
    values, v_pu = poles(tmp_path, closed, c_nf)
    assert v_pu("c") == [pytest.approx(1.0 * is_closed, abs=0.02) for is_closed in closed]
    assert values["unserved_kw"][0] == pytest.approx(unserved_kw)
    assert values["others_kw"][0] == pytest.approx(950.0 - unserved_kw, abs=0.01)


@pytest.mark.parametrize(
    ("windings", "v_pu"),
    [("wye wye", [0.0, 1.0, 1.0]), ("wye delta", [1.0, 1.0, 1.0]), ("delta wye", [0.5, 0.5, 1.0])],
)
def test_a_phase_that_is_open_is_dead_behind_stars_and_not_behind_a_delta(
    tmp_path: Path, windings: str, v_pu: list[float]
) -> None:
    """In a delta the two coils of an open phase are in series between the others, and each has half of their voltage.

    Of a star whose coils are in delta on the other side the open one has the sum of the two others against it.
    """
    trafo = f"New Transformer.t buses=(c d) conns=({windings}) kvs=(12.47 0.48) kvas=(500 500) xhl=1"
    load = "New Load.d phases=3 bus1=d kv=0.48 kw=0.1 kvar=0 model=2\nEdit Load.mill enabled=no"
    bases = "Set VoltageBases=(12.47 0.48)\nCalcVoltageBases\n!"
    _, of = poles(tmp_path, (0, 1, 1), more=f"{trafo}\n{load}\n{bases}")
    assert of("d") == pytest.approx(v_pu, abs=0.03)


@pytest.mark.parametrize(
    "drawn",
    ["Load.d phases=1 bus1=c.1.2 kv=12.47 conn=delta kw=90", "Capacitor.c phases=1 bus1=c.1.2 kvar=90 kv=12.47"],
)
def test_what_stands_between_two_phases_feeds_none_of_them(tmp_path: Path, drawn: str) -> None:
    """A phase that had nothing but a load between it and a live one counted as alive."""
    values, of = poles(tmp_path, (0, 1, 1), more=f"Edit Load.mill enabled=no\nNew {drawn}")
    assert of("c") == pytest.approx([0.0, 1.0, 1.0], abs=0.01)
    assert values["others_kw"][0] == pytest.approx(50.0, abs=0.01)  # the home's


DELTA = "New Load.mine phases=3 bus1=c kv=12.47 conn=delta kw=300 kvar=90 model=1\nEdit Load.mill enabled=no"


def crowd(tmp_path: Path, c_nf: float, more: str = "") -> tuple[OpenDssFeeder, Values]:
    """Return a feeder with devices at `c`, and who drives the load of the mine if there is one; and their powers."""
    (tmp_path / "poles.dss").write_text(POLES.replace("Set VoltageBases", WIRE.format(c=c_nf, more=more)))
    read = OpenDssSettings.model_validate({"feeder": "poles.dss", "operated": {"switches": ["sw_*"]}})
    places: list[tuple[int, ...]] = [(1, 2, 3), (1,), (2,), (1, 2, 3)]
    terminals = {
        "pv": tuple(Terminal(f"pv_{i}", "c", phases, 100.0) for i, phases in enumerate(places)),
        "cars": (Terminal("car_0", "c", (1, 2), 50.0, draws=True),),
        "mines": (Terminal("mine_0", "c", (1, 2, 3), 300.0, element="mine", draws=True),),
    }
    drives = {name: each for name, each in terminals.items() if name != "mines" or "Load.mine" in more}
    context = Context("grid", tmp_path, datetime(2025, 7, 15, tzinfo=UTC), S, 3600 * S, 1, terminals=drives)
    grid = OpenDssFeeder(read, context, Feeder(read, context))
    given_kw = {"pv": [90.0, 30.0, 20.0, 60.0], "cars": [40.0], "mines": [240.0]}
    given = {f"{name}.p_kw": np.array(given_kw[name]) for name in drives}
    given |= {f"{name}.q_kvar": 0.1 * np.array(given_kw[name]) for name in drives}
    return grid, given


def poled(grid: OpenDssFeeder, step: int, given: Values, closed: tuple[int, int, int]) -> Values:
    """Return what there is at an instant with the poles closed so."""
    values = grid.step(step * S, {**given, "switch_set": np.array(closed, np.float64)})
    return {port: value.copy() for port, value in values.items()}


@pytest.mark.parametrize("c_nf", [0.0, 10.0])
@pytest.mark.parametrize("more", ["", DELTA])
def test_a_device_gives_nothing_at_phases_that_are_dead_and_all_else_goes_on(
    tmp_path: Path, c_nf: float, more: str
) -> None:
    """It drove the dead phase until there was no solution, which ended the run; so did a load between the phases."""
    grid, given = crowd(tmp_path, c_nf, more)
    closed = [(1, 1, 1), (0, 1, 1), (0, 0, 1), (0, 0, 0), (0, 1, 1), (1, 1, 1)]
    values = [poled(grid, k, given, poles) for k, poles in enumerate(closed)]
    shares = [(1, 1, 1, 1), (2 / 3, 0, 1, 2 / 3), (1 / 3, 0, 0, 1 / 3), (0, 0, 0, 0)]
    for found, share in zip(values, [*shares, *shares[1::-1]], strict=True):
        given_kw = np.array([90.0, 30.0, 20.0, 60.0])
        assert found["pv.solved_kw"] == pytest.approx(given_kw * share, abs=1e-6)
        assert found["pv.undelivered_kw"] == pytest.approx(given_kw * (1 - np.array(share)), abs=1e-9)
    assert [found["cars.solved_kw"][0] for found in values] == pytest.approx([40, 20, 0, 0, 20, 40], abs=1e-6)
    if more:
        assert [found["mines.solved_kw"][0] for found in values] == pytest.approx([240, 80, 0, 0, 80, 240], abs=1e-6)
        assert [found["unserved_kw"][0] for found in values] == pytest.approx([0, 180, 330, 330, 180, 0], abs=1e-6)
    assert values[5]["v_pu"] == pytest.approx(values[0]["v_pu"], abs=1e-9)


def test_a_feeder_of_which_a_phase_is_dead_is_taken_up_to_the_bit(tmp_path: Path) -> None:
    one, given = crowd(tmp_path, 10.0, DELTA)
    other, _ = crowd(tmp_path, 10.0, DELTA)
    one.start()
    other.start()
    for k, closed in enumerate([(1, 1, 1), (0, 1, 1)]):
        poled(one, k, given, closed)
    put_in(other, taken(one))
    for k, closed in enumerate([(0, 1, 1), (0, 1, 1), (0, 0, 1), (1, 1, 1)], start=2):
        expected, found = poled(one, k, given, closed), poled(other, k, given, closed)
        assert {port: value.tobytes() for port, value in found.items()} == {
            port: value.tobytes() for port, value in expected.items()
        }


def test_of_a_load_between_phases_is_left_what_is_between_live_ones(tmp_path: Path) -> None:
    """It was in series with itself between the other two phases: seldom was there a solution."""
    for closed, kw in [((1, 1, 1), 300.0), ((0, 1, 1), 100.0), ((0, 0, 1), 0.0)]:
        values, of = poles(tmp_path, closed, 10.0, DELTA.replace("enabled=no", "kw=0"))
        assert of("c") == pytest.approx(closed, abs=0.02)
        assert values["others_kw"][0] == pytest.approx(kw + 50.0 * closed[1], abs=0.01)
        assert values["unserved_kw"][0] == pytest.approx(300.0 - kw + 50.0 * (1 - closed[1]), abs=0.01)


def test_a_star_point_of_a_bank_is_alive_with_any_of_its_phases(tmp_path: Path) -> None:
    """It has the mean of its phases, of which the dead one has none: a third of the voltage of one."""
    bank = "New Capacitor.bank phases=3 bus1=c bus2=star.1.1.1 kv=12.47 kvar=300"
    (tmp_path / "poles.dss").write_text(POLES.replace("Set VoltageBases", WIRE.format(c=0.0, more=bank)))
    read = OpenDssSettings.model_validate(
        {"feeder": "poles.dss", "operated": {"switches": ["sw_*"]}, "sane_v_pu": (0, 2)}
    )
    context = Context("grid", tmp_path, datetime(2025, 7, 15, tzinfo=UTC), S, 3600 * S, 1)
    grid = OpenDssFeeder(read, context, Feeder(read, context))
    found = [
        at(grid, grid.step(k * S, {"switch_set": np.array(s)}), "star.1")
        for k, s in enumerate([[0.0, 1, 1], [0.0] * 3])
    ]
    assert found == [pytest.approx(1 / 3, abs=0.02), 0.0]


def test_what_is_open_has_no_admittance_in_a_matrix_whatever_the_order_of_its_rows() -> None:
    """Columns 0 to 2 of a symmetric one; between 0 and 2 is less than what counts, between 1 and 2 nothing."""
    values = np.array([2, -1, 1e-12, -1, 1, 1, 1e-12], np.complex128)
    rows, starts = np.array([0, 1, 2, 0, 1, 2, 0], np.int32), np.array([0, 3, 5, 7], np.int32)
    pairs = np.array([[0, 1, 0, 1, 2], [1, 0, 2, 2, 2]])
    assert coupling(values, rows, starts, pairs).tolist() == [True, True, False, False, True]


def test_an_arc_goes_on_while_one_of_its_phases_is_alive(tmp_path: Path) -> None:
    """It went out, in all phases, when the first one was dead."""
    (tmp_path / "poles.dss").write_text(POLES)
    fault = {"bus": "b", "begins_s": 0.0, "r_ohm": 1.0, "arc": True}
    read = OpenDssSettings.model_validate(
        {"feeder": "poles.dss", "operated": {"switches": ["sw_*"]}, "faults": [fault], "powers": "head"}
    )
    context = Context("grid", tmp_path, datetime(2025, 7, 15, tzinfo=UTC), S, 3600 * S, 1)
    grid = OpenDssFeeder(read, context, Feeder(read, context))
    stands = {0: (1, 1, 1), 1: (0, 1, 1), 2: (0, 1, 1), 3: (0, 0, 0), 4: (1, 1, 1)}
    head_kw = [float(grid.step(i * S, {"switch_set": np.array(s, float)})["head_kw"][0]) for i, s in stands.items()]
    through_1_ohm_kw = 12470**2 / 3 / (1 + 0.5**2) / 1000
    assert head_kw[0] == pytest.approx(3 * through_1_ohm_kw, rel=0.02)
    assert head_kw[1:3] == pytest.approx([2 * through_1_ohm_kw] * 2, rel=0.02)
    assert head_kw[4] == pytest.approx(950.0, rel=0.01)


BANKED = """Clear
New Circuit.c bus1=head basekv=12.47 r1=0 x1=0.5 r0=0 x0=0.5
New Line.sw phases=3 bus1=head bus2=a switch=yes
New Line.l phases=3 bus1=a bus2=b r1=0.4 x1=0.8 r0=0.8 x0=2 c1=0 c0=0 length=1
New Load.mill bus1=b phases=3 kv=12.47 kw=500 kvar=200 model=1
New Generator.unit bus1=b phases=3 kv=12.47 kw=100
New Capacitor.bank bus1=b phases=3 kv=12.47 kvar=300 states=({state})
New CapControl.bank capacitor=bank element=Line.l terminal=2 type={looks}
Set VoltageBases=(12.47)
"""


@pytest.mark.parametrize(
    ("state", "looks"),
    [(0, "voltage ptratio=60 onsetting=115 offsetting=123"), (1, "kvar onsetting=400 offsetting=-200")],
)
@pytest.mark.parametrize("operated", [{}, {"capacitors": ["bank"], "local_after_s": 1.0}])
def test_the_control_of_a_dead_bank_rests(tmp_path: Path, state: int, looks: str, operated: dict[str, object]) -> None:
    """It saw no voltage, or no kvar, and moved its bank, which stood otherwise after the outage than before."""
    (tmp_path / "f.dss").write_text(BANKED.format(state=state, looks=looks))
    read = OpenDssSettings.model_validate({"feeder": "f.dss", "operated": {"switches": ["sw"], **operated}})
    context = Context("grid", tmp_path, datetime(2025, 7, 15, tzinfo=UTC), S, 3600 * S, 1)
    grid = OpenDssFeeder(read, context, Feeder(read, context))
    told = {"capacitor_set": np.array([1.0 - state]), "commanded_at_s": np.array([-1e6])}
    found = [grid.step(i * S, {**told, "switch_set": np.array([c])})["head_kvar"][0] for i, c in enumerate([1.0, 0, 1])]
    assert found[1] == pytest.approx(0.0, abs=1e-9)
    assert found[2] == pytest.approx(found[0], abs=1e-6)
    assert grid._solver.positions.banks() == [[state, 0]]


ANNEX = """Clear
New Circuit.c bus1=head basekv=12.47 pu=1.0 r1=0 x1=0.1 r0=0 x0=0.1
New Line.sw phases=3 bus1=head bus2=a switch=yes
New Line.l phases=3 bus1=a bus2=b r1=0.1 x1=0.1 r0=0.1 x0=0.1 c1=0 c0=0 length=1
New Transformer.t phases=3 windings=2 buses=(b s) kvs=(12.47 4.16) kvas=(5000 5000) xhl=1
New Load.mill phases=3 bus1=s kv=4.16 kw=50 kvar=0 model=1
Set VoltageBases=(12.47 4.16)
"""


@pytest.mark.parametrize(
    "ends",
    [
        "Open Line.sw 1\nCalcVoltageBases",
        "CalcVoltageBases\nOpen Line.sw 2",
        "Edit Line.sw enabled=no\nCalcVoltageBases",
        "MakeBusList\nOpen Line.sw 1",
        "CalcVoltageBases",
    ],
)
@pytest.mark.parametrize(("by_hand", "v_pu"), [("", 1.0), ("SetkVBase bus=s kVLN=2.6", 4.16 / 3**0.5 / 2.6)])
def test_what_is_dead_in_the_file_has_the_bases_that_it_has_when_it_is_fed(
    tmp_path: Path, ends: str, by_hand: str, v_pu: float
) -> None:
    """What lay behind an open switch had one base voltage, whatever its transformers: it was fed at 0.33 pu."""
    (tmp_path / "f.dss").write_text(f"{ANNEX}{ends}\n{by_hand}\n")
    read = OpenDssSettings.model_validate({"feeder": "f.dss", "operated": {"switches": ["sw"]}})
    context = Context("grid", tmp_path, datetime(2025, 7, 15, tzinfo=UTC), S, 3600 * S, 1)
    grid = OpenDssFeeder(read, context, Feeder(read, context))
    values = grid.step(0, {"switch_set": np.array([1.0])})
    assert [at(grid, values, node) for node in ("b.1", "s.1")] == pytest.approx([1.0, v_pu], abs=0.01)


@pytest.mark.parametrize(
    "device",
    [
        "Fuse.own monitoredobj=Line.sw_b ratedcurrent=1",
        "Recloser.own monitoredobj=Line.sw_b",
        "Relay.own monitoredobj=Line.sw_a switchedobj=Line.sw_b type=voltage",
    ],
)
def test_what_the_files_own_protection_opens_is_operated_by_nobody_else(tmp_path: Path, device: str) -> None:
    """A fuse had blown, and its switch was said to be closed; a relay closed what had been told to open."""
    text = RING.replace("Set VoltageBases", f"New {device}\nSet VoltageBases")
    name = device.partition(" ")[0].lower()
    for path, settings in (
        (("operated", "switches"), {}),
        (("protection",), {"operated": {}, "protection": [{"switch": "sw_b", "pickup_a": 900.0}]}),
    ):
        with pytest.raises(PlaceError) as refused:
            ring(tmp_path, text, **settings)
        assert [(where, what.split(" of ")[0]) for where, what in refused.value.problems] == [(path, f"'sw_b': {name}")]
    ring(tmp_path, text, regulators="locked")
    ring(tmp_path, text, operated={"switches": ["sw_a", "sw_tie"]})
    ring(tmp_path, text.replace("Set VoltageBases", f"Disable {name}\nSet VoltageBases"))
