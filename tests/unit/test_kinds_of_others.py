"""What a kind of somebody else's gives that is none of what it must be."""

from __future__ import annotations

from typing import Any

import pytest

from derloop.contract import Interface
from derloop.errors import PluginError
from derloop.scenario.assembly import _check_interface


@pytest.mark.parametrize(
    ("interface", "why"),
    [
        ({"step_ns": 60}, "the kind 'own' has dict for an interface, not an Interface"),
        (Interface(0, {}, {}), "the kind 'own' has a step_ns of 0; it must be a whole number above 0"),
        (Interface(60.0, {}, {}), "has a step_ns of 60.0"),  # type: ignore[arg-type]
        (Interface(60, {}, {"p_kw": ("a",)}), "has tuple for its port 'p_kw', not a Port"),  # type: ignore[dict-item]
    ],
)
def test_an_interface_that_is_none_is_told_by_its_kind(interface: Any, why: str) -> None:
    with pytest.raises(PluginError, match=why):
        _check_interface(interface, "own")
    _check_interface(Interface(60, {}, {}), "own")
