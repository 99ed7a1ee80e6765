"""A device by its profile: the models that it shows, and those that it only holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from hil.emulator.initial import CURVES
from hil.emulator.legacy_models import legacy_models
from hil.emulator.nameplate import Ratings, describe
from hil.emulator.old_curves import old_volt_var_model
from hil.emulator.profile import Profile
from hil.emulator.shown_models import shown_models
from hil.sunspec.errors import SunSpecMapError
from hil.sunspec.image import Description

_TRUTH = range(701, 716)
"""Models that every device holds: what it is set to stands there, whoever shows it."""


class Equipped(NamedTuple):
    """The models of a device."""

    shown: Description
    hidden: Description
    """Held behind what is on the wire, so that old models are views of them."""


def equip(ratings: Ratings, functions: Description, profile: Profile) -> Equipped:
    """Return the models of a device with `functions` (703 to 712; 703 only where it can enter service).

    Raises SunSpecMapError for a scale factor of a model that it does not have.
    """
    found = dict(describe(ratings, functions))
    service = found.get(703, {}).get("ES")
    permitted = None if service is None else bool(service)
    found[715] = _controller_model(permitted)
    scaled = _with_scale_factors(found, {n: s for n, s in profile.scale_factors.items() if _model(n) in found})
    found = scaled | legacy_models(ratings, scaled[704], permit_service=permitted, v_dc_v=profile.v_dc_v)
    found[126] = old_volt_var_model(ratings, scaled[705], places=CURVES)
    found = _with_scale_factors(found | shown_models(ratings, profile.v_dc_v), profile.scale_factors)
    shown = {model: found[model] for model in sorted(found) if profile.serves(model)}
    return Equipped(shown, {m: found[m] for m in sorted(found) if m in _TRUTH and m not in shown})


def _controller_model(permitted: bool | None) -> Mapping[str, Any]:
    operation = {} if permitted is None else {"OpCtl": "START"}
    return {"LocRemCtl": "REMOTE", "DERHb": 0, "ControllerHb": 0, "AlarmReset": 0, **operation}


def _with_scale_factors(
    models: Mapping[int, Mapping[str, Any]], scale_factors: Mapping[str, int]
) -> dict[int, Mapping[str, Any]]:
    found = dict(models)
    for name, scale in scale_factors.items():
        if _model(name) not in found:
            raise SunSpecMapError(f"scale factor {name!r}: the device has no such model; it has {sorted(found)}")
        found[_model(name)] = {**found[_model(name)], name.partition(".")[2]: scale}
    return found


def _model(name: str) -> int:
    model = name.partition(".")[0]
    return int(model) if model.isdigit() else 0
