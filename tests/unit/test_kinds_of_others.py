"""What a kind of somebody else's gives that is none of what it must be."""

from __future__ import annotations

from typing import Any

import pytest

from derloop.contract import Interface, Port
from derloop.errors import PluginError
from derloop.scenario.kinds import check_federate, check_interface


def outputs(*labels: Any) -> Interface:
    return Interface(60, outputs={"p_kw": Port("kW", labels)})


def heard(**asked: Any) -> Interface:
    return Interface(60, {"v_pu": Port("pu", ("a",), **asked)})


@pytest.mark.parametrize(
    ("interface", "why"),
    [
        ({"step_ns": 60}, "the kind 'own' has dict for an interface, not an Interface"),
        (Interface(0, {}, {}), "the kind 'own' has a step_ns of 0; it must be a whole number above 0"),
        (Interface(60.0, {}, {}), "has a step_ns of 60.0"),  # type: ignore[arg-type]
        (Interface(60, {}, {"p_kw": ("a",)}), "has tuple for its port 'p_kw', not a Port"),  # type: ignore[dict-item]
        (outputs("a", "b", "a"), "has the label 'a' 2 times at its port 'p_kw'; each element has its own"),
        (outputs("a", 2), r"has \('a', 2\) for the labels of its port 'p_kw'; they must be a tuple of texts"),
        (Interface(60, {"p_kw": Port("kW", "ab")}), "has 'ab' for the labels of its port 'p_kw'"),  # type: ignore[arg-type]
        (Interface(60, {"p_kw": Port(5, ())}), "has 5 for the unit of its port 'p_kw'"),  # type: ignore[arg-type]
        (Interface(60, {7: Port("kW", ())}), "has a port called 7; its name must be a text"),  # type: ignore[dict-item]
        (Interface(60, balances=("p_kw",)), "has str among its balances, not a Balance"),  # type: ignore[arg-type]
        (Interface(60, stop_s=float("nan")), "has a stop_s of nan; it must be a number, 0 or more"),
        (Interface(60, start_s=-1.0), "has a start_s of -1.0; it must be a number, 0 or more"),
        (Interface(60, stop_s=-1.0), "has a stop_s of -1.0; it must be a number, 0 or more"),
        (Interface(60, outputs={"age_s": Port("ms", ("a",))}), "has its output 'age_s' in 'ms'; it is told in 's'"),
        (heard(arrival="coupld"), "has the arrival 'coupld' at its port 'v_pu'; there are: now, before, coupled"),
        (heard(otherwise=float("nan")), "has nan for what its port 'v_pu' is without a wire; it must be a finite"),
        (heard(otherwise="1"), "has '1' for what its port 'v_pu' is without a wire; it must be a finite number"),
    ],
)
def test_an_interface_that_is_none_is_told_by_its_kind(interface: Any, why: str) -> None:
    with pytest.raises(PluginError, match=why):
        check_interface(interface, "own")
    check_interface(outputs("a", "b"), "own")
    check_interface(heard(arrival="before", otherwise=1.0), "own")


class Idle:
    interface = outputs("a")

    def start(self) -> dict[str, Any]:
        return {}


class Late(Idle):
    @property
    def interface(self) -> Interface:  # type: ignore[override]
        raise AttributeError("labels")

    def step(self, now_ns: int, inputs: Any) -> dict[str, Any]:
        return {}

    def stop(self) -> None: ...


def test_what_is_built_and_is_no_federate_is_told_by_its_kind() -> None:
    with pytest.raises(PluginError, match="'own' builds a Idle without step, stop; a federate has interface, start, "):
        check_federate(Idle(), "own")  # type: ignore[arg-type]
    with pytest.raises(PluginError, match="'own' builds a NoneType without interface, start, step, stop"):
        check_federate(None, "own")  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match="labels"):  # the kind's own mistake is told, and not that there is none
        check_federate(Late(), "own")
