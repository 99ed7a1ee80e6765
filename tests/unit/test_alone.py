"""Only one process works in a folder at a time."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from derloop.errors import DerloopError
from derloop.results.alone import LOCK, alone_in


def test_a_lock_that_its_holder_removes_just_before_it_is_taken_is_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def left_meanwhile(lock: int, how: int) -> None:
        (tmp_path / LOCK).unlink()
        flock(lock, how)

    with monkeypatch.context() as changed:
        changed.setattr(fcntl, "flock", left_meanwhile)
        with (
            pytest.raises(DerloopError, match="another run is still at work there"),
            alone_in(tmp_path, "another run is"),
        ):
            pass
    with alone_in(tmp_path, "another run is"):
        assert (tmp_path / LOCK).exists()
