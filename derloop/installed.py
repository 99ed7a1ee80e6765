"""What is installed here that results may depend on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "derloop",
    "helics",
    "highspy",
    "mosaik",
    "numpy",
    "pvlib",
    "opendssdirect.py",
    "dss-python",
    "pymodbus",
    "pysunspec2",
    "pyarrow",
)


def versions() -> dict[str, str]:
    """Return the version of Python and of each package."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
