"""`derloop bill`, `derloop value`, `derloop tariff` on runs of the shipped scenario."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from typer.testing import CliRunner

import derloop
from derloop.cli import app
from derloop.errors import DerloopError
from derloop.results.signals import Signal
from derloop.results.store import RunFolder
from federates.market.billing import Billing, Metered, make_billing
from federates.market.commands.history import RunHistory
from federates.market.schedule import Schedule
from federates.market.settlement import Settlement
from federates.market.tariff import Tariff

SCENARIOS = Path(__file__).parents[2] / "scenarios"
NOON = ['start="2025-07-15T06:00:00-07:00"', "duration_s=43200", "step_s=900", "checks=[]"]
ROOFLESS = "federates.roofs.rated_kva=1e-6"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return two runs from 6 h to 18 h, with roofs and without."""
    folder = tmp_path_factory.mktemp("market")
    for name, more in (("with", []), ("without", [ROOFLESS])):
        options: dict[str, Any] = {"engine": "local", "out": folder / name, "report": False}
        assert derloop.run(SCENARIOS / "kind_tariff.json", [*NOON, *more], **options).outcome == "completed"
    return folder / "with", folder / "without"


def said(*words: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == status, result.output
    return result.output


def test_bills_are_those_that_the_run_told(runs: tuple[Path, Path]) -> None:
    made = json.loads(said("bill", runs[0], "--json"))["retail"]
    told = RunFolder(runs[0])
    for port in ("bill", "bill_without"):
        last = told.read(f"retail.{port}")[1][-1]
        assert [customer[port] for customer in made["customers"].values()] == pytest.approx(last.tolist())
    lines = made["customers"]["634a"]["with_der"][0]["lines"]
    assert sum(line["amount"] for line in lines) == pytest.approx(made["customers"]["634a"]["bill"])


def test_a_run_is_billed_by_another_tariff(runs: tuple[Path, Path]) -> None:
    tariff = SCENARIOS / "tariffs" / "example_real_time.json"
    shown = said("bill", runs[0], "--tariff", tariff, "--customer", "634b")
    assert "real-time prices" in shown
    assert "example_real_time, 634b, USD" in shown
    assert max(map(len, shown.splitlines())) <= 80, "it fits in a terminal"


def test_bills_of_nobody_are_refused(runs: tuple[Path, Path]) -> None:
    assert "no tariff 'retial' with customers; did you mean 'retail'?" in said(
        "bill", runs[0], "--of", "retial", status=2
    )
    refused = said("bill", runs[0], "--customer", "634", status=2)
    assert "no customer '634'; did you mean '634" in refused


def test_a_stack_of_two_runs_adds_up(runs: tuple[Path, Path], tmp_path: Path) -> None:
    price = "market.price_per_kwh"
    parts = [
        {"kind": "energy", "less": "grid.losses_kw", "price_per_kwh": price},
        {"kind": "losses", "price_per_kwh": price},
        {"kind": "emissions", "name": "<carbon> [/b]", "kg_per_kwh": 0.4, "per_kg": 0.05},
    ]
    stack, page = tmp_path / "stack.json", tmp_path / "page.html"
    stack.write_text(json.dumps({"name": "roofs", "currency": "USD", "parts": parts}))
    words = ("value", runs[0], stack, "--without", runs[1], "--page", page)
    made = json.loads(said(*words, "--json"))
    assert "energy and losses = price x avoided grid.head_kw" in made["reconciled"]
    assert made["total"] == pytest.approx(sum(part["amount"] for part in made["parts"]))
    avoided_kwh = made["parts"][0]["inputs"][0]["value"]
    roofs = RunFolder(runs[0]).read("roofs.p_kw")[1].sum() / 4
    assert avoided_kwh == pytest.approx(roofs, rel=0.02)  # loads depend on voltage a little
    assert "&lt;carbon&gt;" in page.read_text()
    assert {'name="viewport"', 'name="color-scheme"'} <= set(re.findall(r'name="[a-z-]+"', page.read_text()))
    shown = said(*words)
    assert "sum of parts" in shown
    assert "<carbon> [/b]" in shown


def test_bills_that_are_not_what_the_run_told_fail_with_a_status_of_their_own(
    runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dearer(tariff: Tariff, schedule: Schedule, of: Metered, settlement: Settlement | None) -> Billing:
        return make_billing(tariff, schedule, replace(of, load_kw=of.load_kw * 1.001), settlement)

    monkeypatch.setattr("federates.market.commands.runs.make_billing", dearer)
    assert "bills and what the run told of them do not add up" in said("bill", runs[0], status=3)


@pytest.fixture(scope="module")
def regulating(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of 25 minutes in which a fleet regulates, by steps of 30 s."""
    out = tmp_path_factory.mktemp("regulating") / "run"
    short = ["duration_s=1500", "step_s=30", "checks=[]"]
    options: dict[str, Any] = {"engine": "local", "out": out, "report": False}
    assert derloop.run(SCENARIOS / "frequency_regulation.json", short, **options).outcome == "completed"
    return out


def test_regulation_on_bills_is_what_a_value_has_of_it(regulating: Path, tmp_path: Path) -> None:
    made = json.loads(said("bill", regulating, "--json"))["retail"]["customers"].values()
    lines = [line for one in made for line in one["with_der"][0]["lines"] if line["group"] == "services"]
    signals = {"signal": "vpp.signal_kw", "response": "vpp.response_kw", "tariff": "retail"}
    part = {"kind": "regulation", "resource": "fleet", "kw": 400, **signals}
    parts = [{"kind": "bill", "tariff": "retail", "services": False}, part]
    stack = tmp_path / "stack.json"
    document = {"name": "regulation", "currency": "USD", "resources": {"fleet": {"power_kw": 400}}, "parts": parts}
    stack.write_text(json.dumps(document))
    total = json.loads(said("value", regulating, stack, "--json"))
    assert total["parts"][1]["amount"] == pytest.approx(-sum(line["amount"] for line in lines))
    assert total["parts"][1]["amount"] > 1.0
    assert "bill and regulation = bills with services" in total["reconciled"]


def test_regulation_without_what_was_recorded_of_it_is_refused_with_its_place(
    regulating: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(folder: RunFolder, name: str, unit: str) -> None:
        raise DerloopError(f"{folder.path}: no signal {name!r} in {unit}")

    monkeypatch.setattr("federates.market.commands.services.series_of", lost)
    refused = said("bill", regulating, status=2)
    assert "/federates/retail/regulation/plant: without a score nothing is paid" in refused.replace("\n", " ")


def test_services_that_another_tariff_does_not_pay_are_said(regulating: Path) -> None:
    shown = said("bill", regulating, "--tariff", SCENARIOS / "tariffs" / "example_home_time_of_use.json")
    assert "regulation: example_home_time_of_use pays nothing for it" in shown


def test_services_in_which_nobody_takes_part_are_said(runs: tuple[Path, Path]) -> None:
    shown = said("bill", runs[0], "--tariff", SCENARIOS / "tariffs" / "example_services.json")
    assert "demand response: no customer takes part" in shown


def test_runs_of_different_times_are_not_compared(runs: tuple[Path, Path], tmp_path: Path) -> None:
    stack = tmp_path / "stack.json"
    stack.write_text('{"name": "x", "currency": "USD", "parts": [{"kind": "bill", "tariff": "retail"}]}')
    (tmp_path / "run.json").write_text('{"outcome": "completed"}')
    assert "do not have the same start and duration" in said("value", runs[0], stack, "--without", tmp_path, status=2)


def test_tariff_files_are_checked() -> None:
    assert "2 periods, 2 demand charges" in said("tariff", "check", SCENARIOS / "tariffs" / "example_depot_demand.json")


class _Followed:
    """The folder of a run of an hour and ten minutes in which a signal is followed 10 s late."""

    run: dict[str, Any] = {"duration_s": 4200.0}  # noqa: RUF012 - never written
    path = Path()

    def signal(self, name: str) -> Signal:
        federate, _, port = name.partition(".")
        return Signal(federate, port, "kW", ("vpp",), 10 * 10**9)

    def read(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        at_s = np.arange(0, 4200, 10)
        late_s = 10.0 if name == "vpp.response_kw" else 0.0
        return at_s * 10**9, 100.0 * np.sin((at_s - late_s) / 90.0)[:, None]


def test_hour_of_which_twenty_minutes_were_recorded_is_scored_as_by_the_check() -> None:
    class Short(_Followed):
        run: dict[str, Any] = {"duration_s": 1200.0}  # noqa: RUF012 - never written

    found = RunHistory(cast(RunFolder, Short())).performance("vpp.signal_kw", "vpp.response_kw")
    assert found[0] == pytest.approx(1.0, abs=1e-6)


def test_regulation_is_scored_hour_by_hour() -> None:
    history = RunHistory(cast(RunFolder, _Followed()))
    found = history.performance("vpp.signal_kw", "vpp.response_kw")
    assert found.keys() == {0}  # ten minutes are too few for a score
    assert found[0] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("outcome", ["failed", "interrupted", "running"])
def test_a_run_that_did_not_come_to_its_end_is_neither_valued_nor_billed(
    outcome: str, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(runs[0], cut)
    (cut / "run.json").write_text(json.dumps({**json.loads((cut / "run.json").read_text()), "outcome": outcome}))
    stack = tmp_path / "stack.json"
    stack.write_text('{"name": "x", "currency": "USD", "parts": [{"kind": "bill", "tariff": "retail"}]}')
    why = f"the run is {outcome}, and not completed"
    assert why in said("value", cut, stack, status=2)
    assert why in said("value", runs[0], stack, "--without", cut, status=2)
    assert why in said("bill", cut, status=2)


def test_bills_are_valued_over_the_whole_run(runs: tuple[Path, Path], tmp_path: Path) -> None:
    stack = tmp_path / "stack.json"
    part = {"kind": "bill", "tariff": "retail", "windows": [{"from_s": 0, "to_s": 3600}]}
    stack.write_text(json.dumps({"name": "x", "currency": "USD", "parts": [part]}))
    assert "bills are of the whole run: leave windows out" in said("value", runs[0], stack, status=2)
