"""What one user's killed run left is no other user's to take."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kept import KeptDevice, keep

from derloop.errors import Interlocked
from hil.inverter.device import Identity
from hil.modbus.thread import LoopThread
from hil.safety.folder import Run, StateFolder
from hil.safety.notice import Notices
from hil.serving.fleet import BankServer
from hil.sunspec.points import Value

Holds = Callable[..., list[Value]]
As = Callable[[int], KeptDevice]
ANN, BOB = 40_001, 40_002
"""Users whom no machine knows by name."""


@pytest.fixture
def user(emulator: BankServer, tmp_path: Path, thread: LoopThread, monkeypatch: pytest.MonkeyPatch) -> Iterator[As]:
    """Return what turns to a user, and makes a device that is kept by a run of theirs."""
    made: list[KeptDevice] = []

    def make(uid: int) -> KeptDevice:
        monkeypatch.setattr("hil.safety.notice.os.getuid", lambda: uid)
        own = tmp_path / str(uid)
        state = StateFolder(own, (own / "locks", tmp_path / "machine"))
        made.append(keep(emulator.addresses[0], tmp_path, thread, run=str(uid), state=state))
        return made[-1]

    yield make
    for each in made:
        each.die()


def test_what_another_users_run_left_is_not_taken_until_it_is_restored(user: As, holds: Holds) -> None:
    anns = user(ANN)
    anns.take()
    anns.command(p_w=2500.0)
    anns.die()
    bobs = user(BOB)
    with pytest.raises(Interlocked, match=r"was not restored: run .*/40001 of user 40001, taken .*of yours makes"):
        bobs.take()
    assert holds("704.WSet", "704.WSetEna") == [2500, 1]
    with pytest.raises(Interlocked, match="was not restored: device 'inv-1'"):  # who left it knows more
        user(ANN).take()
    assert "restored to what was found" in anns.thread.run(user(ANN).keeper.leave_safe())
    assert holds("704.WSetEna") == [0]
    bobs = user(BOB)
    bobs.take()
    bobs.let_go()


def test_who_makes_a_device_safe_that_another_left_may_take_it_then(user: As, holds: Holds) -> None:
    anns = user(ANN)
    anns.take()
    anns.command(p_w=2500.0)
    anns.die()
    bobs = user(BOB)
    done = bobs.thread.run(bobs.keeper.leave_safe())
    assert "brought to its safe state; what it held is in the record of user 40001: run" in done
    assert holds("704.WSetEna") == [0]
    bobs.take()
    bobs.let_go()


def test_what_was_let_go_of_is_anybodys(user: As) -> None:
    for uid in (ANN, BOB, ANN):
        device = user(uid)
        device.take()
        device.command(p_w=2500.0)
        device.let_go()


def test_a_notice_is_of_the_device_that_was_there_and_not_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notices = Notices(StateFolder(tmp_path, (tmp_path / "locks", tmp_path / "machine")), ["place"])
    was, other = Identity("Maker", "Model", "1", "4711"), Identity("Maker", "Model", "1", "4712")
    notices.post(Run(tmp_path, tmp_path / "lab.json"), was)
    assert notices.of_another(was) is None
    monkeypatch.setattr("hil.safety.notice.os.getuid", lambda: ANN)
    found = notices.of_another(was)
    assert found
    assert found.goes_on
    assert notices.of_another(Identity()) == found
    assert notices.of_another(other) is None
    notices.withdraw()
    assert notices.of_another(was) is None


@pytest.mark.timeout(20)
def test_whatever_another_user_puts_in_a_notices_place_keeps_nobody_waiting(tmp_path: Path) -> None:
    machine = tmp_path / "machine"
    machine.mkdir()
    notices = Notices(StateFolder(tmp_path, (tmp_path / "locks", machine)), ["place"])
    os.mkfifo(machine / "place.taken")
    assert notices.of_another(Identity()) is None
    (machine / "place.taken").unlink()
    (machine / "place.taken").write_bytes(b'{"uid": 1e99')
    assert notices.of_another(Identity()) is None
