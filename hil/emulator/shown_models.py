"""Models that only show what is measured, as a device begins with them: 101-103, 111-113, 122, 160, 201-203, 714.

Scale factors leave room for 1.2 times the rated power and 1.5 times the nominal voltage; energies stand in Wh.
"""

from __future__ import annotations

import math
from typing import Any

from hil.emulator.nameplate import Ratings, scale_for

Model = dict[str, Any]


def shown_models(ratings: Ratings, v_dc_v: float) -> dict[int, Model]:
    """Return the models; of the inverters and meters those for the device's phases."""
    storage = ratings.energy_wh is not None
    found = {
        100 + ratings.phases: {**_electrical(ratings, "VAr"), **_direct(ratings, v_dc_v), "WH_SF": 0, "Evt2": 0},
        110 + ratings.phases: {"Evt2": 0},
        122: {"VArAval_SF": scale_for(ratings.s_max_va), "WAval_SF": scale_for(1.2 * ratings.s_max_va, signed=False)},
        200 + ratings.phases: {**_electrical(ratings, "VAR"), "TotWh_SF": 0, "TotVArh_SF": 0, "Evt": 0},
        714: _ports(ratings, v_dc_v, storage=storage),
    }
    return found if storage else found | {160: _trackers(ratings, v_dc_v)}


def _electrical(ratings: Ratings, reactive: str) -> Model:
    power = scale_for(1.2 * ratings.s_max_va)
    return {
        **{"W_SF": power, "VA_SF": power, f"{reactive}_SF": power, "PF_SF": -2, "Hz_SF": -2},
        "A_SF": scale_for(1.2 * ratings.s_max_va / ratings.v_ln_nominal_v),
        "V_SF": scale_for(1.5 * math.sqrt(3) * ratings.v_ln_nominal_v),
    }


def _direct(ratings: Ratings, v_dc_v: float) -> Model:
    most_w = 1.2 * ratings.s_max_va
    return {"DCW_SF": scale_for(most_w), "DCA_SF": scale_for(most_w / v_dc_v), "DCV_SF": -1}


def _trackers(ratings: Ratings, v_dc_v: float) -> Model:
    return {
        **_direct(ratings, v_dc_v),
        "DCWH_SF": 0,
        "Evt": 0,
        "N": 1,
        "module": [{"ID": 1, "IDStr": "DC", "DCEvt": 0}],
    }


def _ports(ratings: Ratings, v_dc_v: float, *, storage: bool) -> Model:
    port = {"PrtTyp": "ESS" if storage else "PV", "ID": 1, "IDStr": "DC", "DCAlrm": 0}
    return {**_direct(ratings, v_dc_v), "DCWH_SF": 0, "PrtAlrms": 0, "NPrt": 1, "Prt": [port]}
