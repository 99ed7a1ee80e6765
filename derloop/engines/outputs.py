"""What a federate gives out at an instant: taken into one vector, and checked as one.

Checking each port by itself costs more than moving it, for every call on an array has its price, however short it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

import numpy as np

from derloop.contract import Bundle, FloatArray, Interface, Port, Values
from derloop.errors import did_you_mean, some_of

FLOAT = np.dtype(np.float64)


class Outputs(Bundle):
    """The declared outputs by port: read-only parts of `vector`, in this order; they change when the next are taken."""

    def __init__(self, interface: Interface) -> None:
        super().__init__(interface.outputs)
        self._ports: Mapping[str, Port] = interface.outputs
        self._parts = [(name, part.shape, part.view()) for name, part in self.items()]
        for part in self.values():
            part.flags.writeable = False
        self._is_finite = np.zeros(self.vector.size, np.bool_)
        self._bundle = Bundle({})
        """What the federate returned last, where that has these ports in one vector too."""

    def take(self, outputs: Values) -> str:
        """Copy what a federate has returned; return what is wrong with it, empty where nothing is."""
        is_known = outputs is self._bundle
        if is_known:
            self.vector[...] = self._bundle.vector
        elif wrong := self._copied(outputs):
            return wrong
        np.isfinite(self.vector, out=self._is_finite)
        if 0 in self._is_finite.tobytes():
            return self._infinite()
        return "" if is_known else self._undeclared(outputs)

    def _copied(self, outputs: Values) -> str:
        """Copy port by port; return what is wrong, empty where nothing is."""
        if type(outputs) is not dict and not isinstance(outputs, Mapping):
            return f"returned a {type(outputs).__name__}, not its outputs by name"
        for name, shape, part in self._parts:
            value = outputs.get(name)
            is_plain = type(value) is np.ndarray and value.dtype is FLOAT and value.shape == shape
            if not is_plain and (wrong := self._fault(name, value)):
                return wrong
            part[...] = value
        return ""

    def _undeclared(self, outputs: Values) -> str:
        """Return what is given beyond what was declared; know a bundle again that has these ports in this order."""
        if len(outputs) != len(self._parts):
            more = sorted(map(str, outputs.keys() - self.keys()))
            return "returned what it has not declared: " + ", ".join(more) + did_you_mean(more[0], [*self])
        if isinstance(outputs, Bundle) and [*outputs] == [*self]:
            self._bundle = outputs
        return ""

    def _fault(self, name: str, value: object) -> str:
        """Return what is wrong with one output; empty where nothing is."""
        if value is None:
            return f"did not return its output {name!r}"
        if not _is_array(value):
            kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
            return f"output {name!r} is {kind}, not an array of numbers"
        if isinstance(value, np.ma.MaskedArray) and value.mask.any():
            return f"output {name!r} has no value where it is masked"
        size = self._ports[name].size
        return "" if value.shape == (size,) else f"output {name!r} has shape {value.shape}, declared ({size},)"

    def _infinite(self) -> str:
        name, value = next((name, value) for name, value in self.items() if not np.isfinite(value).all())
        bad = [repr(self._ports[name].labels[i]) for i in np.flatnonzero(~np.isfinite(value))]
        return f"output {name!r} is not finite at {some_of(bad, 3)}"


def _is_array(value: object) -> TypeGuard[FloatArray]:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiu"
