"""What a federate remembers from one instant to the next: taken out of it as data, and put into another one like it.

A run that goes on after a stop, or branches, needs the state of each federate. A class says which of its attributes are
state:

    @remembers("_held", "_latest")
    class Plant: ...

All else follows from its settings, and is built anew. What such a class holds that is state of its own (a battery's
cells, a random generator's place in its sequence) is found by itself, through attributes, lists and dictionaries. What
lives outside of Python, as the solution of a feeder in its solver, is given by two methods: see `Remembering`.

State is data: numbers, text, arrays, containers, named tuples, frozen dataclasses and random generators. It is written
as JSON and numpy arrays, and reading it runs no code of a file's choosing: a class is only taken by name where it has
been imported already, and is a named tuple, a dataclass, an enumeration or a class that remembers.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

Memory = dict[str, Any]
"""State by where it is in a federate: "_cells.stored_kwh". Values as they are; see `encoded`."""
Encoded = tuple[Any, list[np.ndarray[Any, Any]]]
"""A state as JSON, and the arrays that it refers to by their place."""
Class = TypeVar("Class", bound=type)
DECLARED, SETTLED = "__remembers__", "__settled__"
PLAIN = (bool, int, float, str, type(None))


class Forgetful(Exception):
    """State cannot be given, or does not fit."""


@runtime_checkable
class Remembering(Protocol):
    """What an object has whose state is not in its attributes, beside what it declares."""

    def memory(self) -> Mapping[str, Any]:
        """Return the state, as data."""
        ...

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Take it. All attributes, also those of what it holds, have been set before."""
        ...


@runtime_checkable
class Untold(Protocol):
    """What an object may hold that has state which nobody can ask it for."""

    def untold(self) -> Sequence[str]:
        """Return the names of what is like that in it; nothing where its state is all of it."""
        ...


def remembers(*attributes: str, settled: Sequence[str] = ()) -> Callable[[Class], Class]:
    """Declare which attributes of a class are state; none: it has no state of its own.

    settled: those of them, and others that they rest on, which begin as settings say. Who goes on with a state has that
    of other settings: changing them would have no effect, or none that fits what is there.
    """

    def declare(of: Class) -> Class:
        setattr(of, DECLARED, (*getattr(of, DECLARED, ()), *attributes))
        setattr(of, SETTLED, (*getattr(of, SETTLED, ()), *settled))
        return of

    return declare


def gives_state(what: object) -> bool:
    """Return whether the class of a federate says what its state is."""
    return hasattr(type(what), DECLARED)


def taken(what: object) -> Memory:
    """Return the state of `what` and all that it holds, as copies. Raises Forgetful."""
    found: Memory = {}
    for path, part in parts(what):
        for name in getattr(type(part), DECLARED, ()):
            found[f"{path}{name}"] = _copied(getattr(part, name), f"{path}{name}")
        if isinstance(part, Remembering):
            found |= {f"{path}{name}()": _copied(value, f"{path}{name}()") for name, value in part.memory().items()}
    return found


def settled_otherwise(one: object, other: object) -> list[str]:
    """Return which state begins otherwise in two objects, for their settings say so: see `remembers`."""
    mine, theirs = _settled(one), _settled(other)
    return [name for name, value in mine.items() if name not in theirs or not np.array_equal(value, theirs[name])]


def _settled(what: object) -> dict[str, Any]:
    return {name: getattr(part, name) for _, part in parts(what) for name in getattr(type(part), SETTLED, ())}


def given(what: object, memory: Mapping[str, Any]) -> None:
    """Put a state into `what`, which was built and started as the one that it was taken from.

    Raises Forgetful where it has no place for it, or wants more.
    """
    wanted: set[str] = set()
    recalling: list[tuple[Remembering, dict[str, Any]]] = []
    for path, part in list(parts(what)):
        for name in getattr(type(part), DECLARED, ()):
            wanted.add(f"{path}{name}")
            setattr(part, name, _copied(_said(memory, f"{path}{name}"), name))
        if isinstance(part, Remembering):
            own = {name[len(path) : -2]: memory[name] for name in memory if _is_own(name, path)}
            wanted |= {f"{path}{name}()" for name in own}
            recalling.append((part, own))
    if unknown := sorted(memory.keys() - wanted):
        raise Forgetful(f"there is no place for {', '.join(unknown[:3])}")
    for part, own in reversed(recalling):  # what holds others last
        part.recall(own)


