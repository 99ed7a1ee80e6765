"""The OpenDSS engine: the only module that imports opendssdirect, and how it is made safe to import."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from derloop.errors import DerloopError


class SolverError(DerloopError):
    """OpenDSS refused, or did not find a solution."""


@contextmanager
def _without_pandas() -> Iterator[None]:
    """Spare half a second: opendssdirect imports pandas wherever it is installed, and we use none of it."""
    if "pandas" in sys.modules:
        yield
        return
    sys.modules["pandas"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["pandas"]


_environment: Any = None
"""What the engine takes for the process's environment for as long as the process lives."""


@contextmanager
def _steady_environment() -> Iterator[None]:
    """Have the engine's runtime library keep a copy of the environment that stays.

    It remembers where `environ` lies when it is loaded, and looks there again in each thread that uses it first. Who
    sets a variable meanwhile (pytest does in every test) moves `environ` and frees what was there: it then crashed.
    """
    global _environment
    if sys.platform != "linux" or _environment is not None:
        yield
        return
    entries = [key + b"=" + value for key, value in os.environb.items()]
    _environment = (ctypes.c_char_p * (len(entries) + 1))(*entries, None)
    environ = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "environ")
    ours, environ.value = environ.value, ctypes.addressof(_environment)
    try:
        yield
    finally:
        environ.value = ours


def engine() -> Any:
    """Return the module `opendssdirect`. Whoever needs it imports it here."""
    with _without_pandas(), _steady_environment():
        return importlib.import_module("opendssdirect")


def new_context() -> Any:
    """Return an engine of its own, that opens nothing and runs nothing, and that goes when nobody holds it."""
    dss = engine().dss.NewContext()
    _let_go(dss)
    for allow in ("AllowEditor", "AllowForms", "AllowChangeDir", "AllowDOScmd"):
        getattr(dss.Basic, allow)(False)
    return dss


def _let_go(dss: Any) -> None:
    """Take a context out of three lists of its package, which keep all that there ever was: 2 MB and its feeder each.

    They are for callbacks to objects of buses and batches, which nothing here uses. The package registers and lists a
    context once more when it goes; so that is taken from it, too.
    """
    managers = importlib.import_module("dss_python_backend.events").EventCallbackManager._ctx_to_manager
    api = dss._api_util
    api.unregister_callbacks()
    api.unregister_callbacks = lambda: None
    for listed in (managers, type(api)._ctx_to_util, type(dss)._ctx_to_dss):
        listed.pop(api.ctx)


def command(dss: Any, text: str) -> None:
    """Have an engine do what a command says. Raises SolverError, with what it says is wrong."""
    try:
        dss.Text.Command(text)
    except Exception as error:  # dss.DSSException, whose module is not imported here
        raise SolverError(" ".join(str(error).split())) from error
