"""What a host has written arrives as it is there, while it grows, and nowhere else."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

from derloop.contract import Interface, Port
from derloop.hosts import copying
from derloop.hosts.channel import Malformed
from derloop.hosts.copying import Copies, Source
from derloop.results import series


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    (there := tmp_path / "there" / "series").mkdir(parents=True)
    (here := tmp_path / "here").mkdir()
    return there.parent, here


def copy(source: Source, copies: Copies) -> int:
    """Copy what has come since; return how many pieces that were."""
    return len([copies.take(*piece) for piece in source.pieces()])


def test_files_are_copied_as_they_grow(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "PIECE_BYTES", 4)
    there, here = folders
    source, copies = Source(there), Copies(here)
    (there / "series" / "a.arrows").write_bytes(b"0123456789")
    (there / "empty.log").touch()
    assert copy(source, copies) == 4  # three pieces of the first, and that there is a second
    with (there / "series" / "a.arrows").open("ab") as file:
        file.write(b"abc")
    assert copy(source, copies) == 1
    assert copy(source, copies) == 0
    assert (here / "series" / "a.arrows").read_bytes() == b"0123456789abc"
    assert (here / "empty.log").read_bytes() == b""
    assert copies.incomplete(source.digests()) == []


def test_a_file_that_was_changed_after_it_was_copied_is_told(folders: tuple[Path, Path]) -> None:
    there, here = folders
    source, copies = Source(there), Copies(here)
    for name in ("a", "b"):
        (there / name).write_bytes(b"0123")
    copy(source, copies)
    (there / "a").write_bytes(b"4567")
    (there / "c").write_bytes(b"late")
    assert copies.incomplete(source.digests()) == ["a", "c"]


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../run.json", "series/../../x", "a/.ssh/x", ".profile", "", "a//b", "a\0b", "a\nb", 7, None],
)
def test_a_path_that_leaves_the_run_is_refused(folders: tuple[Path, Path], path: object) -> None:
    with pytest.raises(Malformed, match="is no path of printable names, none hidden, below a run's folder"):
        Copies(folders[1]).take(path, 0, b"x")
    assert list(folders[1].iterdir()) == []


@pytest.mark.parametrize("path", ["a (1).json", "profiles/o'brien & söhne.csv", "a..b/c.csv", "日本/x", "a" * 255])
def test_a_path_of_any_printable_names_is_taken(folders: tuple[Path, Path], path: str) -> None:
    Copies(folders[1]).take(path, 0, b"x")
    assert (folders[1] / path).read_bytes() == b"x"


def test_what_is_there_already_is_not_touched(folders: tuple[Path, Path]) -> None:
    here = folders[1]
    (here / "run.json").write_text("{}")
    with pytest.raises(Malformed, match=r"run\.json is there already"):
        Copies(here).take("run.json", 0, b"x")
    Copies(here).take("logs/a.log", 0, b"of one host")
    with pytest.raises(Malformed, match=r"logs/a\.log is there already"):
        Copies(here).take("logs/a.log", 0, b"of another")
    assert (here / "logs" / "a.log").read_bytes() == b"of one host"


def test_a_link_to_elsewhere_is_not_followed(folders: tuple[Path, Path]) -> None:
    there, here = folders
    (here / "series").symlink_to(there)
    with pytest.raises(Malformed, match="would be outside of the run's folder"):
        Copies(here).take("series/a.arrows", 0, b"x")
    (there / "link").symlink_to("/etc/hostname")
    assert list(Source(there).pieces()) == []


def test_a_piece_that_leaves_a_gap_is_refused(folders: tuple[Path, Path]) -> None:
    copies = Copies(folders[1])
    copies.take("a", 0, b"0123")
    with pytest.raises(Malformed, match="a piece of a begins at 5, expected 4"):
        copies.take("a", 5, b"5")


# --- a run that is taken up again --------------------------------------------------------------------

PV = Interface(1, outputs={"p_kw": Port("kW", ("pv_1", "pv_2"))})


def recorded(folder: Path, first: int, goes_on: bool = False) -> None:
    """Record two instants from `first` on."""
    writer = series.Writer(folder, "pv", PV, goes_on)
    writer.write(np.arange(first, first + 2), {"p_kw": np.full((2, 2), float(first))})
    writer.close()


@pytest.mark.parametrize("piece_bytes", [3, 2**20])
def test_a_stream_that_was_begun_goes_on_with_what_the_host_records(
    folders: tuple[Path, Path], piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PIECE_BYTES", piece_bytes)
    there, here = folders
    (here / "series").mkdir()
    recorded(here / "series", 0)
    series.rewind(here / "series" / "pv.arrows", here / "series", 2)
    copies, source = Copies(here), Source(there)
    copies.go_on("series/pv.arrows")
    copies.go_on("series/loop@pv.arrows")  # there is none
    recorded(there / "series", 2, goes_on=True)
    copy(source, copies)
    assert copies.incomplete(source.digests()) == []
    (piece,) = [values for _, values in series.batches(here / "series" / "pv.arrows", ["p_kw"], 2)]
    assert piece["p_kw"].tolist() == [[2.0, 2.0], [2.0, 2.0]]
    times = [time_ns.tolist() for time_ns, _ in series.batches(here / "series" / "pv.arrows", ["p_kw"])]
    assert times == [[0, 1], [2, 3]]
    with (there / "series" / "pv.arrows").open("r+b") as file:
        file.seek(-20, 2)
        file.write(b"x")
    assert copies.incomplete(source.digests()) == ["series/pv.arrows"]


def test_a_file_of_an_earlier_attempt_stays_where_it_is_the_same_and_nothing_is_added(
    folders: tuple[Path, Path],
) -> None:
    here = folders[1]
    for name in ("tariff.json", "run.json"):
        (here / name).write_bytes(b"{}")
    copies = Copies(here)
    copies.take("tariff.json", 0, b"{}")
    assert copies.incomplete({"tariff.json": copying._digest(here / "tariff.json")}) == []
    copies.take("run.json", 0, b"{}")
    with pytest.raises(Malformed, match=r"run\.json is there already"):
        copies.take("run.json", 2, b"more")
    assert (here / "run.json").read_bytes() == b"{}"


def test_what_a_full_disk_takes_of_a_piece_is_cut_off(folders: tuple[Path, Path]) -> None:
    _, here = folders
    copies = Copies(here)
    copies.take("series/a.arrows", 0, b"0123456789")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            copies.take("series/a.arrows", 10, b"abcdefghij")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (here / "series" / "a.arrows").read_bytes() == b"0123456789"
