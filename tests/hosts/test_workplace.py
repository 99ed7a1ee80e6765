"""What a host that was killed has left in the temporary folder is removed by the next one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import time

import pytest

from derloop.errors import DerloopError
from derloop.hosts.workplace import PREFIX, remove_left, working_folder

AT_WORK = """
import sys
from derloop.hosts.workplace import working_folder
with working_folder(None) as folder:
    (folder / "run").mkdir()
    (folder / "run" / "grid.arrows").write_text("rows")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def aged(path: Path) -> None:
    os.utime(path, (time() - 11, time() - 11))


def test_a_folder_is_there_while_its_host_is_and_goes_when_that_was_killed(temporary: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", AT_WORK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    ) as host:
        assert host.stdout
        left = Path(host.stdout.readline().strip())
        aged(left)
        with working_folder(None) as mine:
            assert {*temporary.iterdir()} == {left, mine}
        host.kill()
        host.wait()
    os.utime(left)
    remove_left(temporary)
    assert (left / "run" / "grid.arrows").exists()  # it may be new, and about to be locked
    aged(left)
    with working_folder(None) as mine:
        assert [*temporary.iterdir()] == [mine]
    assert not [*temporary.iterdir()]


def test_what_is_no_folder_of_a_host_of_this_user_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere := temporary / "elsewhere").mkdir()
    (elsewhere / "kept").touch()
    (temporary / f"{PREFIX}link").symlink_to(elsewhere)
    (temporary / f"{PREFIX}file").touch()
    remove_left(temporary)
    (temporary / f"{PREFIX}other").mkdir()
    aged(temporary / f"{PREFIX}other")
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    remove_left(temporary)
    names = {path.name for path in temporary.iterdir()}
    assert names == {"elsewhere", f"{PREFIX}link", f"{PREFIX}file", f"{PREFIX}other"}
    assert (elsewhere / "kept").exists()


def test_a_place_that_was_asked_for_serves_every_run_and_keeps_what_it_holds(tmp_path: Path) -> None:
    (place := tmp_path / "on" / "scratch").mkdir(parents=True)
    (place / "kept").touch()
    for _ in range(2):  # the place is the same in each run of a hosts file; it had to be empty, and so served one run
        with working_folder(place) as folder, working_folder(place) as other:
            (folder / "run").mkdir()
            assert {*place.iterdir()} == {folder, other, place / "kept"}
        assert [*place.iterdir()] == [place / "kept"]
    (left := place / f"{PREFIX}killed").mkdir()
    aged(left)
    with working_folder(place):
        assert not left.exists()


def test_folders_that_another_machine_has_in_the_place_stay(tmp_path: Path) -> None:
    (theirs := tmp_path / "derloop-host-elsewhere.invalid-x").mkdir()
    aged(theirs)
    with working_folder(tmp_path):
        assert theirs.exists()


def test_a_place_that_is_missing_is_made_and_a_file_is_none(tmp_path: Path) -> None:
    with working_folder(tmp_path / "new" / "place") as folder:
        assert folder.parent == tmp_path / "new" / "place"
    (tmp_path / "file").touch()
    with pytest.raises(DerloopError, match="is no folder"), working_folder(tmp_path / "file"):
        pass
