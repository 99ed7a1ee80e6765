"""Packages from outside: they add kinds of federate and of check, and what is wrong with them is told in their name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from outside import derloop, install

PACKAGE = """
from typing import Any

import numpy as np
from pydantic import Field

from derloop.contract import Interface, Port, Values
from derloop.kind import Context, Kind, Settings
from derloop.verdict import CheckKind, Recorded, Verdict


class HeaterSettings(Settings):
    rated_kw: float = Field(gt=0, description="Power of each heater, kW.")
    count: int = Field(1, ge=1, le=100)


class Heaters:
    def __init__(self, settings: HeaterSettings, context: Context) -> None:
        labels = tuple(f"{context.name}_{i}" for i in range(settings.count))
        self.interface = Interface(context.step_ns, {}, {"p_kw": Port("kW", labels)})
        self._p_kw = np.full(settings.count, settings.rated_kw)

    def start(self) -> Values:
        return {"p_kw": 0 * self._p_kw}

    def step(self, now_ns: int, inputs: Values) -> Values:
        return {"p_kw": self._p_kw * (now_ns // 1_000_000_000 % 2)}

    def stop(self) -> None: ...


class DutySettings(Settings):
    signal: str
    share: float = Field(ge=0, le=1)


def judge(settings: DutySettings, recorded: Recorded) -> Verdict:
    time_ns, values = recorded.read(settings.signal)
    share = float((values > 0).mean())
    outcome = "PASS" if share <= settings.share else "FAIL"
    return Verdict("duty", "duty", outcome, f"on for {share:.0%} of the time", share, settings.share)


HEATER = Kind("heater", "Electric heaters.", HeaterSettings, Heaters)
SUMMARY = "A device is on for a share of the time."
DUTY = CheckKind("duty", SUMMARY, DutySettings, judge, lambda settings: ((("signal",), settings.signal),))
"""
ENTRY_POINTS = {"derloop.kinds": {"heater": "heaters:HEATER"}, "derloop.checks": {"duty": "heaters:DUTY"}}


@pytest.fixture(scope="module")
def heaters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An outside package in a folder."""
    return install(tmp_path_factory.mktemp("target"), "heaters", ENTRY_POINTS, PACKAGE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = {
        "name": "warm",
        "start": "2025-07-15T00:00:00Z",
        "duration_s": 20,
        "step_s": 1,
        "federates": {
            "heaters": {"kind": "heater", "rated_kw": 2, "count": 3},
            "more": {"kind": "heater", "rated_kw": 1},
        },
        "checks": [{"kind": "duty", "signal": "heaters.p_kw", "share": 0.6}],
    }
    (tmp_path / "warm.json").write_text(json.dumps(data))
    quiet = {**data, "federates": {"sun": {"kind": "load"}}, "checks": []}
    (tmp_path / "plain.json").write_text(json.dumps(quiet))
    return tmp_path


WAYS = [("local", "together"), ("helics", "together"), ("helics", "apart")]


@pytest.mark.parametrize(("engine", "placement"), WAYS)
def test_an_outside_kind_and_check_take_part_in_a_run(engine: str, placement: str, heaters: Path, folder: Path) -> None:
    words = ("--engine", engine, "--placement", placement, "--out", "run", "--no-report")
    done = derloop(folder, "run", "warm.json", *words, path=heaters)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS" in done.stdout
    assert "duty: on for 50% of the time" in done.stdout


def test_an_outside_check_can_fail_and_be_wrong(heaters: Path, folder: Path) -> None:
    share = ("--set", "checks.0.share=0.4", "--engine", "local", "--no-report", "--out", "run")
    assert derloop(folder, "run", "warm.json", *share, path=heaters).returncode == 1
    wrong = derloop(folder, "check", "warm.json", "--set", "checks.0.signal=heaters.p", path=heaters)
    assert (wrong.returncode, wrong.stderr.splitlines()[1:]) == (
        2,
        ["  /checks/0/signal: no signal 'heaters.p'; did you mean 'heaters.p_kw'?"],
    )
    ranged = derloop(folder, "check", "warm.json", "--set", "federates.more.rated_kw=0", path=heaters)
    assert "/federates/more/rated_kw: must be greater than 0, not 0" in ranged.stderr


def test_an_outside_kind_is_listed_and_in_the_schema(heaters: Path, folder: Path) -> None:
    assert re.search(r"heater +Electric heaters", derloop(folder, "kinds", path=heaters).stdout)
    assert "rated_kw  number; > 0; required" in derloop(folder, "kinds", "heater", path=heaters).stdout
    assert '"const": "heater"' in derloop(folder, "schema", path=heaters).stdout
    assert "'heater' is unknown" in derloop(folder, "check", "warm.json").stderr


BROKEN = {
    "import": (
        "import not_there_at_all\n",
        "ModuleNotFoundError: No module named 'not_there_at_all' (heaters.py, line 1)",
    ),
    "raise": ("raise RuntimeError('no licence')\n", "RuntimeError: no licence (heaters.py, line 1)"),
    "exit": ("import sys\nsys.exit(3)\n", "SystemExit: 3 (heaters.py, line 2)"),
    "attribute": ("", "AttributeError: module 'heaters' has no attribute 'HEATER'"),
    "syntax": ("def\n", "SyntaxError: invalid syntax"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_package_that_does_not_load_is_told_by_name(fault: str, folder: Path, tmp_path: Path) -> None:
    source, said = BROKEN[fault]
    target = install(tmp_path / "target", "heaters", ENTRY_POINTS, source)
    done = derloop(folder, "check", "warm.json", path=target)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "/federates/heaters/kind: kind 'heater' of heaters 1.0 (heaters:HEATER) cannot be loaded: " in done.stderr
    assert "/checks/0/kind: check 'duty' of heaters 1.0 (heaters:DUTY) cannot be loaded: " in done.stderr
    assert said in done.stderr


def test_a_package_that_offers_something_else_is_told_by_name(folder: Path, tmp_path: Path) -> None:
    target = install(tmp_path / "target", "heaters", ENTRY_POINTS, "HEATER = DUTY = 5\n")
    assert (
        "'heater' of heaters 1.0 (heaters:HEATER) is no Kind"
        in derloop(folder, "check", "warm.json", path=target).stderr
    )


def test_a_package_whose_settings_are_none_is_told_by_name(folder: Path, tmp_path: Path) -> None:
    source = PACKAGE.replace("HeaterSettings, Heaters)", "dict, Heaters)").replace("DutySettings, judge", "None, judge")
    target = install(tmp_path / "target", "heaters", ENTRY_POINTS, source)
    said = derloop(folder, "check", "warm.json", path=target).stderr
    wrong = "are no class of derloop.kind.Settings"
    assert f"/kind: the settings of 'heater' of heaters 1.0 (heaters:HEATER) {wrong}" in said
    assert f"/checks/0/kind: the settings of 'duty' of heaters 1.0 (heaters:DUTY) {wrong}" in said


def test_what_does_not_load_is_told_with_its_own_line_alone(folder: Path, tmp_path: Path) -> None:
    for source, said in (("", "no attribute 'HEATER'"), ("def\n", "invalid syntax (heaters.py, line 1)")):
        target = install(tmp_path / str(len(source)), "heaters", ENTRY_POINTS, source)
        line = derloop(folder, "check", "warm.json", path=target).stderr.splitlines()[1]
        assert line.endswith(said)


def test_who_wants_checkpoints_of_a_kind_without_state_is_told_how_it_says_it(folder: Path, heaters: Path) -> None:
    done = derloop(folder, "run", "warm.json", "--checkpoint-every", "3600", "--out", "run", path=heaters)
    said = next(line for line in done.stderr.splitlines() if "/federates/heaters" in line)
    assert done.returncode == 2
    assert said.endswith("so no checkpoint can be taken; its class can, with @remembers of derloop.memory")


def test_a_kind_that_goes_by_another_name_than_it_is_offered_by_is_told(folder: Path, tmp_path: Path) -> None:
    source = PACKAGE.replace('Kind("heater"', 'Kind("battery"').replace('CheckKind("duty"', 'CheckKind("peak"')
    target = install(tmp_path / "target", "heaters", ENTRY_POINTS, source)
    said = derloop(folder, "check", "warm.json", path=target).stderr
    assert "/kind: 'heater' of heaters 1.0 (heaters:HEATER) is named 'battery'; let both be one" in said
    assert "/checks/0/kind: 'duty' of heaters 1.0 (heaters:DUTY) is named 'peak'; let both be one" in said


def test_a_package_that_does_not_load_breaks_nothing_else(tmp_path: Path) -> None:
    target = install(tmp_path / "target", "heaters", ENTRY_POINTS, "raise RuntimeError('no licence')\n")
    assert derloop(tmp_path, "new", "study", path=target).returncode == 0
    checked = derloop(tmp_path, "check", "study/scenario.json", path=target)
    assert (checked.returncode, checked.stderr) == (0, "")
    listed = derloop(tmp_path, "kinds", path=target)
    assert listed.returncode == 0
    assert re.search(r"heater +BROKEN: kind 'heater' of heaters 1\.0", listed.stdout)
    schema: Any = json.loads(derloop(tmp_path, "schema", path=target).stdout)
    branches = schema["properties"]["federates"]["additionalProperties"]["oneOf"]
    assert {branch["properties"]["kind"]["const"] for branch in branches} >= {"heater", "pv"}


def test_two_packages_that_offer_one_name_are_told_where_it_is_used_and_only_there(
    folder: Path, tmp_path: Path
) -> None:
    target = install(tmp_path / "target", "heaters", ENTRY_POINTS, PACKAGE)
    install(target, "others", {"derloop.kinds": {"heater": "others:OTHER"}}, "OTHER = 1\n")
    done = derloop(folder, "check", "warm.json", path=target)
    assert done.returncode == 2
    assert "kind 'heater' is offered more than once, by heaters 1.0 (heaters:HEATER) and others 1.0" in done.stderr
    assert derloop(tmp_path, "new", "study", path=target).returncode == 0
    assert derloop(tmp_path, "check", "study/scenario.json", path=target).returncode == 0