def _is_own(name: str, path: str) -> bool:
    rest = name[len(path) :]
    return name.startswith(path) and rest.endswith("()") and "." not in rest


def _said(memory: Mapping[str, Any], name: str) -> Any:
    if name not in memory:
        raise Forgetful(f"nothing is known of {name}")
    return memory[name]


# --- where state is ----------------------------------------------------------------------------------


def parts(what: object) -> Iterator[tuple[str, Any]]:
    """Yield `what` and every object that it holds and whose class is of the same package, each once, with its path.

    What is state as a whole (a declared attribute) is not looked into.
    """
    package = type(what).__module__.partition(".")[0]
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", what)]
    while waiting:
        path, part = waiting.pop(0)
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield path, part
        for name, value in _attributes(part):
            waiting += [(f"{path}{at}.", inner) for at, inner in _objects(name, value, package)]


def _attributes(part: Any) -> Iterator[tuple[str, Any]]:
    declared = getattr(type(part), DECLARED, ())
    slots = [name for base in type(part).__mro__ for name in getattr(base, "__slots__", ())]
    for name in (*getattr(part, "__dict__", ()), *slots):
        if name not in declared and hasattr(part, name):
            yield name, getattr(part, name)


def _objects(name: str, value: Any, package: str) -> Iterator[tuple[str, Any]]:
    """Yield the objects with a state of their own, maybe, in an attribute's value."""
    if isinstance(value, dict):
        inner: Sequence[tuple[object, Any]] = list(value.items())
    elif isinstance(value, list | tuple):
        inner = list(enumerate(value))
    else:
        if type(value).__module__.partition(".")[0] == package and not _is_settled(value):
            yield name, value
        return
    for key, each in inner:
        yield from _objects(f"{name}[{key}]", each, package)


def _is_settled(value: Any) -> bool:
    """Return whether nothing in it changes: settings, frozen dataclasses that declare no state, types, functions."""
    if isinstance(value, type | Enum) or hasattr(type(value), "model_fields"):
        return True
    return _is_frozen(value) and not gives_state(value) and not _holds_state(value)


def _holds_state(value: Any) -> bool:
    return any(gives_state(getattr(value, field.name)) for field in fields(value))


# --- values ------------------------------------------------------------------------------------------


def _copied(value: Any, where: str) -> Any:
    """Return a copy that shares nothing that could be written into. Raises Forgetful for what is no data."""
    return decoded(*encoded(value, where))


def encoded(value: Any, where: str = "") -> Encoded:
    """Return a state as JSON, and the arrays that it refers to by their place. Raises Forgetful."""
    arrays: list[np.ndarray[Any, Any]] = []
    return _encoded(value, where, arrays), arrays


def _encoded(value: Any, where: str, arrays: list[np.ndarray[Any, Any]]) -> Any:
    if isinstance(value, PLAIN) and not isinstance(value, np.generic | Enum):
        return value
    if _comes_back_otherwise(value):
        raise Forgetful(f"{where} is a {type(value).__name__}, which would come back as something else")
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufcSU":
        arrays.append(np.array(value))
        return {"array" if isinstance(value, np.ndarray) else "scalar": len(arrays) - 1}
    for test, word, apart in _WORDS:
        if test(value):
            return {word: [_encoded(part, where, arrays) for part in apart(value)]}
    if isinstance(value, np.random.Generator):
        return {"generator": value.bit_generator.state}
    raise Forgetful(f"{where} is a {type(value).__name__}, which is no data")


def _comes_back_otherwise(value: Any) -> bool:
    """Return whether it does what no plain array or dictionary does: hide values, make up those that are missing."""
    return isinstance(value, np.ma.MaskedArray) or (isinstance(value, Mapping) and hasattr(value, "__missing__"))


