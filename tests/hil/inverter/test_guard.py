"""Every write passes a guard, and what a device holds is known, never believed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from emulated import equipped

from derloop.errors import Interlocked, Rejected
from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings
from hil.inverter.commands import Commands, VoltVarCurve
from hil.inverter.device import Device
from hil.inverter.group import DeviceGroup
from hil.inverter.guard import Change
from hil.inverter.lease import NO_LEASE, Lease, reversion
from hil.modbus.endpoint import Timing
from hil.modbus.link import Link
from hil.serving.fleet import BankServer

NAN = math.nan
CURVE = VoltVarCurve((0.9, 0.98, 1.02, 1.1), (0.3, 0.0, 0.0, -0.3), response_s=10.0)
BATTERY = Ratings("bat_1", 5e3, 5.5e3, 2420.0, 2000.0, 120.0, 1, p_max_charge_w=4e3, energy_wh=20e3)


class Notary:
    """Keeps what it is asked and told; refuses points by name."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.told: list[list[str]] = []
        self.changes: list[Change] = []
        self.refused: frozenset[str] = frozenset()

    def permit(self, changes: Sequence[Change], now_s: float) -> None:
        names = [change.point.name for change in changes]
        self.asked.append(names)
        self.changes += changes
        if not self.refused.isdisjoint(names):
            raise Interlocked("bat_1", "not today")

    def ahead(self, changes: Sequence[Change]) -> None:
        """Nothing is counted."""

    def written(self, changes: Sequence[Change], now_s: float) -> None:
        self.told.append([change.point.name for change in changes])

    def doubted(self, changes: Sequence[Change], now_s: float) -> None:
        """Nothing is counted."""


@pytest.fixture
def bank() -> RegisterBank:
    return equipped([BATTERY])


@pytest.fixture
def server(bank: RegisterBank) -> Iterator[BankServer]:
    with BankServer(bank) as serving:
        yield serving


def _group(server: BankServer, notary: Notary, lease: Lease = NO_LEASE, **how: object) -> DeviceGroup:
    link = Link("bat_1", server.addresses[0], Timing(deadline_s=20.0))
    return DeviceGroup.of([Device(link, lease, guard=notary, **how)])  # type: ignore[arg-type]


ALL = Commands(limit_fraction=np.array([0.5]), p_w=np.array([1000.0]), q_var=np.array([-300.0]))


def test_a_whole_command_is_asked_about_once_arming_first_and_enabling_last(server: BankServer) -> None:
    notary = Notary()
    with _group(server, notary, reversion(60)) as group:
        group.command(ALL, now_s=0.0)
    (asked,) = notary.asked
    times = [asked.index(f"704.{name}RvrtTms") for name in ("WMaxLimPct", "WSet", "VarSet")]
    values = [asked.index(f"704.{name}") for name in ("WMaxLimPct", "WSet", "VarSet")]
    assert max(times) < min(values)
    assert asked.index("704.VarSet") < asked.index("704.VarSetEna")
    assert [name for names in notary.told for name in names] == asked


def test_a_refused_command_writes_nothing_at_all(bank: RegisterBank, server: BankServer) -> None:
    notary = Notary()
    notary.refused = frozenset({"704.VarSet"})
    before = bank.image(0)
    with _group(server, notary, reversion(60)) as group, pytest.raises(Interlocked, match="not today"):
        group.command(ALL, now_s=0.0)
    assert np.array_equal(bank.image(0), before)
    assert notary.told == []


def test_a_change_says_what_was_and_what_will_be(server: BankServer) -> None:
    notary = Notary()
    with _group(server, notary) as group:
        group.command(Commands(p_w=np.array([-1234.4])), now_s=0.0)
    change = next(each for each in notary.changes if each.point.name == "704.WSet")
    assert (change.was, change.value) == (0, -1234)
    assert change.registers == (0xFFFF, 0x10000 - 1234)


def test_points_by_name_and_curves_pass_the_guard_too(bank: RegisterBank, server: BankServer) -> None:
    notary = Notary()
    with _group(server, notary) as group:
        group.write("bat_1", {"703.ESDlyTms": 60})
        assert notary.told == [["703.ESDlyTms"]]
        notary.refused = frozenset({"705.Crv.1.Pt.0.V"})
        with pytest.raises(Interlocked):
            group.command(Commands(volt_var=[CURVE]), now_s=0.0)
        assert len(notary.told) == 1
    assert not bank.settings().volt_var_on.any()


def test_nothing_is_asked_where_nothing_changes(server: BankServer) -> None:
    notary = Notary()
    with _group(server, notary) as group:
        for now_s in range(5):
            group.command(ALL, now_s=now_s)
    assert len(notary.asked) == 1


class _Stumbles(Notary):
    """Lets the first request of a command out and then fails, as a lost connection does."""

    def written(self, changes: Sequence[Change], now_s: float) -> None:
        super().written(changes, now_s)
        if len(self.told) == 2:
            raise Rejected("bat_1", "stumbled")


def test_what_was_written_and_not_read_back_counts_as_unknown(bank: RegisterBank, server: BankServer) -> None:
    notary = _Stumbles()
    with _group(server, notary) as group:
        group.command(Commands(limit_fraction=np.array([1.0])), now_s=0.0)
        with pytest.raises(Rejected, match="stumbled"):
            group.command(Commands(limit_fraction=np.array([0.4])), now_s=1.0)
        assert bank.settings().limit_fraction.tolist() == [0.4]
        group.command(Commands(limit_fraction=np.array([1.0])), now_s=2.0)
    assert bank.settings().limit_fraction.tolist() == [1.0]


def test_a_device_that_forgot_unseen_is_told_again_within_30_s(bank: RegisterBank, server: BankServer) -> None:
    with _group(server, Notary()) as group:
        group.command(Commands(limit_fraction=np.array([0.4])), now_s=0.0)
        bank.write(0, bank.maps[0]["704.WMaxLimPctEna"].address, [0])
        group.command(Commands(limit_fraction=np.array([0.4])), now_s=29.0)
        assert bank.settings().limit_fraction.tolist() == [1.0]
        group.command(Commands(limit_fraction=np.array([0.4])), now_s=30.0)
        assert bank.settings().limit_fraction.tolist() == [0.4]
        assert group.devices[0].lapses == 1


def test_what_a_lapsed_lease_leaves_behind_is_the_safe_state(bank: RegisterBank, server: BankServer) -> None:
    safe = {"704.WMaxLimPct": 20.0, "704.WMaxLimPctEna": 1.0}
    with _group(server, Notary(), reversion(60), safe=safe) as group:
        group.command(Commands(limit_fraction=np.array([0.9])), now_s=0.0)
        assert bank.settings().limit_fraction.tolist() == [0.9]
    bank.advance(61.0)
    assert bank.settings().limit_fraction.tolist() == [0.2]


def test_a_snapshot_holds_every_point_that_commands_may_write(server: BankServer) -> None:
    notary = Notary()
    with _group(server, notary, reversion(60)) as group:
        device = group.devices[0]
        snapshot = group._running().run(device.snapshot())
        group.command(ALL, now_s=0.0)
        group.command(Commands(volt_var=[CURVE]), now_s=1.0)
    assert {name for names in notary.told for name in names} <= snapshot.keys()
    assert snapshot["704.WSet"] == (0, 0)
    addresses = [device.map[name].address for name in snapshot]
    assert all(before < after for before, after in pairwise(addresses))
