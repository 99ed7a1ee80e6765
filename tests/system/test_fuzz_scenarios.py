"""Scenarios that chance has spoilt: only a ScenarioError may come out, whatever stands in the file."""

from __future__ import annotations

import json
import re
import sys
from copy import deepcopy
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from derloop.document import pointer
from derloop.errors import Problem, ScenarioError
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import load

SCENARIOS = Path(__file__).parents[2] / "scenarios"
QUICKSTART = json.loads((SCENARIOS / "quickstart.json").read_text("utf-8"))
FEW = settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
MANY = settings(FEW, max_examples=2_000, derandomize=False)

UNFORESEEN = re.compile(r"Error: .* \(\w+\.py, line \d+\)$")

Way = tuple[str | int, ...]


def ways(data: Any, way: Way = ()) -> list[Way]:
    """Return the way to every value within `data`."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [*([way] if way else []), *(found for key, value in inner for found in ways(value, (*way, key)))]


WORDS = sorted(
    {str(part) for way in ways(QUICKSTART) for part in way}
    | {
        "grid.v_pu",
        "671.1.2.3",
        "../x",
        "/etc/passwd",
        "emulator",
        "*",
        "",
        "\0",
        "\ud800",
        "a" * 300,
        "\n",
        "category-a",
    }
)
NUMBERS = st.one_of(
    st.integers(-3, 200_000),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0, -1, 1e-9, 1e9, 1e300, 2**63, 10**400, -0.0, 0.1, 59.999]),
)
LARGEST = sys.float_info.max
"""Whole numbers above it may stand in a file, but no factor can be put to them."""
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, st.sampled_from(WORDS), st.text(max_size=8))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(WORDS), st.text(max_size=5)), inner, max_size=4),
    ),
    max_leaves=6,
)


@st.composite
def spoilt(draw: st.DrawFn) -> dict[str, Any]:
    """Return the quickstart with a few of its values dropped, replaced, added, moved or renamed."""
    data = deepcopy(QUICKSTART)
    for _ in range(draw(st.integers(1, 4))):
        *way, last = draw(st.sampled_from(ways(data) or [("name",)]))
        at = data
        for part in way:
            at = at[part]
        spoil(draw, data, at, last)
    return data


def spoil(draw: st.DrawFn, data: Any, at: Any, key: Any) -> None:
    match draw(st.sampled_from(["drop", "replace", "scale", "add", "move", "rename"])):
        case "drop":
            del at[key]
        case "replace":
            at[key] = draw(VALUES)
        case "scale" if isinstance(at[key], int | float) and abs(at[key]) < LARGEST:
            at[key] = at[key] * draw(st.sampled_from([-1, 0, 0.5, 1.0001, 1e3, 1e12]))
        case "add" if isinstance(at, dict):
            at[draw(st.sampled_from(WORDS))] = draw(VALUES)
        case "move":
            *way, last = draw(st.sampled_from(ways(data)))
            found = data
            for part in (*way, last):
                found = found[part]
            at[key] = deepcopy(found)
        case "rename" if isinstance(at, dict):
            at[draw(st.sampled_from(WORDS))] = at.pop(key)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scenario's folder with the shipped feeders and profiles."""
    folder = tmp_path_factory.mktemp("scenarios")
    for name in ("feeders", "profiles"):
        copytree(SCENARIOS / name, folder / name)
    return folder


def judge(folder: Path, text: str) -> None:
    """Load and wire, and see that every problem points into the document."""
    path = folder / "scenario.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    problems = problems_of(path)
    event("refused" if problems else "accepted")
    assert all(p.pointer == "" or p.pointer.startswith("/") for p in problems)
    assert len(set(problems)) == len(problems)
    assert [p for p in problems if UNFORESEEN.search(p.what)] == [], (
        "a shipped kind says what is wrong in its own words"
    )


def problems_of(path: Path) -> tuple[Problem, ...]:
    try:
        assemble(load(path))
    except ScenarioError as error:
        return error.problems
    return ()


def dumped(data: Any) -> str:
    return json.dumps(data)


def test_what_is_spoilt_is_accepted_before(folder: Path) -> None:
    (folder / "scenario.json").write_text(dumped(QUICKSTART))
    assert problems_of(folder / "scenario.json") == ()


@given(spoilt())
@FEW
def test_a_spoilt_quickstart_is_judged_without_a_traceback(folder: Path, data: dict[str, Any]) -> None:
    judge(folder, dumped(data))


@given(VALUES)
@FEW
def test_any_json_is_judged_without_a_traceback(folder: Path, data: Any) -> None:
    judge(folder, dumped(data))


@given(st.text(), st.integers(0, 2500), st.integers(0, 40))
@FEW
def test_a_file_with_a_piece_cut_out_is_judged_without_a_traceback(folder: Path, put: str, at: int, cut: int) -> None:
    text = json.dumps(QUICKSTART)
    judge(folder, text[:at] + put + text[at + cut :])


@given(
    st.lists(st.tuples(st.sampled_from([*ways(QUICKSTART), ("x",), ("seed", "x")]), VALUES, st.booleans()), max_size=3)
)
@FEW
def test_any_override_is_judged_without_a_traceback(folder: Path, changes: list[tuple[Way, Any, bool]]) -> None:
    texts = [(pointer(way) if pointed else ".".join(map(str, way))) + "=" + dumped(v) for way, v, pointed in changes]
    (folder / "scenario.json").write_text(dumped(QUICKSTART))
    try:
        assemble(load(folder / "scenario.json", texts))
    except ScenarioError:
        event("refused")


@pytest.mark.long(about_s=300)
@given(spoilt())
@MANY
def test_thousands_of_spoilt_quickstarts_are_judged_without_a_traceback(folder: Path, data: dict[str, Any]) -> None:
    judge(folder, dumped(data))
