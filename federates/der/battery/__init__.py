"""Batteries behind inverters: cells, losses, temperature, ageing, and who decides on their power."""

from federates.der.battery.fleet import KIND, BatteryFleet, Storage
from federates.der.battery.settings import BatterySettings, BatterySpot

__all__ = ["KIND", "BatteryFleet", "BatterySettings", "BatterySpot", "Storage"]
