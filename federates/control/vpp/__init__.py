"""A virtual power plant: members, the services that it does with them, and how it dispatches."""

from federates.control.vpp.dispatch import share
from federates.control.vpp.federate import KIND, Vpp
from federates.control.vpp.settings import VppSettings

__all__ = ["KIND", "Vpp", "VppSettings", "share"]
