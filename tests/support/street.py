"""Two inverters of 100 kVA on one bus: photovoltaic ones, and commanded batteries that hold 200 kWh."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from derloop.kind import Bus, Context, FeederLoad, Terminal
from federates.der.battery import BatteryFleet, BatterySettings
from federates.der.pv import PvFleet, PvSettings

S = 1_000_000_000
TERMINALS = tuple(Terminal(f"inv_{i}", "b", (1, 2, 3), 100.0, extremes=True) for i in range(2))
V_LN_V = 2401.8
Fleet = PvFleet | BatteryFleet


class Street:
    buses = {"b": Bus("b", (1, 2, 3), 2.4018)}  # noqa: RUF012 - a constant of the test
    loads: dict[str, FeederLoad] = {}  # noqa: RUF012


def context() -> Context:
    made = Context("inv", Path(), datetime(2025, 7, 15, tzinfo=UTC), S, 3600 * S, 1, feeder=Street())
    return replace(made, terminals={"inv": TERMINALS}, labels={"inv": ("inv_0", "inv_1")})


def pv(**smart: Any) -> PvFleet:
    settings = {"at": [{"bus": "b"}, {"bus": "b"}], "rated_kva": 100, "smart": {"enter_service": {}, **smart}}
    return PvFleet(PvSettings.model_validate(settings), context())


def battery(**smart: Any) -> BatteryFleet:
    settings = {
        **{"at": [{"bus": "b"}, {"bus": "b"}], "rated_kva": 100, "energy_kwh": 200, "mode": "commanded"},
        "smart": {"enter_service": {}, **smart},
    }
    return BatteryFleet(BatterySettings.model_validate(settings), context())
