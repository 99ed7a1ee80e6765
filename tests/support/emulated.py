"""Emulated devices that have every model, with no function on."""

from __future__ import annotations

import numpy as np

from federates.der.inverter import Inverters, Smart
from hil.emulator.initial import FunctionSettings, function_models
from hil.emulator.nameplate import Ratings, describe
from hil.steering import settings_of
from hil.sunspec.image import Description


def defaults() -> FunctionSettings:
    """Return the defaults of category B, and III, of functions that are off."""
    smart = Smart.model_validate({"enter_service": {}})
    return settings_of(Inverters(smart, np.array([1.0])))


def described(ratings: Ratings) -> Description:
    return describe(ratings, function_models(ratings, defaults(), 0))
