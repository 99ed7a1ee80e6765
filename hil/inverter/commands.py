"""What devices are told to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np

from hil.sunspec.points import FloatArray

Reference = Literal["w_max", "var_max", "va_max"]
REFERENCES: Mapping[Reference, str] = {
    "w_max": "W_MAX_PCT",
    "var_max": "VAR_MAX_PCT",
    "va_max": "VA_MAX_PCT",
}
"""Symbols of 705 Crv.DeptRef."""


@dataclass(frozen=True, slots=True)
class VoltVarCurve:
    """Reactive power against voltage (IEEE 1547-2018, 5.3.3; SunSpec model 705).

    `v_pu` is per unit of the nominal voltage (702 VNom), `q_pu` per unit of `reference` and positive when
    injected.
    """

    v_pu: tuple[float, ...]
    q_pu: tuple[float, ...]
    reference: Reference = "va_max"
    response_s: float = 5.0
    """Open-loop response time."""

    def __post_init__(self) -> None:
        if len(self.v_pu) != len(self.q_pu) or len(self.v_pu) < 2:
            raise ValueError("a volt-var curve needs two points or more, each with a voltage and a power")
        if any(after < before for before, after in pairwise(self.v_pu)):
            raise ValueError(f"the voltages of a volt-var curve must not fall: {self.v_pu}")


@dataclass(frozen=True, slots=True)
class Commands:
    """What n devices are to do. A field that is None is left as it is; NaN (or no curve) is 'off'."""

    limit_fraction: FloatArray | None = None
    """Most active power (n,), as a fraction of 702 WMax: 704 WMaxLimPct."""
    p_w: FloatArray | None = None
    """Active power setpoint (n,): 704 WSet; negative charges a storage."""
    q_var: FloatArray | None = None
    """Reactive power setpoint (n,): 704 VarSet."""
    volt_var: Sequence[VoltVarCurve | None] | None = None
    """n curves: 705."""

    def orders(self, n: int) -> list[Order]:
        """Return what each of n devices is to do. Raises ValueError where a field is for another number of them."""
        columns = [_column(field.name, getattr(self, field.name), n) for field in fields(self)]
        off = [self.volt_var is not None and curve is None for curve in columns[-1]]
        return list(map(Order, *columns, off))


class Order(NamedTuple):
    """`Commands` for one device; None leaves a function as it is."""

    limit_fraction: float | None = None
    p_w: float | None = None
    q_var: float | None = None
    volt_var: VoltVarCurve | None = None
    volt_var_off: bool = False


def _column(name: str, given: FloatArray | Sequence[VoltVarCurve | None] | None, n: int) -> list[Any]:
    if given is None:
        return [None] * n
    if len(given) != n:
        raise ValueError(f"commands: {name!r} has {len(given)} values for {n} devices")
    return given.tolist() if isinstance(given, np.ndarray) else list(given)
