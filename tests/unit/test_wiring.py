"""Which wires a scenario has: those that it states, and those that follow from the ports' names."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from derloop.contract import Arrival, Interface, Port
from derloop.scenario.models import CouplingSettings, WireSettings
from derloop.scenario.wiring import wires


def interface(
    inputs: Mapping[str, Arrival] | None = None, outputs: tuple[str, ...] = (), repeatable: bool = True
) -> Interface:
    return Interface(
        1,
        {name: Port("kW", ("a",), arrival) for name, arrival in (inputs or {}).items()},
        {name: Port("kW", ("a",)) for name in outputs},
        repeatable,
    )


GRID = interface({"pv.p_kw": "now"}, ("pv.v_pu", "head_kw"))
PV = interface({"v_pu": "coupled"}, ("p_kw",))
VPP = interface({"grid.head_kw": "before"})


def made(
    interfaces: Mapping[str, Interface], *stated: Mapping[str, str], mode: str = "delayed"
) -> list[tuple[str, str, str]]:
    settings = [WireSettings.model_validate(wire) for wire in stated]
    coupling = CouplingSettings.model_validate({"mode": mode})
    return [(str(wire), wire.coupling, wire.pointer) for wire in wires(interfaces, settings, coupling)]


def test_a_port_with_a_federates_name_is_wired_to_that_federate_both_ways() -> None:
    assert made({"grid": GRID, "pv": PV, "vpp": VPP}) == [
        ("pv.p_kw -> grid.pv.p_kw", "direct", "/federates/grid"),
        ("grid.pv.v_pu -> pv.v_pu", "delayed", "/federates/pv"),
        ("grid.head_kw -> vpp.grid.head_kw", "delayed", "/federates/vpp"),
    ]


def test_a_wire_that_both_ends_imply_is_one_wire() -> None:
    sky = interface(outputs=("pv.irradiance",))
    pv = interface({"irradiance": "now", "sky.pv.irradiance": "now"})
    found = [text for text, _, _ in made({"sky": sky, "pv": pv})]
    assert sorted(found) == sorted(set(found))


def test_a_stated_wire_takes_the_place_of_the_implied_one() -> None:
    other = interface(outputs=("v_pu",))
    found = made({"grid": GRID, "pv": PV, "other": other}, {"from": "other.v_pu", "to": "pv.v_pu"})
    assert found[0] == ("other.v_pu -> pv.v_pu", "delayed", "/wires/0")
    assert [text for text, _, _ in found if text.endswith("-> pv.v_pu")] == ["other.v_pu -> pv.v_pu"]


def test_coupled_inputs_follow_the_scenarios_mode() -> None:
    found = {text: coupling for text, coupling, _ in made({"grid": GRID, "pv": PV, "vpp": VPP}, mode="converged")}
    assert found == {
        "pv.p_kw -> grid.pv.p_kw": "direct",
        "grid.pv.v_pu -> pv.v_pu": "converged",
        "grid.head_kw -> vpp.grid.head_kw": "delayed",
    }


def test_what_cannot_repeat_a_step_is_not_iterated_with() -> None:
    hardware = interface({"v_pu": "coupled"}, ("p_kw",), repeatable=False)
    assert ("grid.pv.v_pu -> pv.v_pu", "delayed", "/federates/pv") in made(
        {"grid": GRID, "pv": hardware}, mode="converged"
    )


@pytest.mark.parametrize("coupling", ["direct", "delayed", "converged"])
def test_a_stated_coupling_is_taken_as_it_is(coupling: str) -> None:
    stated = {"from": "grid.pv.v_pu", "to": "pv.v_pu", "coupling": coupling}
    assert made({"grid": GRID, "pv": PV}, stated)[0] == ("grid.pv.v_pu -> pv.v_pu", coupling, "/wires/0")


def test_a_stated_wire_to_nowhere_is_kept_for_the_federation_to_refuse() -> None:
    assert made({"grid": GRID, "pv": PV}, {"from": "nobody.x", "to": "none.y"})[0] == (
        "nobody.x -> none.y",
        "direct",
        "/wires/0",
    )


def test_a_port_that_only_looks_like_a_federates_is_not_wired() -> None:
    control = interface({"grid.none": "now", "gone.p_kw": "now"}, ("pv.none",))
    assert made({"grid": GRID, "pv": PV, "control": control}) == made({"grid": GRID, "pv": PV})


def carrier(inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Interface:
    return interface(dict.fromkeys(inputs, "before"), outputs)


def test_what_carries_takes_the_place_of_the_wire_that_ended_there() -> None:
    network = carrier(("grid.head_kw",), ("vpp.grid.head_kw", "own"))
    interfaces = {"grid": GRID, "network": network, "pv": PV, "vpp": VPP}
    found = [(str(w), w.coupling, w.pointer) for w in wires(interfaces, (), CouplingSettings(), ("network",))]
    assert found[2:] == [
        ("grid.head_kw -> network.grid.head_kw", "delayed", "/federates/network"),
        ("network.vpp.grid.head_kw -> vpp.grid.head_kw", "direct", "/federates/network"),
    ]
    assert found[:2] == made({"grid": GRID, "pv": PV})


def test_what_carries_takes_the_place_of_a_stated_wire_too() -> None:
    stated = [WireSettings.model_validate({"from": "pv.p_kw", "to": "vpp.grid.head_kw", "coupling": "delayed"})]
    network = carrier(("pv.p_kw",), ("vpp.grid.head_kw",))
    interfaces = {"grid": GRID, "network": network, "pv": PV, "vpp": VPP}
    found = [str(w) for w in wires(interfaces, stated, CouplingSettings(), ("network",))]
    assert [text for text in found if text.endswith("-> vpp.grid.head_kw")] == [
        "network.vpp.grid.head_kw -> vpp.grid.head_kw"
    ]
    assert "pv.p_kw -> network.pv.p_kw" in found


def test_two_that_carry_the_same_leave_two_wires_for_the_federation_to_refuse() -> None:
    network = carrier(("grid.head_kw",), ("vpp.grid.head_kw",))
    interfaces = {"grid": GRID, "pv": PV, "vpp": VPP, "one": network, "two": network}
    found = [str(w) for w in wires(interfaces, (), CouplingSettings(), ("one", "two"))]
    assert len([text for text in found if text.endswith("-> vpp.grid.head_kw")]) == 2