def _named(value: Any) -> list[Any]:
    return [_name_of(type(value)), *value]


def _fielded(value: Any) -> list[Any]:
    return [_name_of(type(value)), *(getattr(value, field.name) for field in fields(value))]


def _object(value: Any) -> list[Any]:
    return [_name_of(type(value)), list(taken(value).items())]


def _name_of(of: type) -> str:
    return f"{of.__module__}:{of.__qualname__}"


def _is_frozen(value: Any) -> bool:
    return is_dataclass(value) and bool(getattr(type(value), "__dataclass_params__").frozen)  # noqa: B009 - not public


_WORDS: tuple[tuple[Callable[[Any], bool], str, Callable[[Any], Sequence[Any]]], ...] = (
    (lambda v: isinstance(v, Enum), "enum", lambda v: [_name_of(type(v)), v.name]),
    (lambda v: isinstance(v, tuple) and hasattr(v, "_fields"), "named", _named),
    (lambda v: type(v) is tuple, "tuple", list),
    (lambda v: type(v) is list, "list", list),
    (lambda v: isinstance(v, Mapping), "dict", lambda v: [part for pair in v.items() for part in pair]),
    (lambda v: type(v) in (set, frozenset), "set", lambda v: [type(v) is frozenset, *sorted(v)]),
    (lambda v: isinstance(v, deque), "deque", lambda v: [v.maxlen, *v]),
    (lambda v: isinstance(v, complex), "complex", lambda v: [v.real, v.imag]),
    (lambda v: isinstance(v, bytes), "bytes", lambda v: [v.hex()]),
    (_is_frozen, "data", _fielded),
    (gives_state, "object", _object),
)


def decoded(said: Any, arrays: Sequence[np.ndarray[Any, Any]]) -> Any:
    """The inverse of `encoded`. Raises Forgetful for what is no state."""
    if not isinstance(said, dict):
        return said
    ((word, inner),) = said.items()
    if word in ("array", "scalar"):
        return arrays[inner].copy("K") if word == "array" else arrays[inner][()]
    if word == "generator":
        return _generator(inner)
    if word not in _MADE:
        raise Forgetful(f"{word!r} is no state")
    return _MADE[word]([decoded(part, arrays) for part in inner])


def _generator(state: Mapping[str, Any]) -> np.random.Generator:
    if state.get("bit_generator") != "PCG64":
        raise Forgetful(f"{state.get('bit_generator')!r} is no generator of random numbers that is known here")
    made = np.random.PCG64()
    made.state = state  # type: ignore[assignment]
    return np.random.Generator(made)


def _class(name: str, is_fit: Callable[[type], bool]) -> Any:
    """Return a class by its name where it has been imported and is one of those that are only data."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type) or not is_fit(found):
        raise Forgetful(f"{name!r} is no state")
    return found


def _made_object(parts_: list[Any]) -> Any:
    of = _class(parts_[0], lambda c: hasattr(c, DECLARED))
    made = of.__new__(of)
    for name, value in parts_[1]:
        if "." in name or name not in getattr(of, DECLARED):
            raise Forgetful(f"{parts_[0]} has no state {name!r}")
        setattr(made, name, value)
    return made


_MADE: dict[str, Callable[[list[Any]], Any]] = {
    "enum": lambda p: _class(p[0], lambda c: issubclass(c, Enum))[p[1]],
    "named": lambda p: _class(p[0], lambda c: issubclass(c, tuple) and hasattr(c, "_fields"))(*p[1:]),
    "tuple": tuple,
    "list": list,
    "dict": lambda p: dict(zip(p[::2], p[1::2], strict=True)),
    "set": lambda p: (frozenset if p[0] else set)(p[1:]),
    "deque": lambda p: deque(p[1:], p[0]),
    "complex": lambda p: complex(p[0], p[1]),
    "bytes": lambda p: bytes.fromhex(p[0]),
    "data": lambda p: _class(p[0], is_dataclass)(*p[1:]),
    "object": _made_object,
}
