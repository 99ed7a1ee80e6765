"""A class of the user's, out of a file beside the scenario."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

from derloop.errors import DerloopError, did_you_mean
from federates.control.own.listening import Measured
from federates.control.own.ports import Site


class _Source(SourceFileLoader):
    """Reads a module's source, and leaves no cache beside it."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Write nothing."""


class NoSuchClass(DerloopError):
    """The file does not have the class."""


class UserClass:
    """A control that is a class: made with its parameters and its site, asked with `step(now_s, measured)`."""

    def __init__(self, path: Path, class_name: str, parameters: Mapping[str, Any]) -> None:
        """Raises: DerloopError where the file cannot be run, NoSuchClass where it has no such class."""
        self._path, self._parameters = path, dict(parameters)
        self._made = _class(_module(path), class_name, path)
        self._control: Any = None

    def begin(self, site: Site) -> None:
        with _Told(self._path):
            self._control = self._made(self._parameters, site)

    def answer(self, now_s: float, measured: Measured) -> object:
        with _Told(self._path):
            return self._control.step(now_s, measured)

    def end(self) -> None:
        """Nothing is held."""
        self._control = None


class _Told:
    """Turns what the user's code raises into a DerloopError that names its line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Exception | SystemExit):
            raise DerloopError(told(error, self._path)) from error


def told(error: BaseException, path: Path) -> str:
    """Return an error of the user's code in one line, with the innermost line of their file that led to it."""
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines = [error.lineno]
    where = f"{path.name}, line {lines[-1]}" if lines else path.name
    said = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
    return f"{where}: {type(error).__name__}: {said}"


def _module(path: Path) -> ModuleType:
    """Run the file as a module. Raises: DerloopError with its line."""
    name = f"_own_control_{path.stem}_{abs(hash(path)):x}"
    spec = spec_from_loader(name, _Source(name, str(path)))
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    with _Told(path):
        spec.loader.exec_module(module)
    return module


def _class(module: ModuleType, name: str, path: Path) -> Any:
    found = getattr(module, name, None)
    classes = [n for n, c in vars(module).items() if isinstance(c, type) and c.__module__ == module.__name__]
    if not isinstance(found, type):
        raise NoSuchClass(f"{path.name} has no class {name!r}" + did_you_mean(name, classes))
    if not callable(getattr(found, "step", None)):
        raise NoSuchClass(f"class {name!r} of {path.name} has no method step(now_s, measured)")
    return found
