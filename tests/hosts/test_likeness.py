"""What must be alike on every host of a run, and how differences are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from outside import install

from derloop import plugins
from derloop.hosts import likeness
from derloop.hosts.likeness import differences, facts, file_differences, hashes, named_files, offers_of
from derloop.plugins import KINDS, REALISATIONS
from derloop.scenario.loading import load

SCENARIOS = Path(__file__).parents[2] / "scenarios"


def with_feeders(*paths: str) -> dict[str, Any]:
    return {"federates": {f"grid_{i}": {"kind": "opendss", "feeder": path} for i, path in enumerate(paths)}}


def test_every_difference_of_versions_is_named() -> None:
    here = {"python": "3.11.9", "numpy": "2.1.0", "machine": "x86_64"}
    there = {"python": "3.12.1", "numpy": "2.1.0", "helics": "3.6.1"}
    assert differences(here, there) == [
        "python is 3.12.1 there, 3.11.9 here",
        "machine is unknown there, x86_64 here",
        "helics is 3.6.1 there, unknown here",
    ]
    assert differences(facts({}), facts({})) == []
    assert {"python", "derloop", "helics", "highspy", "numpy", "opendssdirect.py", "machine"} <= facts({}).keys()


def test_derloop_of_the_same_version_and_with_another_code_is_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkout" / "maps").mkdir(parents=True)
    (tmp_path / "checkout" / "__init__.py").touch()
    (tmp_path / "checkout" / "maps" / "inverter.json").write_text("1")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(likeness, "CODE", ("checkout", "not_installed"))
    here = facts({})
    (tmp_path / "checkout" / "compiled.pyc").touch()
    (tmp_path / "checkout" / ".#__init__.py").symlink_to("somebody@here.4711:1764540000")  # open in Emacs
    assert facts({}) == here
    (tmp_path / "checkout" / "maps" / "inverter.json").write_text("2")
    there = facts({})
    code = "derloop's code"
    assert differences(here, there) == [f"{code} is {there[code]} there, {here[code]} here"]


def test_packages_that_offer_what_a_scenario_has_are_alike_and_other_plug_ins_may_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, point in (("heater", "heat-pump"), ("windmill", "wind-farm")):
        monkeypatch.syspath_prepend(str(install(tmp_path / name, name, {KINDS: {point: f"{name}:KIND"}}, "")))
    plugins._offered.cache_clear()
    here = facts({KINDS: ["heat-pump", "opendss"], REALISATIONS: ["emulator"]})
    plugins._offered.cache_clear()
    assert here["heater"] == "1.0"
    assert "windmill" not in here
    assert here["derloop"] == facts({})["derloop"]


def test_the_files_of_a_scenario_are_those_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "feeders").mkdir()
    (tmp_path / "frames" / "a").mkdir(parents=True)
    for name in ("scenario.json", "load.csv", "other.csv", "feeders/lines.dss", "feeders/codes.txt", "frames/a/1.bin"):
        (tmp_path / name).touch()
    (tmp_path / "feeders" / "main.dss").write_text("Clear\nRedirect lines.dss\n! nothing.txt\nRedirect main.dss\n")
    (tmp_path / "feeders" / "lines.dss").write_text('New LineCode.a file="codes.txt" (../../etc/passwd)\n')
    document = {
        "federates": {
            "grid": {"kind": "opendss", "feeder": "feeders/main.dss"},
            "homes": {"kind": "unknown", "file": "load.csv", "also": "/etc/passwd", "up": "..", "here": "."},
            "fleet": {
                "kind": "battery",
                "via": "replay:frames",
                "at": [{"bus": "a", "rated_kva": 5}],
                "energy_kwh": 10,
            },
        }
    }
    assert named_files(tmp_path / "scenario.json", document) == [
        "feeders/codes.txt",
        "feeders/lines.dss",
        "feeders/main.dss",
        "frames/a/1.bin",
        "load.csv",
        "scenario.json",
    ]


@pytest.mark.parametrize(
    ("lines", "files"),
    [
        ('Redirect "my lines.dss"', ["my lines.dss"]),
        ("red 'my lines.dss'\nBusCoords (bus places.csv)", ["bus places.csv", "my lines.dss"]),
        ("Compile codes.txt", ["codes.txt", "more codes.txt"]),
        ("New LoadShape.a mult=(file=codes.txt)", ["codes.txt"]),
        ('New LoadShape.a mult=(file="bus places.csv")', ["bus places.csv"]),
    ],
)
def test_what_a_feeder_redirects_to_is_found_however_it_is_written(
    tmp_path: Path, lines: str, files: list[str]
) -> None:
    for name in ("my lines.dss", "bus places.csv", "more codes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "codes.txt").write_text('  redirect file="more codes.txt"\n')
    (tmp_path / "main.dss").write_text(f"Clear\n{lines}\n")
    assert named_files(tmp_path / "s.json", with_feeders("main.dss")) == sorted(["s.json", "main.dss", *files])


def test_a_link_is_found_by_its_own_name_and_a_feeder_behind_one_with_what_lies_beside_it(tmp_path: Path) -> None:
    for folder in ("data", "feeders", ".annex"):
        (tmp_path / folder).mkdir()
    (tmp_path / ".annex" / "a1.csv").touch()
    (tmp_path / "load.csv").symlink_to(".annex/a1.csv")
    (tmp_path / "data" / "main.dss").write_text("Redirect lines.dss\n")
    (tmp_path / "data" / "lines.dss").touch()
    (tmp_path / "feeders" / "town.dss").symlink_to("../data/main.dss")
    (tmp_path / "lab").symlink_to("data")
    files = with_feeders("feeders/town.dss", "lab/main.dss")
    files["federates"]["homes"] = {"kind": "load", "loads": ["a"], "profile": {"file": "load.csv", "column": "pu"}}
    assert named_files(tmp_path / "s.json", files) == [
        "data/lines.dss",
        "feeders/town.dss",
        "lab/lines.dss",
        "lab/main.dss",
        "load.csv",
        "s.json",
    ]
    (tmp_path / "load.csv").unlink()
    (tmp_path / "load.csv").symlink_to("/etc/passwd")
    assert "load.csv" not in named_files(tmp_path / "s.json", files)


def test_what_a_document_that_a_scenario_names_has_of_files_is_found(tmp_path: Path) -> None:
    for folder in ("tariffs", "maps", "profiles"):
        (tmp_path / folder).mkdir()
    for name in ("profiles/prices.csv", "profiles/example.csv", "maps/inverter.csv"):
        (tmp_path / name).touch()
    for name, data in {
        "tariffs/dynamic.json": {
            "$schema": "a.schema.json",
            "name": "maps",
            "source": "profiles/example.csv",
            "currency": "USD",
            "real_time": {"file": "profiles/prices.csv", "column": "usd_per_kwh"},
        },
        "tariffs/a.schema.json": {"examples": ["profiles/example.csv"]},
        "maps/served.json": {"clones": {"a": {"scan": "scan.json"}}},
        "maps/scan.json": {"registers": "inverter.csv", "beside": "../../run.token"},
    }.items():
        (tmp_path / name).write_text(json.dumps(data))
    (tmp_path / "tariffs" / "torn.json").write_text("{")
    document = {
        "federates": {
            "dynamic": {"kind": "tariff", "tariff": "tariffs/dynamic.json"},
            "torn": {"kind": "tariff", "tariff": "tariffs/torn.json"},
            "fleet": {
                "kind": "battery",
                "via": "emulator:maps/served.json",
                "at": [{"bus": "a", "rated_kva": 5}],
                "energy_kwh": 10,
            },
        }
    }
    assert named_files(tmp_path / "s.json", document) == [
        "maps/inverter.csv",
        "maps/scan.json",
        "maps/served.json",
        "profiles/prices.csv",
        "s.json",
        "tariffs/dynamic.json",
        "tariffs/torn.json",
    ]


def test_the_files_of_a_shipped_scenario_are_found() -> None:
    path = SCENARIOS / "quickstart.json"
    found = named_files(path, json.loads(path.read_text()))
    assert {"quickstart.json", "feeders/ieee13/ieee13.dss", "profiles/load_shapes_summer.csv"} <= set(found)


def test_a_file_that_is_missing_or_another_one_is_named(tmp_path: Path) -> None:
    for where, text in (("here", "1"), ("there", "2")):
        (tmp_path / where).mkdir()
        (tmp_path / where / "same.csv").write_text("0")
        (tmp_path / where / "load.csv").write_text(text)
    (tmp_path / "here" / "sun.csv").write_text("0")
    paths = ["load.csv", "same.csv", "sun.csv"]
    here = {path: str(digest) for path, digest in hashes(tmp_path / "here", paths).items()}
    there = hashes(tmp_path / "there", paths)
    assert file_differences(here, there) == ["load.csv is another file there", "sun.csv is missing there"]


def test_nothing_outside_the_scenarios_folder_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "secret").write_text("x")
    assert hashes(tmp_path / "study", ["../secret", "/etc/passwd", "\0"]) == {
        "../secret": None,
        "/etc/passwd": None,
        "\0": None,
    }


def test_what_a_scenario_has_of_plug_ins_is_asked_for_by_name() -> None:
    offers = offers_of(load(SCENARIOS / "quickstart.json"))
    assert {"opendss", "pv", "vpp"} <= {*offers[KINDS]}
    assert offers[REALISATIONS] == ["emulator", "model"]
