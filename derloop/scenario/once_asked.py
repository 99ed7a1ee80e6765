"""Values by name, each worked out once it is asked for: a process reads no feeder that nobody in it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

Value = TypeVar("Value")


class OnceAsked(Mapping[str, Value]):
    """It is known which names there are, before any value is."""

    def __init__(self, names: Iterable[str], worked_out: Callable[[str], Value]) -> None:
        self._names, self._worked_out = dict.fromkeys(names), worked_out
        self._known: dict[str, Value] = {}

    def __getitem__(self, name: str) -> Value:
        if name not in self._known:
            if name not in self._names:
                raise KeyError(name)
            self._known[name] = self._worked_out(name)
        return self._known[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value, or `default` where there is no such name; whatever working it out raises is raised."""
        if name not in self:
            return default
        return self[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
