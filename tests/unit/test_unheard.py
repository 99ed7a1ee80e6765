"""Outputs that are called as an input of another federate, which that does not have, are told before a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import derloop
from derloop import plugins
from derloop.console import show_federation
from derloop.contract import Interface, Port, Values
from derloop.kind import Context, Kind, Settings
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import load
from derloop.scenario.unheard import unheard

SCENARIOS = Path(__file__).parents[2] / "scenarios"


class Told(Settings):
    """Which outputs it has, and which inputs."""

    outputs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()


class Talker:
    def __init__(self, settings: Told, context: Context) -> None:
        port = Port("kW", ("a",), otherwise=0.0)
        inputs, outputs = (dict.fromkeys(names, port) for names in (settings.inputs, settings.outputs))
        self.interface = Interface(context.step_ns, inputs, outputs)

    def start(self) -> Values:
        return {name: np.zeros(1) for name in self.interface.outputs}

    def step(self, now_ns: int, inputs: Values) -> Values:
        return self.start()

    def stop(self) -> None: ...


@pytest.fixture(autouse=True)
def talkers(monkeypatch: pytest.MonkeyPatch) -> None:
    kind, names, talker = plugins.kind, plugins.names, Kind("talker", "Says what it is told to.", Told, Talker)
    monkeypatch.setattr(plugins, "kind", lambda name: talker if name == "talker" else kind(name))
    monkeypatch.setattr(plugins, "names", lambda group: (*names(group), "talker"))


def written(folder: Path, *outputs: str, wires: tuple[dict[str, str], ...] = ()) -> Path:
    talkers = {"ctl": {"outputs": outputs}, "pv": {"inputs": ["p_set_kw"]}}
    data = {
        "name": "talk",
        "start": "2025-07-15T00:00:00Z",
        "duration_s": 2,
        "step_s": 1,
        "federates": {name: {"kind": "talker", **settings} for name, settings in talkers.items()},
        "wires": wires,
    }
    (folder / "talk.json").write_text(json.dumps(data))
    return folder / "talk.json"


def cautions(folder: Path, scenario: Path) -> list[str]:
    run = derloop.run(scenario, engine="local", out=folder / "run", report=False)
    return list(run.folder.run["cautions"])


def test_an_output_that_misses_the_input_it_is_called_as_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "pv.p_sett_kw", "pv.p_set_kw", "wind.p_kw", "p_kw")
    said = "outputs that nobody hears: ctl.pv.p_sett_kw ('pv' has no input 'p_sett_kw'; did you mean 'p_set_kw'?)"
    assert cautions(tmp_path, path) == [said]
    show_federation(loaded := load(path), assemble(loaded))
    assert f"CAUTION  {said}" in " ".join(capsys.readouterr().out.split()).replace("CAUTION ", "CAUTION  ")


def test_an_output_that_a_stated_wire_takes_is_heard(tmp_path: Path) -> None:
    wires = ({"from": "ctl.pv.p_sett_kw", "to": "pv.p_set_kw"},)
    assert cautions(tmp_path, written(tmp_path, "pv.p_sett_kw", wires=wires)) == []


def test_of_many_outputs_that_nobody_hears_some_are_named(tmp_path: Path) -> None:
    (said,) = cautions(tmp_path, written(tmp_path, *(f"pv.x{number}_kw" for number in range(7))))
    assert said.count("'pv' has no input") == 5
    assert said.endswith(" and 2 more")


def test_what_a_feeder_offers_and_nobody_wants_is_not_told() -> None:
    scenario = load(SCENARIOS / "kind_demand_response.json")
    federation = assemble(scenario)
    heard = {str(wire.source) for wire in federation.wires}
    assert "plant.v_pu" in federation.interfaces["grid"].outputs
    assert "grid.plant.v_pu" not in heard
    assert unheard(scenario, federation) == ()
