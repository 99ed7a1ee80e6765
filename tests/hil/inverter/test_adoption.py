"""The hand-over of curves (705 to 712) with devices that are slow to do it, or to say so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from emulated import described

from derloop.errors import Rejected
from hil.emulator import adoption
from hil.emulator.access import Refusal
from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings
from hil.inverter import curves
from hil.inverter.commands import Commands, VoltVarCurve
from hil.inverter.group import DeviceGroup
from hil.inverter.lease import NO_LEASE
from hil.inverter.standing import Standing, StandingFunctions
from hil.serving.fleet import BankServer

CURVE = VoltVarCurve((0.9, 0.98, 1.02, 1.1), (0.3, 0.0, 0.0, -0.3), response_s=10.0)
FOLLOW = Commands(volt_var=[CURVE])
IN_PROGRESS, COMPLETED, FAILED = 0, 1, 2


class _Says(RegisterBank):
    """Says of an adoption, for its next readings, what it is told to say."""

    says: int | None = None
    times = 0

    def read(self, device: int, address: int, count: int) -> list[int] | Refusal:
        words = super().read(device, address, count)
        at = self.maps[device]["705.AdptCrvRslt"].address - address
        if self.says is not None and self.times > 0 and isinstance(words, list) and 0 <= at < count:
            self.times -= 1
            words[at] = self.says
        return words


def _bank(readings: int) -> _Says:
    return _Says([described(Ratings("pv_1", 10e3, 11e3, 4840.0, 4840.0, 240.0))], adoption_readings=readings)


@contextmanager
def _commanded(bank: RegisterBank) -> Iterator[DeviceGroup]:
    with BankServer(bank) as server, DeviceGroup({"pv_1": server.addresses[0]}, deadline_s=20.0) as group:
        yield group


@pytest.fixture
def slow() -> Iterator[tuple[_Says, DeviceGroup]]:
    bank = _bank(readings=4)
    with _commanded(bank) as group:
        yield bank, group


def _moved() -> RegisterBank:
    """A device that somebody has left with another reference, and that gives way to active power: but in its spare
    places."""
    description = described(Ratings("pv_1", 10e3, 11e3, 4840.0, 4840.0, 240.0))
    moved = {f"Crv.{i}.{name}": value for i in range(3) for name, value in (("VRef", 103.0), ("VRefAutoEna", 1))}
    priorities = {"Crv.0.Pri": "ACTIVE", "Crv.1.Pri": "REACTIVE", "Crv.2.Pri": "REACTIVE"}
    return RegisterBank([{**description, 705: {**description[705], **moved, **priorities}}])


def test_a_curve_stands_where_its_points_are_though_the_device_had_moved_its_reference() -> None:
    bank = _moved()
    with _commanded(bank) as group:
        group.command(FOLLOW, now_s=0.0)
    assert bank.settings().volt_var_v_pu[0, :4].tolist() == [0.9, 0.98, 1.02, 1.1]
    assert bank.number(0, "705.Crv.0.VRefAutoEna") == 0


def test_what_a_curve_does_not_say_stays_as_it_was_with_the_one_before() -> None:
    bank = _moved()
    with _commanded(bank) as group:
        group.command(FOLLOW, now_s=0.0)
    assert bank.number(0, "705.Crv.0.Pri") == 0


def test_a_device_that_has_had_no_curve_yet_gets_all_of_the_first_one() -> None:
    """Nothing stands in its active place, and something else in the spare ones."""
    description = described(Ratings("pv_1", 10e3, 11e3, 4840.0, 4840.0, 240.0))
    other = {"Pt.0.V": 107.0, "Pt.0.W": 100.0, "Pt.1.V": 108.0, "Pt.1.W": 20.0, "RspTms": 20.0}
    active = {f"Crv.0.{path}": None for path in other}
    spare = {f"Crv.{place}.{path}": value for place in (1, 2) for path, value in other.items()}
    bank = RegisterBank([{**description, 706: {**description[706], **active, **spare}}])
    wanted = {"Pt.0.V": 106.0, "Pt.0.W": 100.0, "Pt.1.V": 110.0, "Pt.1.W": 20.0, "RspTms": 8.0}
    function = Standing("volt_watt", "706.Ena", curve={"ActPt": 2.0, "DeptRef": "W_MAX_PCT", **wanted})
    with _commanded(bank) as group:
        standing = StandingFunctions(group.devices[0], [function], NO_LEASE, {})
        group._running().run(standing.keep(0.0))
    assert {path: bank.number(0, f"706.Crv.0.{path}") for path in wanted} == wanted
    assert bank.number(0, "706.Ena") == 1


def test_a_device_that_takes_its_time_is_waited_for(slow: tuple[_Says, DeviceGroup]) -> None:
    bank, group = slow
    group.command(FOLLOW, now_s=0.0)
    assert bank.settings().volt_var_on.tolist() == [True]


@pytest.mark.parametrize("stale", [COMPLETED, FAILED])
def test_a_result_that_still_stands_from_before_is_not_believed(slow: tuple[_Says, DeviceGroup], stale: int) -> None:
    bank, group = slow
    bank.says, bank.times = stale, 4  # the reading before the hand-over, and three after it
    group.command(FOLLOW, now_s=0.0)
    assert bank.settings().volt_var_on.tolist() == [True]
    assert bank.settings().volt_var_v_pu[0, :4].tolist() == [0.9, 0.98, 1.02, 1.1]


def test_a_device_that_never_adopts_is_rejected_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "ADOPTION_S", 0.05)
    bank = _bank(readings=10**9)
    refusal = pytest.raises(Rejected, match=r"has not adopted 705 Crv 2 within 0\.05 s: 705\.AdptCrvRslt is 0")
    with _commanded(bank) as group, refusal:
        group.command(FOLLOW, now_s=0.0)
    assert not bank.settings().volt_var_on.any()


def test_a_device_that_says_completed_and_is_not_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "ADOPTION_S", 0.05)
    bank = _bank(readings=10**9)
    bank.says, bank.times = COMPLETED, 10**9
    with _commanded(bank) as group, pytest.raises(Rejected, match=r"705\.Crv\.0\.\S+ was written \S+ and reads"):
        group.command(FOLLOW, now_s=0.0)
    assert not bank.settings().volt_var_on.any()


def test_after_a_refused_curve_another_one_is_adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    bank = _bank(readings=2)
    with _commanded(bank) as group:
        with monkeypatch.context() as strict:
            strict.setattr(adoption, "is_valid_curve", lambda *_: False)
            with pytest.raises(Rejected, match="did not adopt"):
                group.command(FOLLOW, now_s=0.0)
        group.command(FOLLOW, now_s=1.0)
    assert bank.settings().volt_var_on.tolist() == [True]
