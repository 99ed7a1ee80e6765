"""Balances: what closes passes; what makes or loses energy fails, by federate, element and instant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import derloop
from derloop.checks import balance
from derloop.checks.balance import judge_balances
from derloop.contract import Balance, Interface, Port
from derloop.results.recorder import Recorder
from derloop.results.store import RunFolder, finish
from derloop.verdict import Verdict, in_short
from derloop.wires import Ref, Wire, wiring_problems
from federates.der.battery import BatteryFleet
from federates.der.battery.losses import Conversion
from federates.grid.elements import Elements
from federates.grid.group import Group

SCENARIOS = Path(__file__).parents[2] / "scenarios"
HOUR = 3_600_000_000_000
UNITS = {"p_kw": "kW", "loss_kw": "kW", "used_kw": "kW", "stored_kwh": "kWh"}
STORE = Balance("energy", enters=("p_kw",), lost=("loss_kw",), stored=("stored_kwh",))
Series = Mapping[str, Any]


def tanks(balance: Balance, n: int = 2, step_ns: int = HOUR) -> Interface:
    labels = tuple(f"tank_{i}" for i in range(n))
    ports = (*balance.powers, *balance.stored)
    outputs = {name: Port(UNITS[name], labels) for name in ports if "." not in name}
    return Interface(step_ns, {name: Port("kW", labels) for name in ports if "." in name}, outputs, balances=(balance,))


def judged(folder: Path, interfaces: Mapping[str, Interface], series: Mapping[str, Series], *wires: Wire) -> Any:
    """Return the verdicts on `series`, for each federate and port an array (instants, elements)."""
    recorder = Recorder(folder, interfaces)
    for federate, ports in series.items():
        step_ns, rows = interfaces[federate].step_ns, len(next(iter(ports.values())))
        for k in range(rows):
            recorder.observe(federate, k * step_ns, {name: np.asarray(values[k]) for name, values in ports.items()})
    recorder.close()
    finish(folder)
    return judge_balances(interfaces, wires, RunFolder(folder))


def one(folder: Path, balance: Balance, n: int = 2, step_ns: int = HOUR, **ports: Any) -> Verdict:
    (verdict,) = judged(folder, {"tanks": tanks(balance, n, step_ns)}, {"tanks": ports})
    return verdict  # type: ignore[no-any-return]


def filled(rows: int, seed: int = 1, hours: float = 1.0) -> dict[str, Any]:
    """Return two stores that take in what enters less what they lose."""
    chance = np.random.default_rng(seed)
    p_kw, loss_kw = chance.uniform(-5, 5, (rows, 2)), chance.uniform(0, 1, (rows, 2))
    stored = 100 + np.cumsum((p_kw - loss_kw) * hours, axis=0) - (p_kw - loss_kw) * hours
    return {"p_kw": p_kw, "loss_kw": loss_kw, "stored_kwh": stored}


def test_what_enters_and_is_lost_or_stored_closes(tmp_path: Path) -> None:
    verdict = one(tmp_path, STORE, **filled(1000))
    assert (verdict.check, verdict.outcome) == ("energy balance of tanks", "PASS")
    assert verdict.measured is not None
    assert 0 < verdict.measured < 1e-11
    assert verdict.limit == 1e-9


@pytest.mark.parametrize("row", [0, 255, 256, 700])
def test_energy_from_nowhere_fails_with_its_instant_and_element(tmp_path: Path, row: int) -> None:
    series = filled(1000)
    series["stored_kwh"][row + 1 :, 1] += 1e-6
    verdict = one(tmp_path, STORE, **series)
    assert (verdict.outcome, verdict.where, verdict.when_ns) == ("FAIL", "tanks at 'tank_1'", row * HOUR)
    assert "1e-06 kW come from nowhere" in verdict.text
    assert verdict.margin is not None
    assert verdict.margin < 0


@pytest.mark.parametrize("values", [1, 6, 1000])
def test_blocks_of_any_size_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: int) -> None:
    monkeypatch.setattr(balance, "BLOCK_VALUES", values)
    assert one(tmp_path / "a", STORE, **filled(600)).text == "closes at 599 instants and over the run"
    series = filled(600)
    series["stored_kwh"][300:, 1] += 1e-6
    assert one(tmp_path / "b", STORE, **series).when_ns == 299 * HOUR


@pytest.mark.parametrize("columns", [1, 2])
def test_a_verdict_is_the_same_to_the_bit_however_its_run_comes_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """1e6 kW once allow 1e-3 kW at each instant, so that what is open over the run is nearest to its limit."""
    p_kw, leak_kw = np.random.default_rng(1).uniform([[[0.0]], [[0.0]]], [[[9.0]], [[1e-6]]], (2, 600, columns))
    p_kw[0] = 1e6
    series, passing = {"p_kw": p_kw, "loss_kw": p_kw - leak_kw}, Balance("energy", ("p_kw",), lost=("loss_kw",))
    found = set()
    for number, values in enumerate([14, 398, 2**15]):
        monkeypatch.setattr(balance, "BLOCK_VALUES", values)
        found.add(one(tmp_path / str(number), passing, columns, **series).measured)
    assert len(found) == 1


def test_energy_that_vanishes_fails_where_it_first_does(tmp_path: Path) -> None:
    series = filled(50)
    series["stored_kwh"][8:, 0] -= 0.5
    series["stored_kwh"][30:, 1] -= 40.0
    verdict = one(tmp_path, STORE, **series)
    assert (verdict.where, verdict.when_ns) == ("tanks at 'tank_0'", 7 * HOUR)
    assert "0.5 kW vanish" in verdict.text


def test_a_negative_loss_fails_although_the_sum_closes(tmp_path: Path) -> None:
    verdict = one(tmp_path, STORE, n=1, p_kw=[[1.0], [0.0]], loss_kw=[[-0.1], [0.0]], stored_kwh=[[5.0], [6.1]])
    assert (verdict.outcome, verdict.when_ns) == ("FAIL", 0)
    assert "a loss is negative" in verdict.text


def test_a_leak_that_no_instant_shows_fails_over_the_run(tmp_path: Path) -> None:
    """1e6 kW once allows 1e-3 kW at each instant, and 1e-3 kWh over the run; 0.9e-3 kW leak for 1000 h."""
    p_kw = np.zeros((1001, 1))
    p_kw[0] = 1e6
    stored = np.concatenate([[[0.0]], 1e6 - 0.9e-3 * np.arange(1, 1001)[:, np.newaxis]])
    verdict = one(tmp_path, STORE, n=1, p_kw=p_kw, loss_kw=np.zeros((1001, 1)), stored_kwh=stored)
    assert verdict.outcome == "FAIL"
    assert "over the run 0.9 kWh vanish" in verdict.text


def test_rounding_of_a_large_store_in_short_steps_is_no_leak(tmp_path: Path) -> None:
    series = filled(5000, hours=1 / 3600)
    series["stored_kwh"] += 1e5
    assert one(tmp_path, STORE, step_ns=HOUR // 3600, **series).outcome == "PASS"


def test_means_over_the_step_that_has_passed_belong_to_the_instant_before(tmp_path: Path) -> None:
    balance = Balance("heat", ("p_kw",), ("used_kw",), stored=("stored_kwh",), passed=("used_kw",))
    series = {"p_kw": [[3.0], [0.0], [0.0]], "used_kw": [[9.0], [1.0], [2.0]], "stored_kwh": [[0.0], [2.0], [0.0]]}
    assert one(tmp_path / "a", balance, n=1, **series).outcome == "PASS"
    series["used_kw"][1] = [2.0]
    verdict = one(tmp_path / "b", balance, n=1, **series)
    assert (verdict.check, verdict.when_ns) == ("heat balance of tanks", 0)


@pytest.mark.parametrize(("coupling", "seen"), [("direct", [0, 0, 1, 1, 2, 2]), ("delayed", [0, 0, 0, 1, 1, 2])])
def test_an_input_stands_for_what_its_wire_carried(tmp_path: Path, coupling: Any, seen: list[int]) -> None:
    """The source steps every 2 h, the reader every hour; before the first delayed value nothing is judged."""
    balance = Balance("power", ("pv.p_kw",), ("p_kw",), partner="pv")
    interfaces = {
        "grid": tanks(balance),
        "pv": Interface(2 * HOUR, outputs={"p_kw": Port("kW", ("tank_0", "tank_1"))}),
    }
    sent = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    wire = Wire(Ref("pv", "p_kw"), Ref("grid", "pv.p_kw"), coupling)
    heard = sent[seen]
    (verdict,) = judged(tmp_path / "a", interfaces, {"pv": {"p_kw": sent}, "grid": {"p_kw": heard}}, wire)
    assert (verdict.check, verdict.outcome) == ("power balance of grid with pv", "PASS")
    assert str(5 if coupling == "delayed" else 6) in verdict.text
    heard[4, 1] = 0.0
    (verdict,) = judged(tmp_path / "b", interfaces, {"pv": {"p_kw": sent}, "grid": {"p_kw": heard}}, wire)
    assert (verdict.outcome, verdict.where, verdict.when_ns) == ("FAIL", "grid at 'tank_1'", 4 * HOUR)


def test_what_cannot_be_told_is_allowed_and_no_more(tmp_path: Path) -> None:
    balance = Balance("power", ("p_kw",), ("used_kw",), resolution=(0.01, 0.5))
    near = {"p_kw": [[1.0, 1.0]], "used_kw": [[1.009, 1.4]]}
    assert one(tmp_path / "a", balance, **near).outcome == "PASS"
    near["used_kw"] = [[1.011, 1.4]]
    assert one(tmp_path / "b", balance, **near).where == "tanks at 'tank_0'"


def test_a_single_instant_says_nothing_of_a_store(tmp_path: Path) -> None:
    ports = {"p_kw": [[1.0, 1.0]], "loss_kw": [[0.0, 0.0]], "stored_kwh": [[1.0, 1.0]]}
    assert judged(tmp_path, {"tanks": tanks(STORE)}, {"tanks": ports}) == ()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (Balance("energy", ("p_kv",)), "no port 'p_kv'; did you mean 'p_kw'"),
        (Balance("energy", ("p_kw",), stored=("p_kw",)), "'p_kw' is in 'kW', not in 'kWh'"),
        (Balance("energy", ("p_kw",), ("head_kw",)), "not equally long"),
        (Balance("energy"), "needs a power"),
        (Balance("energy", ("p_kw",), times={"p_kw": (2.0,)}), "1 factors do not fit 2 elements of 'p_kw'"),
        (Balance("energy", ("p_kw",), resolution=(0.1, 0.1, 0.1)), "3 resolutions do not fit 2 elements"),
        (Balance("energy", ("p_kw",), whole=True, resolution=(0.1, 0.1)), "2 resolutions do not fit 1 elements"),
        (Balance("energy", ("p_kw",), tolerance=0.0), "has a tolerance of 0; it must be greater than 0"),
        (Balance("energy", ("p_kw",), passed=("p_kv",)), "no port 'p_kv'; did you mean 'p_kw'"),
    ],
)
def test_a_balance_that_cannot_be_judged_is_refused(wrong: Balance, why: str) -> None:
    outputs = {"p_kw": Port("kW", ("a", "b")), "head_kw": Port("kW", ("head",))}
    (problem,) = wiring_problems({"pv": Interface(HOUR, {}, outputs, balances=(wrong,))}, [])
    assert problem.pointer == "/federates/pv"
    assert why in problem.what


def test_balances_that_close_are_one_line_for_a_person_and_one_that_fails_is_its_own() -> None:
    def fields(check: str, outcome: str, measured: float, where: str, kind: str = "balance") -> dict[str, Any]:
        return {"check": check, "kind": kind, "outcome": outcome, "measured": measured, "limit": 1e-9, "where": where}

    peak, lost = fields("peak", "PASS", 3.0, "", "peak"), fields("of a", "FAIL", 1.0, "a")
    shown = in_short([lost, fields("of b", "PASS", 3e-13, "b at 'x'"), fields("with c", "PASS", 1e-14, "b"), peak])
    assert shown[:2] == [lost, peak]
    assert shown[2]["text"] == "2 balances of 1 federate, worst 3e-13 of the largest term"
    assert shown[2]["check"] == "energy balances"


# --- shipped kinds that were broken on purpose ---------------------------------------------------------


def failed(folder: Path, scenario: str, *changes: str) -> dict[str, Verdict]:
    """Return the balances that fail in a run, by name."""
    result = derloop.run(SCENARIOS / scenario, changes, engine="local", out=folder / "run", report=False)
    assert result.outcome == "completed"
    return {v.check: v for v in result.verdicts if v.kind == "balance" and v.outcome != "PASS"}


def test_shipped_kinds_close(tmp_path: Path) -> None:
    assert failed(tmp_path, "kind_battery.json") == {}


def test_a_grid_that_loses_the_injection_of_one_device_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(group: Group, inputs: Any) -> None:
        honest(group, {port: value * (np.arange(value.size) != 1) for port, value in inputs.items()})

    honest = Group.write
    monkeypatch.setattr(Group, "write", write)
    found = failed(tmp_path, "kind_wind.json")
    assert [*found] == ["power balance of grid with turbines"]
    assert found["power balance of grid with turbines"].where == "grid at 'turbines_1'"


def test_a_grid_that_takes_a_power_with_the_wrong_sign_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(group: Group, inputs: Any) -> None:
        honest(group, {port: -value if group.injects else value for port, value in inputs.items()})

    honest = Group.write
    monkeypatch.setattr(Group, "write", write)
    assert [*failed(tmp_path, "kind_battery.json")] == ["power balance of grid with storage"]


def test_a_grid_that_overlooks_a_load_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(elements: Elements) -> Any:
        return honest(elements) * np.array([name != "load.671" for name in elements.names])

    honest = Elements.powers
    monkeypatch.setattr(Elements, "powers", read)
    found = failed(tmp_path, "kind_opendss.json")
    assert [*found] == ["energy balance of grid"]
    assert found["energy balance of grid"].when_ns == 0


def test_a_battery_that_gains_energy_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def passing(fleet: BatteryFleet, now_ns: int) -> None:
        honest(fleet, now_ns)
        if now_ns == 2 * HOUR:
            fleet._cells.stored_kwh = fleet._cells.stored_kwh + 0.001

    honest = BatteryFleet._pass_until
    monkeypatch.setattr(BatteryFleet, "_pass_until", passing)
    found = failed(tmp_path, "kind_battery.json")
    assert [*found] == ["energy balance of storage"]
    assert found["energy balance of storage"].when_ns == 2 * HOUR - 900 * 10**9
    assert found["energy balance of storage"].where == "storage at 'storage_0'"


def test_a_state_of_charge_that_is_not_what_is_stored_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1e-6 of the charge is forgotten from 02:00 on, where the energy's own balance closes."""

    def outputs(fleet: BatteryFleet, *powers: Any) -> Any:
        found = honest(fleet, *powers)
        return {
            **found,
            "soc_pu": found["soc_pu"] * (1 - 1e-6 * (fleet._now_ns is not None and fleet._now_ns >= 2 * HOUR)),
        }

    honest = BatteryFleet._outputs
    monkeypatch.setattr(BatteryFleet, "_outputs", outputs)
    found = failed(tmp_path, "kind_battery.json")
    assert [*found] == ["charge balance of storage"]
    assert found["charge balance of storage"].when_ns == 2 * HOUR
    assert found["charge balance of storage"].measured == pytest.approx(1e-6, rel=0.7)


