"""A run's fingerprint follows from every file that its scenario names, and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from outside import install
from pydantic import BaseModel

from derloop import plugins
from derloop.scenario import naming
from derloop.scenario.fingerprint import Fingerprints


def write(folder: Path, name: str, text: str) -> str:
    """Write a file into the folder; return its name."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return name


def with_federate(**entry: Any) -> dict[str, Any]:
    return {"federates": {"it": entry}}


def with_profile(name: str) -> dict[str, Any]:
    return with_federate(kind="load", profile={"file": name, "column": "pu"}, loads=["671"])


def of_feeder(folder: Path, name: str) -> dict[str, Any]:
    write(folder, "feeder/codes.txt", "r1=0.3465")
    return with_federate(kind="opendss", feeder=write(folder, f"feeder/{name}", "New Line.a codes.txt"))


def of_linked_feeder(folder: Path) -> dict[str, Any]:
    of_feeder(folder, "master.dss")
    (folder / "town.dss").symlink_to("feeder/master.dss")
    return with_federate(kind="opendss", feeder="town.dss")


def of_run(folder: Path) -> dict[str, Any]:
    write(folder, "base/run.json", "{}")
    write(folder, "base/series/grid.parquet", "of seed 1")
    check = {"kind": "compared", "signal": "grid.head_kw", "against": "base", "reduction": 0.1}
    return {"checks": [{"kind": "any-of", "of": [check]}]}


def of_tariff(folder: Path) -> dict[str, Any]:
    write(folder, "prices.csv", "0.1")
    real_time = {"file": "prices.csv", "column": "usd_per_kwh"}
    said = {"$schema": "t.schema.json", "name": "a", "source": "made up", "currency": "USD", "real_time": real_time}
    return with_federate(kind="tariff", tariff=write(folder, "tariffs/dynamic.json", json.dumps(said)))


def of_own_control(folder: Path) -> dict[str, Any]:
    own = {"kind": "own-control", "class": "It", "reads": ["grid.head_kw"], "writes": ["grid.switch_set"]}
    return with_federate(
        **own, file=write(folder, "it.py", ""), parameters={"of": {"table": write(folder, "table.csv", "1")}}
    )


def of_recording(folder: Path) -> dict[str, Any]:
    write(folder, "f/frames/a.bin", "1")
    return with_federate(kind="battery", via="replay:f", at=[{"bus": "671", "rated_kva": 5}], energy_kwh=10)


def of_another_kind(folder: Path) -> dict[str, Any]:
    write(folder, "day.csv", "1")
    return with_federate(kind="of-another", days=write(folder, "days.json", '["day.csv"]'))


NAMING: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "feeder in lower case": (lambda folder: of_feeder(folder, "master.dss"), "feeder/codes.txt"),
    "feeder in OpenDSS's own spelling": (lambda folder: of_feeder(folder, "Master.DSS"), "feeder/codes.txt"),
    "feeder that is called as a text": (lambda folder: of_feeder(folder, "master.txt"), "feeder/codes.txt"),
    "what lies beside a feeder": (lambda folder: of_feeder(folder, "master.dss"), "feeder/else.dat"),
    "what lies beside a feeder that a link leads to": (of_linked_feeder, "feeder/else.dat"),
    "folder of a run to compare with": (of_run, "base/series/grid.parquet"),
    "prices of a tariff": (of_tariff, "prices.csv"),
    "profile": (lambda folder: with_profile(write(folder, "p.csv", "1")), "p.csv"),
    "recording after a colon": (of_recording, "f/frames/a.bin"),
    "code of a control": (of_own_control, "it.py"),
    "what a control is given": (of_own_control, "table.csv"),
    "what is listed in a file of another's kind": (of_another_kind, "day.csv"),
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


def test_what_is_called_as_a_setting_that_names_no_file_does_not_change_the_fingerprint(tmp_path: Path) -> None:
    document = {
        "name": "study",
        "placement": "hosts",
        "hosts": {"lab": ["it"]},
        **with_profile("day.csv"),
        "checks": [
            {"kind": "any-of", "of": [{"kind": "peak", "signal": "grid.head_kw", "limit_kw": 1, "name": "low"}]}
        ],
    }
    document["federates"] |= {
        "grid": {"kind": "opendss", "feeder": "street.dss", "regulators": "locked"},
        "homes": {
            "kind": "battery",
            "feeder": "grid",
            "via": "bench:inverter-1",
            "at": [{"bus": "671", "rated_kva": 5}],
            "energy_kwh": 10,
        },
    }
    called = "study hosts lab it load model 671 pu any-of peak grid.head_kw low grid opendss locked homes inverter-1"
    for name in called.split():
        write(tmp_path, f"{name}/run.json", "{}")
    write(tmp_path, "day.csv", "1")
    found = [str(path.relative_to(tmp_path)) for path in Fingerprints().files(document, tmp_path)]
    assert found == ["day.csv"]


