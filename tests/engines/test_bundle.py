"""Outputs whose ports are parts of one vector are checked, moved and recorded as any others are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import S

from derloop.contract import Bundle, Interface, Port, Values
from derloop.engines.outputs import Outputs
from derloop.results.recorder import Recorder
from derloop.results.store import RunFolder

PORTS = {"p_kw": Port("kW", ("a", "b")), "none": Port("kW", ()), "v_pu": Port("pu", ("1.1",))}
OTHER_ORDER = {name: PORTS[name] for name in ("v_pu", "none", "p_kw")}
INTERFACE = Interface(S, outputs=PORTS)


def filled(ports: dict[str, Port] = PORTS) -> Bundle:
    bundle = Bundle(ports)
    bundle |= {"p_kw": np.array([3.0, 4.0]), "v_pu": np.array([1.02])}
    return bundle


def test_what_is_assigned_or_updated_is_copied_into_the_vector() -> None:
    bundle, p_kw = Bundle(PORTS), np.array([3.0, 4.0])
    bundle["p_kw"] = p_kw
    bundle.update({"v_pu": np.array([1.02])})
    p_kw[:] = 9.0
    assert bundle.vector.tolist() == [3.0, 4.0, 1.02]
    assert {port: part.tolist() for port, part in bundle.items()} == {"p_kw": [3.0, 4.0], "none": [], "v_pu": [1.02]}


def test_a_bundle_takes_nothing_that_it_has_no_port_for() -> None:
    with pytest.raises(KeyError, match="q_kvar"):
        Bundle(PORTS)["q_kvar"] = np.zeros(2)
    with pytest.raises(ValueError, match=r"'p_kw' has shape \(1,\), its part in the bundle \(2,\)"):
        Bundle(PORTS)["p_kw"] = np.zeros(1)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (np.ma.array([3.0, 4.0], mask=[True, False]), "'p_kw' has no value where it is masked"),
        (np.array([3.0 + 4.0j, 4.0]), "'p_kw' is an array of complex128, not one of numbers"),
        (np.array(["3", "4"]), "'p_kw' is an array of <U1, not one of numbers"),
        (np.array([None, 4.0]), "'p_kw' is an array of object, not one of numbers"),
    ],
)
def test_a_bundle_makes_no_number_of_what_is_none(value: Any, why: str) -> None:
    bundle = filled()
    with pytest.raises(ValueError, match=why):
        bundle["p_kw"] = value
    assert bundle["p_kw"].tolist() == [3.0, 4.0]
    for sound in (np.array([3, 4]), np.array([True, False]), np.ma.array([3.0, 4.0])):
        bundle["p_kw"] = sound


@pytest.mark.parametrize("ports", [PORTS, OTHER_ORDER])
def test_outputs_are_the_bundle_s_also_where_its_order_is_another(ports: dict[str, Port]) -> None:
    outputs, bundle = Outputs(INTERFACE), filled(ports)
    for v_pu in (1.02, 0.98, 1.05):
        bundle["v_pu"][0] = v_pu
        assert outputs.take(bundle) == ""
        assert outputs.vector.tolist() == [3.0, 4.0, v_pu]


def test_outputs_do_not_move_with_a_bundle_that_is_written_into_later() -> None:
    outputs, bundle = Outputs(INTERFACE), filled()
    for _ in range(2):
        assert outputs.take(bundle) == ""
    bundle["p_kw"][:] = 9.0
    assert outputs["p_kw"].tolist() == [3.0, 4.0]


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_bundle_is_checked_each_time(before: int) -> None:
    outputs, bundle = Outputs(INTERFACE), filled()
    for _ in range(before):
        assert outputs.take(bundle) == ""
    bundle["p_kw"][1] = np.nan
    assert outputs.take(bundle) == "output 'p_kw' is not finite at 'b'"


def test_a_bundle_that_does_not_fit_is_refused() -> None:
    more = Bundle({**PORTS, "q_kvar": Port("kvar", ("a",))})
    longer = Bundle({**PORTS, "p_kw": Port("kW", ("a", "b", "c"))})
    for _ in range(2):
        assert Outputs(INTERFACE).take(more) == "returned what it has not declared: q_kvar; there are: none, p_kw, v_pu"
        assert Outputs(INTERFACE).take(longer) == "output 'p_kw' has shape (3,), declared (2,)"


def plain(bundle: Bundle) -> Values:
    return {port: part.copy() for port, part in reversed(bundle.items())}


SHAPES: dict[str, Callable[[int, Bundle], Values]] = {
    "the same bundle": lambda _, bundle: bundle,
    "a dictionary": lambda _, bundle: plain(bundle),
    "now one, now the other": lambda step, bundle: bundle if step % 3 else plain(bundle),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("width", [2, 65])
def test_the_same_is_recorded_of_a_bundle_and_of_a_dictionary(tmp_path: Path, shape: str, width: int) -> None:
    wide = {**PORTS, "i_a": Port("A", tuple(map(str, range(width)))), "last": Port("1", ("x",))}
    recorder, bundle = Recorder(tmp_path, {"pv": Interface(S, outputs=wide)}), Bundle(wide)
    for step in range(300):
        bundle |= {"p_kw": np.array([step, -step], float), "v_pu": np.array([1.0 + step / 1000])}
        bundle |= {"i_a": np.arange(width) + step, "last": np.array([0.5 * step])}
        recorder.observe("pv", step * S, SHAPES[shape](step, bundle))
    recorder.close()
    steps, found = np.arange(300.0), RunFolder(tmp_path)
    assert np.array_equal(found.read("pv.p_kw")[1], np.column_stack([steps, -steps]))
    assert np.array_equal(found.read("pv.v_pu")[1][:, 0], 1.0 + steps / 1000)
    assert np.array_equal(found.read("pv.i_a")[1], np.arange(width) + steps[:, None])
    assert np.array_equal(found.read("pv.last")[1][:, 0], 0.5 * steps)