def test_a_battery_with_an_efficiency_above_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Conversion, "from_store", lambda _, p_kw: np.where(p_kw > 0, p_kw * 0.9, p_kw))
    found = failed(tmp_path, "kind_battery.json")
    assert "a loss is negative" in found["energy balance of storage"].text


def test_a_looser_solver_is_judged_to_three_times_its_tolerance(tmp_path: Path) -> None:
    result = derloop.run(
        SCENARIOS / "kind_opendss.json", ["federates.grid.tolerance=1e-5"], engine="local", out=tmp_path / "r"
    )
    (balance,) = (v for v in result.verdicts if v.kind == "balance")
    assert balance.outcome == "PASS"
    assert balance.limit == pytest.approx(3e-5)


def test_a_balance_is_not_judged_where_a_partner_has_left_nothing(tmp_path: Path) -> None:
    """As after a run of several processes, one of which ended before it recorded anything."""
    balance = Balance("power", ("p_kw",), ("other.used_kw",), partner="other")
    interfaces = {"tanks": tanks(balance), "other": Interface(HOUR, {}, {"used_kw": Port("kW", ("a", "b"))})}
    wire = Wire(Ref("other", "used_kw"), Ref("tanks", "other.used_kw"), "direct", "")
    assert judged(tmp_path, {"tanks": interfaces["tanks"]}, {"tanks": {"p_kw": np.zeros((3, 2))}}, wire) == ()


@pytest.mark.parametrize(("coupling", "heard"), [("direct", [1, 1, 2, 2, 3, 3]), ("delayed", [0, 1, 1, 2, 2, 3])])
def test_a_balance_is_judged_no_further_than_a_partner_was_recorded(
    tmp_path: Path, coupling: Any, heard: list[int]
) -> None:
    """A process that is killed loses what it had not written; what it gave out then is not what it gave out last."""
    balance = Balance("power", ("p_kw",), ("other.used_kw",), partner="other")
    other = Interface(2 * HOUR, {}, {"used_kw": Port("kW", ("tank_0", "tank_1"))})
    sent, taken = ([[x, x] for x in values] for values in ([1.0, 2.0], heard))
    series = {"tanks": {"p_kw": taken}, "other": {"used_kw": sent}}
    wire = Wire(Ref("other", "used_kw"), Ref("tanks", "other.used_kw"), coupling)
    (verdict,) = judged(tmp_path, {"tanks": tanks(balance), "other": other}, series, wire)
    assert (verdict.outcome, verdict.text) == ("PASS", "closes at 4 instants and over the run")
