"""A network in a scenario: which wires it takes over, and how its mistakes are told."""

from __future__ import annotations

import json
from collections.abc import ItemsView
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from derloop.errors import ScenarioError
from derloop.federation import Federation
from derloop.kind import Context
from derloop.scenario.assembly import assemble
from derloop.scenario.carrying import among
from derloop.scenario.loading import load
from derloop.scenario.models import FederateEntry

SCENARIO = Path(__file__).parents[2] / "scenarios" / "kind_network.json"


def federation(*links: dict[str, Any], **sets: Any) -> Federation:
    given = {"federates.network.links": [*links], "federates.network.events": [], **sets}
    return assemble(load(SCENARIO, [f"{key}={json.dumps(value)}" for key, value in given.items()]))


def wired(made: Federation) -> set[tuple[str, str, str]]:
    return {(str(w.source), str(w.target), w.coupling) for w in made.wires}


def test_all_that_is_said_goes_over_a_network_and_nothing_that_passes_at_terminals() -> None:
    found = wired(federation({}))
    assert ("batteries.p_kw", "grid.batteries.p_kw", "direct") in found
    assert ("grid.storage.v_pu", "storage.v_pu", "delayed") in found
    assert ("grid.head_kw", "network.grid.head_kw", "delayed") in found
    assert ("network.vpp.grid.head_kw", "vpp.grid.head_kw", "direct") in found
    assert ("network.storage.p_set_kw", "storage.p_set_kw", "direct") in found
    assert ("network.vpp.batteries.age_s", "vpp.batteries.age_s", "direct") in found
    talk = [(a, b) for a, b, _ in found if "vpp" in (a.split(".")[0], b.split(".")[0])]
    assert talk
    assert all("network" in (a.split(".")[0], b.split(".")[0]) for a, b in talk)


def test_wires_that_no_link_matches_stay_as_they_are() -> None:
    found = wired(federation({"from": "vpp", "to": "storage"}))
    assert ("batteries.p_kw", "vpp.batteries.p_kw", "delayed") in found
    assert ("vpp.batteries.p_set_kw", "batteries.p_set_kw", "direct") in found


def test_a_process_of_its_own_wires_as_the_whole_does() -> None:
    whole = federation({})
    scenario = load(SCENARIO, ["federates.network.links=[{}]", "federates.network.events=[]"])
    for name in whole.federates:
        part = assemble(scenario, only=(name,), known=whole.interfaces)
        assert wired(part) == wired(whole)
        assert [unit.members for unit in part.units] == [unit.members for unit in whole.units]


def test_two_networks_on_one_wire_are_refused() -> None:
    other = {"kind": "network", "links": [{"from": "vpp"}]}
    with pytest.raises(ScenarioError, match=r"2 wires end at storage.p_set_kw: network.*, other"):
        federation({}, **{"federates.other": other})


@pytest.mark.parametrize("source", ["storage.p_kw", "storage.nothing"])
def test_a_stated_wire_to_what_a_network_hears_is_refused(source: str) -> None:
    with pytest.raises(ScenarioError, match=rf"2 wires end at network.batteries.p_kw: {source}, batteries.p_kw"):
        federation({}, wires=[{"from": source, "to": "network.batteries.p_kw"}])


def test_mistakes_of_patterns_are_told_together_with_their_pointers() -> None:
    with pytest.raises(ScenarioError) as refused:
        federation(
            {"from": "battries"},
            {"to": "vpp", "devices": "batteries_99"},
            **{"federates.network.events": [{"begins_s": 0, "lasts_s": 60, "to": "grid"}]},
        )
    assert {p.pointer: p.what for p in refused.value.problems} == {
        "/federates/network/links/0/from": "'battries' matches nothing that a network carries; "
        "did you mean 'batteries'?",
        "/federates/network/links/1/devices": "'batteries_99' matches none of them; did you mean 'batteries_9'?",
        "/federates/network/events/0/to": "'grid' matches nothing that a network carries; "
        "there are: batteries, storage, vpp",
    }


def test_what_is_wrong_with_others_is_told_before_there_is_anything_to_carry() -> None:
    with pytest.raises(ScenarioError) as refused:
        federation({"from": "battries"}, **{"federates.vpp.members": ["batteries", "storge"]})
    assert [p.pointer for p in refused.value.problems] == ["/federates/vpp/members/1"]


class OneByOne(dict[str, FederateEntry]):
    """Federates that are looked up by their names, and never gone through."""

    def items(self) -> ItemsView[str, FederateEntry]:
        raise AssertionError("all federates were looked at")


def test_to_build_who_hears_nobody_no_other_is_looked_at() -> None:
    scenario = load(SCENARIO)
    many = replace(scenario, federates=OneByOne(scenario.federates))
    context = Context("storage", scenario.folder, scenario.start, scenario.step_ns, scenario.until_ns, seed=1)
    assert among(many, context, {}) is context