def models(type_: Any) -> Iterator[type[BaseModel]]:
    """Yield the settings in a type, and those within them."""
    if isinstance(type_, type) and issubclass(type_, BaseModel):
        yield type_
        for field in type_.model_fields.values():
            yield from models(field.annotation)
    for part in get_args(type_):
        yield from models(part)


def test_every_setting_that_is_said_to_be_relative_to_the_scenario_says_so_by_its_type() -> None:
    kinds = [plugins.kind(name).settings for name in plugins.names(plugins.KINDS)]
    checks = [plugins.check_kind(name).settings for name in plugins.names(plugins.CHECKS)]
    said = {
        (model, name)
        for settings in (*kinds, *checks)
        for model in models(settings)
        for name, field in model.model_fields.items()
        if "relative to the scenario" in (field.description or "")
    }
    assert len(said) > 5
    assert [(model.__name__, name) for model, name in said if name not in naming._marks(model)] == []


LAMPS = """
from derloop.kind import FileName, Kind, Settings
from federates.der.profile import ProfileColumn
class Lamps(Settings):
    name: str
    table: {}
KIND = Kind("lamps", "Lamps.", Lamps, lambda settings, context: None)
"""


@pytest.fixture
def offered() -> Iterator[None]:
    """Have entry points looked up anew, in the test and after it."""
    for cached in (plugins._offered, plugins._loaded):
        cached.cache_clear()
    yield
    for cached in (plugins._offered, plugins._loaded):
        cached.cache_clear()


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize(
    ("module", "type_", "given", "expected"),
    [
        ("lamps_plain", "str", "file", ["file", "text"]),
        ("lamps_marked", "FileName", "file", ["file"]),
        ("lamps_optional", "FileName | None", "file", ["file"]),
        ("lamps_many", "dict[str, tuple[FileName, ...]]", {"a": ["file"]}, ["file"]),
        ("lamps_within", "ProfileColumn", {"file": "file", "column": "a"}, ["file", "text"]),
    ],
)
def test_settings_of_a_plug_in_name_files_by_their_types_and_any_of_them_may_where_none_says_so(
    module: str, type_: str, given: object, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = install(tmp_path / "site", module, {plugins.KINDS: {"lamps": f"{module}:KIND"}}, LAMPS.format(type_))
    monkeypatch.syspath_prepend(str(site))
    for name in ("file", "text"):
        write(tmp_path, name, "1")
    document = with_federate(kind="lamps", name="text", table=given)
    assert [path.name for path in Fingerprints().files(document, tmp_path)] == expected


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize("group", [plugins.KINDS, plugins.REALISATIONS, plugins.CHECKS])
def test_another_version_of_a_package_whose_offer_the_scenario_has_changes_the_fingerprint(
    group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = install(tmp_path / "site", "lamps_older", {group: {"lamps": "lamps_older:KIND"}}, LAMPS.format("str"))
    monkeypatch.syspath_prepend(str(site))
    check = {"kind": "lamps" if group == plugins.CHECKS else "peak", "signal": "grid.head_kw", "limit_kw": 1}
    document = {
        **with_federate(kind="lamps" if group == plugins.KINDS else "battery", via="lamps", name="text", table="none"),
        "checks": [{"kind": "any-of", "of": [check]}],
    }
    before, without = Fingerprints().of(document, tmp_path), Fingerprints().of(with_profile("none"), tmp_path)
    metadata = site / "lamps_older-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 1.1"))
    plugins._offered.cache_clear()
    assert Fingerprints().of(document, tmp_path) != before
    assert Fingerprints().of(with_profile("none"), tmp_path) == without


