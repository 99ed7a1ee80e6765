"""From a document to a typed scenario: pointers, wording, and nothing converted in silence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, field_validator

from derloop import plugins
from derloop.contract import Federate, Interface, Port, Values
from derloop.errors import PluginError, ScenarioError
from derloop.kind import Context, Kind, Settings
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import load, typed
from derloop.verdict import CheckKind


class Point(Settings):
    x_kw: float = 0.0
    whole: int = 1
    on: bool = False


class Circle(Settings):
    shape: Literal["circle"]
    radius_m: float = Field(gt=0)


class Square(Settings):
    shape: Literal["square"]
    side_m: float = Field(gt=0)
    corner: Point = Point()


class Thing(Settings):
    shape: Annotated[Circle | Square, Field(discriminator="shape")] | None = None
    points: tuple[Point, ...] = ()
    by_name: dict[str, Point] = Field(default_factory=dict)
    either: Point | float = 1.0
    breaks: bool = False

    @field_validator("breaks")
    @classmethod
    def _breaks(cls, value: bool) -> bool:
        if value:
            raise TypeError("not what a validator may raise")
        return value


class Still:
    def __init__(self, settings: Thing, context: Context) -> None:
        self.interface = Interface(context.step_ns)

    def start(self) -> Values:
        return {}

    def step(self, now_ns: int, inputs: Values) -> Values:
        return {}

    def stop(self) -> None: ...


def _no_build(settings: Thing, context: Context) -> Federate:
    raise KeyError("inside")


KINDS = {"thing": Kind("thing", "A thing.", Thing, Still), "broken": Kind("broken", "Broken.", Thing, _no_build)}


@pytest.fixture(autouse=True)
def only_things(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be two kinds and no checks."""

    def kind(name: str) -> Kind:
        if name == "absent":
            raise PluginError("kind 'absent' of elsewhere 1.0 (elsewhere:KIND) cannot be loaded: ImportError: gone")
        return KINDS[name]

    monkeypatch.setattr(plugins, "names", lambda group: ("absent", "broken", "thing") if group == plugins.KINDS else ())
    monkeypatch.setattr(plugins, "kind", kind)


def scenario(**federates: Any) -> dict[str, Any]:
    named = {name: {"kind": "thing", **settings} for name, settings in federates.items()}
    return {"name": "x", "start": "2025-07-15T00:00:00Z", "duration_s": 60, "step_s": 1, "federates": named}


def problems_of(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ScenarioError) as error:
        assemble(typed(data, Path("x.json")))
    return [str(problem) for problem in error.value.problems]


def test_a_scenario_that_is_right_is_typed_with_its_defaults() -> None:
    loaded = typed(scenario(a={"points": [{"x_kw": 2}]}), Path("x.json"))
    assert loaded.federates["a"].settings == Thing(points=(Point(x_kw=2.0),))
    assert (loaded.step_ns, loaded.until_ns, loaded.file.engine) == (1_000_000_000, 60_000_000_000, "helics")


def test_pointers_have_no_tags_of_unions() -> None:
    found = problems_of(
        scenario(
            a={"shape": {"shape": "square", "side_m": 0, "corner": {"y": 1}}},
            b={"shape": {"shape": "circle"}},
            c={"shape": {"shape": "cirle", "radius_m": 1}},
            d={"shape": {}},
            e={"either": {"x_kw": "1"}},
        )
    )
    assert found == [
        "/federates/a/shape/side_m: must be greater than 0, not 0",
        "/federates/a/shape/corner/y: unknown; there are: on, whole, x_kw",
        "/federates/b/shape/radius_m: is missing",
        "/federates/c/shape/shape: must be one of 'circle', 'square', not 'cirle'; did you mean 'circle'?",
        "/federates/d/shape/shape: is missing",
        "/federates/e/either/x_kw: must be a number, not '1'",
        "/federates/e/either: must be a number, not an object",
    ]


def test_unknown_settings_get_the_near_miss_of_their_own_level() -> None:
    found = problems_of(
        scenario(a={"point": [], "points": [{}, {"x_kv": 1}], "by_name": {"p": {"hole": 1}}, "kinds": "thing"})
    )
    assert found == [
        "/federates/a/points/1/x_kv: unknown; did you mean 'x_kw'?",
        "/federates/a/by_name/p/hole: unknown; did you mean 'whole'?",
        "/federates/a/point: unknown; did you mean 'points'?",
        "/federates/a/kinds: unknown; did you mean 'kind'?",
    ]


