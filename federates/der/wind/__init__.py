"""Wind turbines: wind to power, with smart-inverter functions."""

from federates.der.wind.fleet import KIND, WindFleet, air_density
from federates.der.wind.settings import LogLaw, PowerLaw, WindSettings
from federates.der.wind.speed import Wind

__all__ = ["KIND", "LogLaw", "PowerLaw", "Wind", "WindFleet", "WindSettings", "air_density"]