def test_what_runs_sweeps_and_golden_results_leave_beside_a_feeder_does_not_change_the_fingerprint(
    tmp_path: Path,
) -> None:
    document = with_federate(kind="opendss", feeder=write(tmp_path, "feeder.dss", "New Line.a"))
    for name in ("scenario.json", "sweep.json", ".git/index"):
        write(tmp_path, name, "before")
    before = Fingerprints().of(document, tmp_path)
    for name in ("run.json", "events.jsonl", "series/grid.parquet", "checkpoints/1.npz", "junit.xml"):
        write(tmp_path, f"runs/a/{name}", "")
        write(tmp_path, f"sweeps/s/runs/key/{name}", "")
    for name in ("sweep.json", ".lock", "table.csv", "sweep.html", "runs/key.log"):
        write(tmp_path, f"sweeps/s/{name}", "")
    for name in ("golden.json", "grid.csv"):
        write(tmp_path, f"golden/scenario/{name}", "")
    for name in ("scenario.json", "sweep.json", ".git/index"):
        write(tmp_path, name, "something else")
    assert Fingerprints().of(document, tmp_path) == before
    write(tmp_path, "runs/codes.txt", "r1=0.3465")
    assert Fingerprints().of(document, tmp_path) != before


def test_a_folder_is_no_feeder_and_not_looked_through(tmp_path: Path) -> None:
    for name in ("study/feeders/lines.txt", "else.txt"):
        write(tmp_path, name, "")
    for name in ("feeders", ".."):
        document = with_federate(kind="opendss", feeder=name)
        assert Fingerprints(trust_feeder=True).files(document, tmp_path / "study") == []


@pytest.mark.parametrize("changed", ["feeders/town.dss", "lines.txt"])
def test_a_trusted_feeder_outside_of_the_folder_changes_the_fingerprint_with_what_it_redirects_to(
    changed: str, tmp_path: Path
) -> None:
    for name, text in (("feeders/town.dss", "Redirect ../lines.txt"), ("lines.txt", ""), ("feeders/town.csv", "")):
        write(tmp_path, name, text)
    (tmp_path / "study").mkdir()
    document = with_federate(kind="opendss", feeder="../feeders/town.dss")
    before = Fingerprints(trust_feeder=True).of(document, tmp_path / "study")
    write(tmp_path, "feeders/town.csv", "is of another")
    assert Fingerprints(trust_feeder=True).of(document, tmp_path / "study") == before
    assert Fingerprints().files(document, tmp_path / "study") == []
    write(tmp_path, changed, "Redirect ../lines.txt\n! of today")
    assert Fingerprints(trust_feeder=True).of(document, tmp_path / "study") != before


def test_a_file_beside_a_feeder_that_is_not_for_us_stops_no_run_and_is_known_once_it_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = of_feeder(tmp_path, "master.dss")
    for name in ("feeder/notes.txt", "feeder/old.dss"):
        write(tmp_path, name, "of another")
    write(tmp_path, "feeder/master.dss", "! Redirect old.dss")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", _open_unless("notes.txt", "old.dss"))
        closed = Fingerprints().of(document, tmp_path)
        assert Fingerprints().of(document, tmp_path) == closed
    assert Fingerprints().of(document, tmp_path) != closed


def _open_unless(*names: str) -> Callable[..., Any]:
    """Return an `open` to which some files are closed; no mode closes them to root."""
    opened = Path.open

    def closed(path: Path, *words: Any, **options: Any) -> Any:
        if path.name in names:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *words, **options)

    return closed


def test_the_schemas_that_editors_read_do_not_change_the_fingerprint(tmp_path: Path) -> None:
    document = {"$schema": write(tmp_path, "scenario.schema.json", "{}"), **of_tariff(tmp_path)}
    write(tmp_path, "t.schema.json", "{}")
    before = Fingerprints().of(document, tmp_path)
    assert Fingerprints().files(document, tmp_path) == [tmp_path / "prices.csv", tmp_path / "tariffs/dynamic.json"]
    for name in ("scenario.schema.json", "t.schema.json"):
        write(tmp_path, name, '{"title": "of a newer kind"}')
    assert Fingerprints().of(document, tmp_path) == before
    assert Fingerprints().of({**document, "$schema": "../scenario.schema.json"}, tmp_path) == before


@pytest.mark.parametrize("length", [255, 256, 300, 5000])
def test_a_text_that_is_too_long_for_a_file_names_none(length: int, tmp_path: Path) -> None:
    assert Fingerprints().of(with_profile("a" * length), tmp_path)
