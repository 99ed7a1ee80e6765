"""State as data: taken out of an object, written, read, and put into another one like it."""

from __future__ import annotations

import ast
import json
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from derloop import memory
from derloop.memory import Forgetful, remembers
from derloop.results import checkpoints
from derloop.results.checkpoints import Checkpoint

FEDERATES = Path(__file__).parents[2] / "federates"


class Colour(Enum):
    red = 1


class Pair(NamedTuple):
    one: Any
    other: Any


@dataclass(frozen=True)
class Settled:
    a: int
    b: tuple[float, ...]


@remembers("kwh", "chance")
class Store:
    def __init__(self, kwh: float) -> None:
        self.kwh, self.chance = np.array([kwh]), np.random.default_rng(3)


@remembers("now_ns")
class Plant:
    def __init__(self) -> None:
        self.now_ns: int | None = None
        self.stores = {"a": [Store(1.0)], "b": [Store(2.0)]}
        self.size_kw = 5.0


VALUES = [
    *(None, True, 3, 0.1, "x", b"\x00\xff", 1 + 2j, Colour.red, Settled(1, (0.5,)), Pair(1, None)),
    *((1, [2, (3,)]), {"a": {1: 2}}, frozenset({1, 2}), deque([1, 2], maxlen=3)),
]


def through_text(value: Any) -> Any:
    said, arrays = memory.encoded(value)
    return memory.decoded(json.loads(json.dumps(said)), arrays)


@pytest.mark.parametrize("value", VALUES, ids=lambda v: type(v).__name__)
def test_a_value_is_read_as_it_was_written(value: Any) -> None:
    again = through_text(value)
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize("value", [np.array([[0.1, -np.inf]]), np.array(["a"]), np.float64(0.1), np.bool_(True)])
def test_arrays_are_read_to_the_bit_with_their_type(value: Any) -> None:
    again = through_text(value)
    assert (again == value).all()
    assert again.dtype == value.dtype
    assert type(again) is type(value)


def test_an_array_lies_in_memory_as_it_did_for_its_sums_depend_on_that(tmp_path: Path) -> None:
    state = np.asfortranarray(np.random.default_rng(1).random((50, 300)))
    checkpoints.write(Checkpoint(0, {"pv": memory.encoded({"x": state})}), tmp_path)
    again = memory.decoded(*checkpoints.read(tmp_path, 0).federates["pv"])["x"]
    assert again.sum(axis=1).tobytes() == state.sum(axis=1).tobytes()


def test_a_generator_of_random_numbers_goes_on_where_it_was() -> None:
    chance = np.random.default_rng(7)
    chance.random(5)
    again = through_text(chance)
    assert (again.random(3) == chance.random(3)).all()


def test_what_is_held_is_found_and_put_into_another_one() -> None:
    one, other = Plant(), Plant()
    one.now_ns, one.stores["b"][0].kwh = 60, np.array([9.0])
    one.stores["a"][0].chance.random(4)
    memory.given(other, through_text(memory.taken(one)))
    assert (other.now_ns, other.stores["b"][0].kwh[0], other.stores["a"][0].kwh[0]) == (60, 9.0, 1.0)
    assert other.stores["a"][0].chance.random() == one.stores["a"][0].chance.random()


def test_what_was_taken_does_not_change_with_what_it_was_taken_of() -> None:
    plant = Plant()
    taken = memory.taken(plant)
    plant.stores["a"][0].kwh[0] = 5.0
    assert taken["stores[a][0].kwh"][0] == 1.0


def test_what_follows_from_settings_is_not_state() -> None:
    assert [name for name in memory.taken(Plant()) if "size" in name] == []


def test_a_state_that_does_not_fit_is_refused_with_what_does_not() -> None:
    taken = memory.taken(Plant())
    with pytest.raises(Forgetful, match=r"no place for stores\[c\]"):
        memory.given(Plant(), taken | {"stores[c][0].kwh": 1.0})
    del taken["now_ns"]
    with pytest.raises(Forgetful, match="nothing is known of now_ns"):
        memory.given(Plant(), taken)


def test_what_is_no_data_is_refused_by_its_place() -> None:
    plant = Plant()
    plant.now_ns = open  # type: ignore[assignment]
    with pytest.raises(Forgetful, match="now_ns is a builtin_function_or_method, which is no data"):
        memory.taken(plant)


@pytest.mark.parametrize("value", [Counter("aab"), defaultdict(list), np.ma.masked_array([1.0, 2.0], [False, True])])
def test_what_would_come_back_as_something_else_is_refused_by_its_place(value: Any) -> None:
    plant = Plant()
    plant.now_ns = value
    with pytest.raises(Forgetful, match=f"now_ns is a {type(value).__name__}, which would come back as something else"):
        memory.taken(plant)


