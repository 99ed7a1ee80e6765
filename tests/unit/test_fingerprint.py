"""A run's fingerprint follows from every file that its scenario names, and from nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from derloop.scenario.fingerprint import Fingerprints


def write(folder: Path, name: str, text: str) -> str:
    """Write a file into the folder; return its name."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return name


def of_feeder(folder: Path, name: str) -> dict[str, str]:
    write(folder, "feeder/codes.txt", "r1=0.3465")
    return {"feeder": write(folder, f"feeder/{name}", "New Line.a codes.txt")}


def of_linked_feeder(folder: Path) -> dict[str, str]:
    of_feeder(folder, "master.dss")
    (folder / "town.dss").symlink_to("feeder/master.dss")
    return {"feeder": "town.dss"}


def of_run(folder: Path) -> dict[str, str]:
    write(folder, "base/run.json", "{}")
    write(folder, "base/series/grid.parquet", "of seed 1")
    return {"against": "base"}


def of_tariff(folder: Path) -> dict[str, str]:
    write(folder, "prices.csv", "0.1")
    return {"tariff": write(folder, "tariffs/dynamic.json", '{"real_time": {"file": "prices.csv"}}')}


NAMING: dict[str, tuple[Callable[[Path], dict[str, str]], str]] = {
    "feeder in lower case": (lambda folder: of_feeder(folder, "master.dss"), "feeder/codes.txt"),
    "feeder in OpenDSS's own spelling": (lambda folder: of_feeder(folder, "Master.DSS"), "feeder/codes.txt"),
    "what lies beside a feeder": (lambda folder: of_feeder(folder, "master.dss"), "feeder/else.dat"),
    "what lies beside a feeder that a link leads to": (of_linked_feeder, "feeder/else.dat"),
    "folder of a run to compare with": (of_run, "base/series/grid.parquet"),
    "prices of a tariff": (of_tariff, "prices.csv"),
    "profile": (lambda folder: {"file": write(folder, "p.csv", "1")}, "p.csv"),
    "recording after a colon": (lambda folder: {"via": f"replay:{write(folder, 'f/a.bin', '1')}"}, "f/a.bin"),
}


@pytest.mark.parametrize("what", NAMING)
def test_a_file_that_changes_changes_the_fingerprint(what: str, tmp_path: Path) -> None:
    named, changed = NAMING[what]
    document = named(tmp_path)
    before = Fingerprints().of(document, tmp_path)
    write(tmp_path, "not-named.csv", "1")
    assert Fingerprints().of(document, tmp_path) == before
    write(tmp_path, changed, "something else")
    assert Fingerprints().of(document, tmp_path) != before


def test_folders_that_are_called_as_what_names_no_file_do_not_change_the_fingerprint(tmp_path: Path) -> None:
    document = {
        "name": "study",
        "placement": "hosts",
        "hosts": {"lab": ["homes"]},
        "federates": {"homes": {"kind": "load", "via": "model", "profile": "day.csv"}, "vpp": {"via": "replay:base"}},
        "checks": [{"kind": "any-of", "of": [{"kind": "peak", "against": "golden"}]}],
    }
    for name in ("study", "hosts", "homes", "load", "model", "any-of", "peak", "replay", "base", "golden"):
        write(tmp_path, f"{name}/run.json", "{}")
    write(tmp_path, "day.csv", "1")
    found = [str(path.relative_to(tmp_path)) for path in Fingerprints().files(document, tmp_path)]
    assert found == ["base/run.json", "day.csv", "golden/run.json"]


def test_what_runs_and_sweeps_leave_beside_a_feeder_does_not_change_the_fingerprint(tmp_path: Path) -> None:
    document = {"feeder": write(tmp_path, "feeder.dss", "New Line.a")}
    for name in ("scenario.json", "sweep.json", ".git/index"):
        write(tmp_path, name, "before")
    before = Fingerprints().of(document, tmp_path)
    for name in ("run.json", "events.jsonl", "series/grid.parquet", "checkpoints/1.npz", "junit.xml"):
        write(tmp_path, f"runs/a/{name}", "")
        write(tmp_path, f"sweeps/s/runs/key/{name}", "")
    for name in ("sweep.json", ".lock", "table.csv", "sweep.html", "runs/key.log"):
        write(tmp_path, f"sweeps/s/{name}", "")
    for name in ("scenario.json", "sweep.json", ".git/index"):
        write(tmp_path, name, "something else")
    assert Fingerprints().of(document, tmp_path) == before
    write(tmp_path, "runs/codes.txt", "r1=0.3465")
    assert Fingerprints().of(document, tmp_path) != before


def test_the_schema_that_editors_read_does_not_change_the_fingerprint(tmp_path: Path) -> None:
    document = {"$schema": write(tmp_path, "scenario.schema.json", "{}"), **of_tariff(tmp_path)}
    before = Fingerprints().of(document, tmp_path)
    assert Fingerprints().files(document, tmp_path) == [tmp_path / "prices.csv", tmp_path / "tariffs/dynamic.json"]
    write(tmp_path, "scenario.schema.json", '{"title": "of a newer kind"}')
    assert Fingerprints().of(document, tmp_path) == before
    assert Fingerprints().of({**document, "$schema": "../scenario.schema.json"}, tmp_path) == before


@pytest.mark.parametrize("length", [255, 256, 300, 5000])
def test_a_text_that_is_too_long_for_a_file_names_none(length: int, tmp_path: Path) -> None:
    assert Fingerprints().of({"description": "a" * length}, tmp_path)
