"""Emulated devices that have every model, with no function on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from federates.der.inverter import Inverters, Smart
from hil.emulator.bank import RegisterBank
from hil.emulator.initial import FunctionSettings, function_models
from hil.emulator.nameplate import Ratings, describe
from hil.emulator.profile import Profile
from hil.fleet.steering import equipped_bank, settings_of
from hil.sunspec.image import Description


def defaults(n: int = 1) -> FunctionSettings:
    """Return the defaults of category B, and III, of functions that are off."""
    smart = Smart.model_validate({"enter_service": {}})
    return settings_of(Inverters(smart, np.ones(n)))


def described(ratings: Ratings) -> Description:
    return describe(ratings, function_models(ratings, defaults(), 0))


def equipped(ratings: Sequence[Ratings], seed: int = 0, **profile: Any) -> RegisterBank:
    """Return devices that are all built as a profile says."""
    profiles = [Profile.model_validate(profile)] * len(ratings)
    return equipped_bank(ratings, defaults(len(ratings)), profiles, seed=seed)
