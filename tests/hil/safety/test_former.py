"""Points of which nobody can read what they held: off, safe, told or refused, and never left in silence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from kept import state_in
from registers_only import RegistersOnly, served, string_inverter

from derloop.errors import Interlocked
from hil.bench.file import read_bench
from hil.bench.findings import find
from hil.bench.logbook import Logbook
from hil.bench.writing import write_points
from hil.inverter.commands import Order
from hil.inverter.device import Device
from hil.inverter.lease import NO_LEASE
from hil.inverter.map_file import RegisterFile
from hil.inverter.mapped import mapped, shipped_maps
from hil.modbus.endpoint import Address
from hil.modbus.link import Link
from hil.modbus.thread import LoopThread
from hil.safety.folder import Run
from hil.safety.keeper import Keeper
from hil.safety.record import Records
from hil.safety.restore import NotRestored
from hil.safety.rules import Limits, NoLease, SafeState, SafetyRules

LIMIT, REMOTE, REACTIVE = 202, 200, 203
"""Registers of the string inverter: 0.1 %; 0 local, 1 remote; 10 var."""


def only_written(*names: str, **changes: Any) -> RegisterFile:
    """Return the map of the string inverter with points that cannot be read, and other commands."""
    data = json.loads(shipped_maps()["example_string_inverter"].read_text(encoding="utf-8"))
    for name in names:
        data["points"][name]["access"] = "w"
    data["commands"] |= changes
    return RegisterFile.model_validate(data)


class Bench:
    """The string inverter behind a keeper, made anew as often as a run begins."""

    def __init__(self, address: Address, thread: LoopThread, folder: Path, file: RegisterFile) -> None:
        self._address, self._thread, self._folder = address, thread, folder
        self._language = mapped(file, "test")
        self.device: Device

    def keeper(self, safe: Mapping[str, float | str] | None = None) -> Keeper:
        rules = SafetyRules(
            lease=NoLease(kind="none", because="registers burn nothing"),
            safe_state=SafeState(points=safe or {}),
            limits=Limits(may_write=("*",)),
            restore_s=1.0,
        )
        self.device = Device(Link("inv-1", self._address), NO_LEASE, language=self._language)
        self._thread.run(self.device.discover())
        run = Run(self._folder / "run", self._folder / "lab.json")
        return Keeper(self.device, rules, ["inv-1"], state_in(self._folder), run)

    def limit(self, keeper: Keeper, fraction: float) -> None:
        self._thread.run(keeper.take())
        self._thread.run(self.device.command(Order(limit_fraction=fraction), 0.0))

    def let_go(self, keeper: Keeper) -> None:
        self._thread.run(keeper.let_go())
        self.close()

    def die(self, keeper: Keeper) -> None:
        keeper._unlock()
        self.close()

    def close(self) -> None:
        self._thread.run(self.device.link.close())

    def leave_safe(self, keeper: Keeper) -> str:
        said = self._thread.run(keeper.leave_safe())
        self.close()
        return said


@pytest.fixture
def registers() -> RegistersOnly:
    device = string_inverter()
    device.write_only = frozenset({REMOTE, LIMIT})
    return device


@pytest.fixture
def address(registers: RegistersOnly) -> Iterator[Address]:
    with served(registers) as where:
        yield where


BOTH = ("power_limit", "remote_control")


def test_what_turns_a_function_off_is_written_where_its_switch_cannot_be_read(
    registers: RegistersOnly, address: Address, thread: LoopThread, tmp_path: Path
) -> None:
    bench = Bench(address, thread, tmp_path, only_written(*BOTH))
    keeper = bench.keeper()
    bench.limit(keeper, 0.5)
    assert (registers.holding[LIMIT], registers.holding[REMOTE]) == (500, 1)
    bench.let_go(keeper)
    assert (registers.holding[LIMIT], registers.holding[REMOTE]) == (1000, 0)


def test_a_dead_run_is_undone_by_writing_what_nobody_can_read(
    registers: RegistersOnly, address: Address, thread: LoopThread, tmp_path: Path
) -> None:
    """A process that knows nothing of these registers must not take them for 0, which is what they are to hold."""
    bench = Bench(address, thread, tmp_path, only_written(*BOTH))
    keeper = bench.keeper(safe={"power_limit": 0.0})
    bench.limit(keeper, 0.5)
    bench.die(keeper)
    assert "restored to what was found" in bench.leave_safe(bench.keeper())
    assert (registers.holding[LIMIT], registers.holding[REMOTE]) == (0, 0)


def test_what_is_not_the_device_that_its_map_expects_is_not_written_to_when_it_is_restored(
    registers: RegistersOnly, address: Address, thread: LoopThread, tmp_path: Path
) -> None:
    """It says nothing of itself but its kind."""
    file = only_written()
    identity = file.identity.model_copy(update={"model": None, "serial": None})
    bench = Bench(address, thread, tmp_path, file.model_copy(update={"identity": identity}))
    registers.write_only = frozenset()
    keeper = bench.keeper()
    bench.limit(keeper, 0.5)
    bench.close()
    registers.holding |= {0: 4712, LIMIT: 700}
    before = dict(registers.holding)
    with pytest.raises(NotRestored, match=r"is no .*device_type at 0 reads 4712"):
        bench.let_go(keeper)
    bench.close()
    assert registers.holding == before


def test_a_first_setpoint_of_zero_is_written_to_what_cannot_be_read(
    registers: RegistersOnly, address: Address, thread: LoopThread, tmp_path: Path
) -> None:
    bench = Bench(address, thread, tmp_path, only_written(*BOTH))
    keeper = bench.keeper()
    bench.limit(keeper, 0.0)
    assert (registers.holding[LIMIT], registers.holding[REMOTE]) == (0, 1)
    bench.let_go(keeper)


BEHIND = {
    "limit_fraction": {
        "point": "power_limit",
        "factor": 100,
        "on": {"remote_control": "REMOTE"},
        "off": {"remote_control": "LOCAL"},
    }
}


def test_what_stays_behind_a_switch_that_is_off_is_told(
    registers: RegistersOnly, address: Address, thread: LoopThread, tmp_path: Path
) -> None:
    registers.write_only = frozenset({LIMIT})
    bench = Bench(address, thread, tmp_path, only_written("power_limit", **BEHIND, q_var=None))
    keeper = bench.keeper()
    bench.limit(keeper, 0.5)
    assert keeper.left_as_written == ("power_limit",)
    assert Records(state_in(tmp_path).records).read()[0][0].unknown == ("power_limit",)
    bench.die(keeper)
    told = "; nobody could read what was at power_limit: left as written last"
    assert bench.leave_safe(bench.keeper()).endswith(told)
    assert (registers.holding[LIMIT], registers.holding[REMOTE]) == (500, 0)


def test_what_nothing_ends_and_nobody_can_read_is_not_written_unless_it_is_said_what_is_safe(
    registers: RegistersOnly, address: Address, thread: LoopThread, tmp_path: Path
) -> None:
    """The watchdog's time belongs to no function of this map, and would stay as a run has set it."""
    registers.write_only = frozenset({201})
    bench = Bench(address, thread, tmp_path, only_written("watchdog_s", **BEHIND, q_var=None))
    keeper = bench.keeper()
    thread.run(keeper.take())
    with pytest.raises(Interlocked, match=r"watchdog_s: what it holds cannot be read.*safe_state may say"):
        thread.run(bench.device.write({"watchdog_s": 30.0}))
    assert registers.holding[201] == 0
    bench.let_go(keeper)
    keeper = bench.keeper(safe={"watchdog_s": 5.0})
    thread.run(keeper.take())
    thread.run(bench.device.write({"watchdog_s": 30.0}))
    assert registers.holding[201] == 30
    bench.let_go(keeper)
    assert registers.holding[201] == 5


