"""Distribution management."""

from federates.control.adms.adms import KIND

__all__ = ["KIND"]