def test_names_with_slash_and_tilde_are_escaped_in_pointers() -> None:
    assert problems_of(scenario(a={"by_name": {"a/b~c": {"x_kw": []}}})) == [
        "/federates/a/by_name/a~1b~0c/x_kw: must be a number, not a list"
    ]


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ({"x_kw": "1"}, "x_kw: must be a number, not '1'"),
        ({"x_kw": True}, "x_kw: must be a number, not true"),
        ({"x_kw": None}, "x_kw: must be a number, not null"),
        ({"whole": "1"}, "whole: must be a whole number, not '1'"),
        ({"whole": False}, "whole: must be a whole number, not false"),
        ({"whole": 1.5}, "whole: must be a whole number, not 1.5"),
        ({"on": 1}, "on: must be true or false, not 1"),
        ({"on": "true"}, "on: must be true or false, not 'true'"),
    ],
)
def test_nothing_is_converted_in_silence(point: dict[str, Any], said: str) -> None:
    assert problems_of(scenario(a={"points": [point]})) == [f"/federates/a/points/0/{said}"]


def test_a_whole_number_may_be_written_with_a_point_as_json_schema_has_it() -> None:
    loaded = typed(scenario(a={"points": [{"whole": 2.0, "x_kw": 3}]}), Path("x.json"))
    assert loaded.federates["a"].settings == Thing(points=(Point(whole=2, x_kw=3.0),))


def test_a_federates_name_is_no_name_with_a_line_end() -> None:
    (problem,) = problems_of({**scenario(a={}), "federates": {"a\n": {"kind": "thing"}}})
    assert "a federate's name has lower-case letters" in problem


def test_a_number_whose_integer_overflows_a_float_is_told() -> None:
    data = json.loads(json.dumps(scenario(a={})).replace('"duration_s": 60', '"duration_s": 1' + "0" * 400))
    assert any(p.startswith("/duration_s: ") for p in problems_of(data))


def test_thousands_of_problems_are_cut_to_what_somebody_reads() -> None:
    found = problems_of(scenario(a={"points": [{"x": 1}] * 50_000}))
    assert len(found) == 101
    assert found[-1] == "/: and 49900 problems more"


def test_tens_of_thousands_of_federates_are_refused() -> None:
    found = problems_of(scenario(**{f"f{i}": {} for i in range(10_001)}))
    assert found[0].startswith("/federates: ")


def test_a_kind_that_does_not_load_is_told_and_the_others_are_judged() -> None:
    data = scenario(b={"x": 1})
    data["federates"]["a"] = {"kind": "absent", "whatever": 1}
    assert problems_of(data) == [
        "/federates/b/x: unknown; there are: breaks, by_name, either, kind, points, shape",
        "/federates/a/kind: kind 'absent' of elsewhere 1.0 (elsewhere:KIND) cannot be loaded: ImportError: gone",
    ]


def test_another_error_in_a_kinds_code_is_told_with_its_place_and_is_no_traceback() -> None:
    data = scenario(a={"breaks": True})
    data["federates"]["b"] = {"kind": "broken"}
    first, second = problems_of(data)
    assert first.startswith(
        "/federates/a: its settings cannot be read: TypeError: not what a validator may raise (test_"
    )
    assert second.startswith("/federates/b: KeyError: 'inside' (test_loading.py, line ")


def test_an_unknown_key_at_the_top_does_not_hide_what_the_federates_say() -> None:
    data = scenario()
    data["federates"] = {"b": {"kind": "broken"}}
    assert [p.split(":")[0] for p in problems_of({**data, "sead": 1, "name": "B"})] == [
        "/name",
        "/sead",
        "/federates/b",
    ]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "x.json").write_text(json.dumps(scenario(a={})))
    return tmp_path / "x.json"