@pytest.mark.parametrize(
    "said",
    [
        {"named": ["builtins:eval", "1"]},
        {"named": ["subprocess:Popen", "true"]},
        {"data": ["os:system", "true"]},
        {"enum": ["not_imported_yet:Colour", "red"]},
        {"object": ["pathlib:Path", [["x", 1]]]},
        {"object": [f"{__name__}:Store", [["__class__", 1]]]},
        {"code": ["1"]},
        {"generator": {"bit_generator": "MT19937"}},
    ],
)
def test_a_file_cannot_have_anything_made_that_is_no_state(said: dict[str, Any]) -> None:
    said = {
        word: [{"tuple": p} if isinstance(p, list) else p for p in of] if isinstance(of, list) else of
        for word, of in said.items()
    }
    with pytest.raises(Forgetful):
        memory.decoded(said, [])


# --- that kinds say all of it ------------------------------------------------------------------------

SCRATCH = {
    *("OpenDssFeeder._v_pu", "OpenDssFeeder._v_ground_pu", "OpenDssFeeder._told_taps", "Sums._found"),
    *("PvFleet._lit_by", "PvFleet._available_kw", "PvFleet._shown", "Inverters._q_told"),
    *("Cells._ranged", "BatteryFleet._told_after", "Island._now_ns", "Formers._were_free", "Formers._were_in"),
}
"""Written before it is read, at each step; or follows from the inputs, and is computed again where these are others."""
MUTATING = {"append", "pop", "clear", "update", "extend", "popleft", "appendleft", "remove", "discard", "insert"}
BUILDING = ("attach", "prepare", "admit", "keep_in", "add")
"""Methods that are done before the first step, beside those that change settings."""
ELSEWHERE = {
    "federates/control/adms/search.py": "made anew for each search",
    "federates/control/vpp/linear_program.py": "made anew for each plan",
    "federates/control/own": "controls of the user's: they refuse",
    "federates/der/lookahead.py": "computed anew where a run goes on, and the same",
    "federates/der/hot_water.py": "days that were drawn, drawn again alike",
    "federates/der/smart": "settings of functions, and scratch; states are those of `held` and `few`",
    "federates/grid/constant_power.py": "which loads were asked last, whose powers are written anew, and scratch",
    "federates/grid/dss_language.py": "before the run",
    "federates/grid/feeder_file.py": "before the run",
    "federates/grid/file_loads.py": "follows from what is alive, and is told when that is recalled",
    "federates/grid/hosting.py": "no federate",
    "federates/grid/losses.py": "admittances, read again once controls have acted, and scratch",
    "federates/grid/movement.py": "scratch",
    "federates/grid/feeder.py": "before the run",
    "federates/grid/sensitivity.py": "before the run",
    "federates/grid/solver.py": "in OpenDSS: `solution` has it",
    "federates/grid/group.py": "setpoints, written at each step",
    "federates/grid/head.py": "what OpenDSS was given last: it is given anew where a run goes on",
    "federates/grid/setpoints.py": "what OpenDSS was given last: it is given everything anew where a run goes on",
    "federates/grid/views.py": "in OpenDSS",
    "federates/market/commands": "no federate",
    "federates/market/value": "no federate",
}


def written(of: ast.FunctionDef) -> Iterator[str]:
    """Yield the attributes of `self` that a method writes, or writes into."""
    for node in ast.walk(of):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATING:
            targets = [node.func.value]
        for target in [part for t in targets for part in (t.elts if isinstance(t, ast.Tuple | ast.List) else [t])]:
            while isinstance(target, ast.Subscript | ast.Starred):
                target = target.value
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
                yield target.attr


def declared(of: ast.ClassDef) -> set[str]:
    calls = [d for d in of.decorator_list if isinstance(d, ast.Call) and ast.unparse(d.func) == "remembers"]
    constants = [node for call in calls for node in ast.walk(call) if isinstance(node, ast.Constant)]
    return {str(constant.value) for constant in constants}


def test_whatever_a_kind_writes_while_it_is_stepped_is_declared_as_state() -> None:
    undeclared = []
    for path in sorted(FEDERATES.rglob("*.py")):
        where = str(path.relative_to(FEDERATES.parent))
        if any(where.startswith(known) for known in ELSEWHERE):
            continue
        for of in [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ClassDef)]:
            methods = [m for m in of.body if isinstance(m, ast.FunctionDef)]
            stepped = [m for m in methods if m.name != "__init__" and not m.name.startswith((*BUILDING, "set", "_set"))]
            found = {name for method in stepped for name in written(method)} - declared(of)
            undeclared += [f"{where}: {of.name}.{name}" for name in sorted(found) if f"{of.name}.{name}" not in SCRATCH]
    assert undeclared == []


def test_every_kind_says_what_its_state_is_also_where_it_has_none() -> None:
    silent = []
    for path in sorted(FEDERATES.rglob("*.py")):
        for of in [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ClassDef)]:
            names = {m.name for m in of.body if isinstance(m, ast.FunctionDef)}
            says = any("remembers" in ast.unparse(decorator) for decorator in of.decorator_list)
            if {"interface", "step", "start", "stop"} <= names and not says:
                silent.append(f"{path.relative_to(FEDERATES)}: {of.name}")
    assert silent == []
