"""By what a device is known of which a run has left a record: its place, its name, or itself at another address."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from hil.inverter.device import Identity
from hil.safety.folder import Run
from hil.safety.record import Record, Records
from hil.safety.unrestored import Sought

LAB, OTHER_LAB = Path("/lab/bench.json"), Path("/lab/other.json")
KNOWN, OF_A_KIND = Identity("Maker", "Model", "1.0", "SN 7"), Identity("Maker", "Model", "1.0")


def record(identity: Identity = KNOWN) -> Record:
    return Record(
        device="inv-1",
        place="tcp-a",
        address="a:502 unit 1",
        identity=identity,
        bench=LAB,
        run=Path("/runs/first"),
        pid=4711,
        began=1.5,
        taken=datetime(2026, 11, 28, 12, 0, tzinfo=UTC),
        points={},
        lease="lets go by itself within 60 s (reversion)",
    )


@pytest.mark.parametrize(
    ("name", "place", "bench", "identity", "is_it"),
    [
        ("pv", "tcp-a", OTHER_LAB, Identity(), True),
        ("inv-1", "tcp-b", LAB, Identity(), True),
        ("inv-1", "tcp-b", OTHER_LAB, Identity(), False),
        ("pv", "tcp-b", OTHER_LAB, Identity("Maker", "Model", "2.0", "SN 7"), True),
        ("pv", "tcp-b", OTHER_LAB, Identity("Maker", "Model", "1.0", "SN 8"), False),
    ],
)
def test_a_device_is_known_by_its_place_its_name_or_its_serial_number(
    name: str, place: str, bench: Path, identity: Identity, is_it: bool
) -> None:
    assert Sought(name, [place], identity, Run(Path("/runs/second"), bench)).is_of(record()) is is_it


def test_devices_of_a_kind_without_serial_numbers_are_not_taken_for_one_that_has_moved() -> None:
    sought = Sought("pv", ["tcp-b"], OF_A_KIND, Run(Path("/runs/second"), OTHER_LAB))
    assert not sought.is_of(record(OF_A_KIND))


def test_a_device_has_not_moved_from_an_address_at_which_its_bench_has_another_one() -> None:
    run = Run(Path("/runs/second"), OTHER_LAB, frozenset({"a:502 unit 1", "b:502 unit 1"}))
    assert not Sought("pv", ["tcp-b"], KNOWN, run).is_of(record())


def test_a_torn_record_of_one_device_keeps_nobody_from_others(tmp_path: Path) -> None:
    (tmp_path / "tcp-a.json").write_text("torn")
    run = Run(Path("/runs/second"), LAB)
    found = [Sought("x", [place], Identity(), run).among(Records(tmp_path)).unreadable for place in ("tcp-a", "tcp-b")]
    assert [len(each) for each in found] == [1, 0]