def test_overrides_are_part_of_the_scenario(file: Path) -> None:
    loaded = load(file, ["duration_s=120", "federates.a.either=2"])
    assert loaded.until_ns == 120_000_000_000
    assert loaded.document["federates"]["a"] == {"kind": "thing", "either": 2}
    assert loaded.overrides == ("duration_s=120", "federates.a.either=2")


def test_wrong_overrides_are_told_beside_the_rest(file: Path) -> None:
    with pytest.raises(ScenarioError) as error:
        load(file, ["seed=-1", "seed.x=1", "federates.a.eiter=2", "step_s=NaN"])
    assert [str(p) for p in error.value.problems] == [
        "/seed: --set seed.x: a number has no 'x'",
        "/step_s: must be a finite number",
        "/seed: must be greater than or equal to 0, not -1",
        "/federates/a/eiter: unknown; did you mean 'either'?",
    ]


@pytest.mark.parametrize(("duration_s", "shown"), [(6.0000005, "6.0000005"), (1e-10, "1e-10")])
def test_a_duration_that_is_no_multiple_of_the_step_is_shown_as_it_is(duration_s: float, shown: str) -> None:
    (found,) = problems_of({**scenario(a={}), "duration_s": duration_s})
    assert found == f"/duration_s: duration_s {shown} is no multiple of step_s 1"


@pytest.mark.parametrize("start", ["20250715", "1752537600", " 1752537600.5", "-3", 0])
def test_a_start_that_is_a_number_is_no_instant(start: object) -> None:
    (found,) = problems_of({**scenario(a={}), "start": start})
    assert found == f"/start: must be an instant such as 2025-07-15T00:00:00Z, not {start!r}"


class Unsayable(Exception):
    def __str__(self) -> str:
        return self.nowhere  # type: ignore[attr-defined, no-any-return]


def test_what_a_kind_cannot_say_is_told_in_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(settings: Thing, context: Context) -> Federate:
        raise Unsayable

    monkeypatch.setattr(plugins, "kind", lambda name: replace(KINDS["thing"], build=build))
    (found,) = problems_of(scenario(a={}))
    assert found.startswith("/federates/a: Unsayable: what it says raises AttributeError (test_loading.py, line ")


def test_one_object_for_two_federates_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Still] = []

    def build(settings: Thing, context: Context) -> Federate:
        built.append(Still(settings, context))
        return built[0]

    monkeypatch.setattr(plugins, "kind", lambda name: replace(KINDS["thing"], build=build))
    found = problems_of(scenario(a={}, b={}))
    assert found == ["/federates/b: its kind gave what 'a' is already; each needs one of its own"]


class Giving(Still):
    def __init__(self, settings: Thing, context: Context) -> None:
        self.interface = Interface(context.step_ns, outputs={"x": Port("kW", ("e1",))})


def _breaks(*_: object) -> Any:
    raise KeyError("inside")


def _leaves(*_: object) -> Any:
    raise SystemExit(0)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"placed": _breaks}, "/checks/0: the check 'own' cannot be read: KeyError: 'inside' (test_loading.py, line "),
        ({"placed": _leaves}, "/checks/0: the check 'own' cannot be read: SystemExit: 0"),
        ({"signals": _breaks}, "/checks/0: the check 'own' cannot be read: KeyError: 'inside'"),
        ({"signals": lambda _: ("a.x",)}, "'a.x' is no pair of the path of a setting and a pattern of signals"),
        ({"misfit": _breaks}, "/checks/0/by_name: the check 'own' cannot say whether 'a.x' fits: KeyError: 'inside'"),
    ],
)
def test_a_check_of_somebody_elses_that_breaks_is_a_problem_of_the_scenario(
    broken: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(settings: Thing) -> Any:
        return ((("by_name",), "a.x"),)

    own = replace(CheckKind("own", "Own.", Thing, _breaks, named), **broken)
    giving = replace(KINDS["thing"], build=lambda settings, context: Giving(settings, context))
    monkeypatch.setattr(plugins, "names", lambda group: ("own",) if group == plugins.CHECKS else ("thing",))
    monkeypatch.setattr(plugins, "kind", lambda name: giving)
    monkeypatch.setattr(plugins, "check_kind", lambda name: own)
    (found,) = problems_of({**scenario(a={}), "checks": [{"kind": "own"}]})
    assert why in found