def test_what_nobody_can_read_is_written_by_hand_as_it_is_to_stay(
    registers: RegistersOnly, address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERLOOP_STATE", str(tmp_path / "state"))
    registers.write_only = frozenset({201})
    file = only_written("watchdog_s", **BEHIND, q_var=None)
    (tmp_path / "map.json").write_text(file.model_dump_json(exclude_defaults=True), encoding="utf-8")
    entry = {"endpoint": address.endpoint.model_dump(mode="json"), "speaks": "map.json"}
    lease = {"kind": "none", "because": "registers burn nothing"}
    entry |= {"safety": {"lease": lease, "limits": {"may_write": ["watchdog_s"]}}}
    path = tmp_path / "lab.json"
    path.write_text(json.dumps({"name": "lab", "devices": {"inv-1": entry}}), encoding="utf-8")
    with Logbook(read_bench(path), "write") as logbook:
        write_points(read_bench(path), "inv-1", {"watchdog_s": 30.0}, ["inv-1"], logbook)
    assert registers.holding[201] == 30


def test_check_tells_how_points_are_left_that_nobody_can_read(address: Address, tmp_path: Path) -> None:
    file = only_written("power_limit", "remote_control", "watchdog_s")
    (tmp_path / "map.json").write_text(file.model_dump_json(exclude_defaults=True), encoding="utf-8")
    endpoint = address.endpoint.model_dump(mode="json")
    lease = {"kind": "none", "because": "registers burn nothing"}
    entry = {"endpoint": endpoint, "speaks": "map.json", "safety": {"lease": lease}}
    path = tmp_path / "lab.json"
    path.write_text(json.dumps({"name": "lab", "devices": {"inv-1": entry}}), encoding="utf-8")
    (found,) = find(read_bench(path), ["inv-1"])
    assert found.left == "off, or in the safe state: power_limit, remote_control; as written last: watchdog_s"
