"""Files that people write are read into models with every problem at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from derloop import plugins
from derloop.errors import ScenarioError
from derloop.hosts.file import HostsFile
from derloop.kind import Settings
from derloop.scenario.models import ScenarioFile
from derloop.sweep.models import SweepFile
from derloop.texts import Shape
from derloop.validation import MAX_LISTED, read_model
from federates.market.tariff import Tariff
from federates.market.value.stack import Stack
from hil.bench.file import BenchFile
from hil.inverter.map_file import RegisterFile
from hil.serving.file import EmulatorFile


class Shelf(Settings):
    width_m: float = Field(gt=0)
    boards: dict[str, int] = Field(default_factory=dict)


class Board(Settings):
    kind: Literal["board"]
    wood: str


class Glass(Settings):
    kind: Literal["glass"]
    tint: str


class Cupboard(Settings):
    parts: tuple[Annotated[Board | Glass, Field(discriminator="kind")], ...]


class Key(Settings):
    name: Annotated[str, Field(max_length=5), Shape(r"^[a-z]+$", "lower-case letters: oak")]


def problems(folder: Path, text: str, model: type[Settings] = Shelf) -> list[str]:
    path = folder / "shelf.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ScenarioError) as refused:
        read_model(model, path)
    assert refused.value.source == str(path)
    return [str(problem) for problem in refused.value.problems]


def test_what_is_right_becomes_a_frozen_model(tmp_path: Path) -> None:
    path = tmp_path / "shelf.json"
    path.write_text('{"width_m": 2, "boards": {"oak": 3}}', encoding="utf-8")
    assert read_model(Shelf, path) == Shelf(width_m=2.0, boards={"oak": 3})


def test_all_problems_are_told_each_once(tmp_path: Path) -> None:
    assert problems(tmp_path, '{"width_m": NaN, "bords": 1, "boards": {"oak": "3", "oak": 4}}') == [
        "/width_m: must be a finite number",
        "/boards/oak: the key 'oak' stands more than once",
        "/bords: unknown; did you mean 'boards'?",
    ]


def test_a_number_in_quotes_is_none(tmp_path: Path) -> None:
    assert problems(tmp_path, '{"width_m": "2"}') == ["/width_m: must be a number, not '2'"]


def test_no_more_problems_are_listed_than_somebody_reads(tmp_path: Path) -> None:
    boards = ", ".join(f'"{i}": "x"' for i in range(150))
    found = problems(tmp_path, f'{{"width_m": 1, "boards": {{{boards}}}}}')
    assert len(found) == MAX_LISTED + 1
    assert found[-1] == "/: and 50 problems more"


def test_what_is_possible_is_what_this_sort_has(tmp_path: Path) -> None:
    """`tint` is a setting, but of another sort of part: to be told to take it instead of it would be of no use."""
    text = '{"parts": [{"kind": "board", "wood": "oak", "tint": "blue"}, {"kind": "glass", "tint": "red", "tinn": 1}]}'
    assert problems(tmp_path, text, Cupboard) == [
        "/parts/0/tint: unknown; there are: kind, wood",
        "/parts/1/tinn: unknown; did you mean 'tint'?",
    ]


def test_a_list_of_one_that_is_wrong_is_not_too_short(tmp_path: Path) -> None:
    class Row(Settings):
        shelves: tuple[Shelf, ...] = Field(min_length=1)

    assert problems(tmp_path, '{"shelves": [{"width_m": 0}]}', Row) == [
        "/shelves/0/width_m: must be greater than 0, not 0"
    ]
    assert problems(tmp_path, '{"shelves": []}', Row) == ["/shelves: must have at least 1 item, not 0"]


class Room(Settings):
    owners: tuple[str, ...] = ()
    shelves: tuple[Shelf, ...] = ()
    walls: tuple[Literal["north", "south"], ...] | None = None
    corners_m: tuple[tuple[float, float], ...] = ()


def test_what_stands_alone_is_shown_in_a_list_only_where_it_may_be_in_it(tmp_path: Path) -> None:
    texts = '{"owners": "Zoë", "shelves": "oak", "walls": "north", "corners_m": "0 0"}'
    assert problems(tmp_path, texts, Room) == [
        "/owners: must be a list, as [\"Zoë\"], not 'Zoë'",
        "/shelves: must be a list, not 'oak'",
        "/walls: must be a list, as [\"north\"], not 'north'",
        "/corners_m: must be a list, not '0 0'",
    ]
    objects = '{"owners": {}, "shelves": {"width_m": 1}}'
    assert problems(tmp_path, objects, Room) == [
        "/owners: must be a list, not an object",
        "/shelves: must be a list, as [{...}], not an object",
    ]


def test_text_of_another_shape_is_told_in_words_what_it_may_be(tmp_path: Path) -> None:
    assert problems(tmp_path, '{"name": "Oak 1"}', Key) == ["/name: must be lower-case letters: oak, not 'Oak 1'"]
    assert problems(tmp_path, '{"name": "oak\\n"}', Key) == ["/name: must be lower-case letters: oak, not 'oak\\n'"]
    assert problems(tmp_path, '{"name": 5}', Key) == ["/name: must be a string, not 5"]
    assert problems(tmp_path, '{"name": "mahogany"}', Key) == ["/name: must have at most 5 characters"]


def test_json_schema_of_a_text_has_its_shape_as_a_pattern() -> None:
    assert Key.model_json_schema()["properties"]["name"]["pattern"] == "^[a-z]+$"


MODELS = (ScenarioFile, SweepFile, HostsFile, Tariff, Stack, EmulatorFile, BenchFile, RegisterFile)


def test_no_setting_shows_a_pattern_to_whoever_wrote_another_text() -> None:
    kinds = [plugins.kind(name).settings for name in plugins.names(plugins.KINDS)]
    checks = [plugins.check_kind(name).settings for name in plugins.names(plugins.CHECKS)]
    for model in [*kinds, *checks, *MODELS]:
        assert "'pattern'" not in repr(model.__pydantic_core_schema__), model.__name__


class Span(Settings):
    hours: tuple[float, float] | None = None
    names: tuple[str, ...] = ()


def test_what_stands_alone_where_a_list_is_expected_is_told_with_its_brackets_or_of_how_many_it_is(
    tmp_path: Path,
) -> None:
    told = problems(tmp_path, '{"hours": "17:00", "names": "oak"}', Span)
    assert told == ["/hours: must be a list of 2, not '17:00'", "/names: must be a list, as [\"oak\"], not 'oak'"]
    told = problems(tmp_path, '{"hours": 17, "names": {}}', Span)
    assert told == ["/hours: must be a list of 2, not 17", "/names: must be a list, not an object"]
