"""Reading JSON strictly, and changing it from the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from derloop.document import blemishes, parse, pointer, read, shown
from derloop.errors import ScenarioError
from derloop.scenario.overrides import override


def refusal(text: str) -> str:
    with pytest.raises(ScenarioError) as error:
        parse(text)
    return "; ".join(map(str, error.value.problems))


def told(text: str) -> list[str]:
    return [str(problem) for problem in blemishes(parse(text))]


def changed(data: dict[str, Any], *settings: str) -> dict[str, Any]:
    assert override(data, settings) == []
    return data


def refused(data: dict[str, Any], setting: str) -> str:
    (problem,) = override(data, [setting])
    return str(problem)


def test_a_pointer_escapes_what_rfc_6901_says() -> None:
    assert pointer(("a/b", "c~d", 0)) == "/a~1b/c~0d/0"
    assert pointer(()) == ""


@pytest.mark.parametrize(
    "written", [b'\xef\xbb\xbf{"a": 1}', b'{"a":\r\n1}\r\n', b'\t{"a" : 1}\n'], ids=["bom", "crlf", "blanks"]
)
def test_byte_order_mark_and_line_ends_do_not_matter(written: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(written)
    assert read(tmp_path / "x.json") == {"a": 1}


@pytest.mark.parametrize(
    ("written", "what"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe{\x00}\x00", "is not UTF-8 text"),
        (b'{"a": "\xff"}', "is not UTF-8 text"),
        (b'{"a": 1', "not JSON: Expecting ',' delimiter at line 1, column 8"),
        (b"{'a': 1}", "not JSON: Expecting property name"),
        (b'{"a": 1}{', "not JSON: Extra data"),
        (b"[]", "must be an object, not a list"),
        (b"null", "must be an object, not null"),
        (b"5", "must be an object, not a number"),
        (b"true", "must be an object, not true or false"),
        (b"\x00", "not JSON"),
    ],
)
def test_what_is_no_object_in_utf_8_is_refused(written: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(written)
    with pytest.raises(ScenarioError, match=what):
        read(tmp_path / "x.json")


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, what in [
        (tmp_path, "is a folder"),
        (tmp_path / "none.json", "cannot be read: No such file"),
        (tmp_path / "pipe", "is no regular file"),
        (Path("/dev/zero"), "is no regular file"),
        (tmp_path / "a\0b", "cannot be read"),
        (tmp_path / ("a" * 300), "cannot be read: File name too long"),
    ]:
        with pytest.raises(ScenarioError, match=what):
            read(path)


def test_a_file_of_many_megabytes_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "x.json").open("wb") as file:
        file.truncate(17 * 2**20)
    with pytest.raises(ScenarioError, match="larger than 16 MiB"):
        read(tmp_path / "x.json")


@pytest.mark.parametrize("depth", [41, 500, 10_000, 1_000_000])
def test_absurd_depth_is_refused(depth: int) -> None:
    assert "nested deeper than 40 levels" in refusal('{"a":' + "[" * depth + "]" * depth + "}")
    assert "nested deeper than 40 levels" in refusal('{"a":' * depth + "1" + "}" * depth)


def test_absurd_sizes_are_refused() -> None:
    assert refusal('{"a": [' + "1," * 1_000_000 + "1]}") == "/a: has 1000001 elements, more than 100000"
    assert refusal('{"a": "' + "x" * 100_001 + '"}') == "/a: has 100001 characters, more than 100000"
    assert refusal('{"' + "k" * 201 + '": 1}') == "/: has a key of 201 characters, more than 200"


def test_keys_that_stand_twice_are_told_at_every_level() -> None:
    assert told('{"a": 1, "a": 2, "b": [{"c": 1, "c": 1, "c": 1}]}') == [
        "/a: the key 'a' stands more than once",
        "/b/0/c: the key 'c' stands more than once",
    ]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 400, "-" + "9" * 10_000])
def test_numbers_that_are_not_finite_are_told(number: str) -> None:
    assert told(f'{{"a": [0, {number}]}}') == ["/a/1: must be a finite number"]


def test_half_a_surrogate_pair_is_told_in_texts_and_keys() -> None:
    assert told(r'{"a": "\ud800", "\udfff": 1}') == [
        r"/: the key '\udfff' holds half a surrogate pair, which is no character",
        "/a: holds half a surrogate pair, which is no character",
    ]
    assert told(r'{"a": "\ud83d\ude00"}') == []


def test_a_value_in_a_message_is_short_and_on_one_line() -> None:
    assert [shown(value) for value in (None, True, 1.5, "a\nb", [1], {})] == [
        "null",
        "true",
        "1.5",
        r"'a\nb'",
        "a list",
        "an object",
    ]
    assert len(shown("x" * 1000)) == 60


def test_set_takes_a_dotted_path_or_a_pointer_and_a_json_value() -> None:
    data: dict[str, Any] = {"a": {"b": [1, {"c": 2}]}, "x/y": {"~": 0}}
    changed(data, "a.b.1.c=3.5", "a.b.0=[true, null]", "/x~1y/~0=word", "new={}", "a.text=a=b", 'a.quoted="5"')
    assert data == {
        "a": {"b": [[True, None], {"c": 3.5}], "text": "a=b", "quoted": "5"},
        "x/y": {"~": "word"},
        "new": {},
    }


@pytest.mark.parametrize("text", ['1,"x":2', "1}", "", "america", "1 2", "{", "[1", "1_000", "\u00b2"])
def test_a_value_that_is_no_json_is_a_string(text: str) -> None:
    assert changed({}, f"a={text}") == {"a": text}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("a", "/: --set 'a': must be path=value, as in --set federates.battery.energy_kwh=13.5"),
        ("=1", "/: --set '=1': must be path=value, as in --set federates.battery.energy_kwh=13.5"),
        ("", "/: --set '': must be path=value, as in --set federates.battery.energy_kwh=13.5"),
        ("federatse.x=1", "/: --set federatse.x: no 'federatse'; did you mean 'federates'?"),
        ("federates.battry.x=1", "/federates: --set federates.battry.x: no 'battry'; did you mean 'battery'?"),
        ("list.2=1", "/list: --set list.2: '2' is no index of a list of 2"),
        ("list.-1=1", "/list: --set list.-1: '-1' is no index of a list of 2"),
        ("list.x=1", "/list: --set list.x: 'x' is no index of a list of 2"),
        ("list.\u00b2=1", "/list: --set list.\u00b2: '\u00b2' is no index of a list of 2"),
        ("list." + "9" * 5000 + "=1", "is no index of a list of 2"),
        ("seed.x=1", "/seed: --set seed.x: a number has no 'x'"),
        ("seed=" + "[" * 50 + "]" * 50, "--set seed: nested deeper than 40 levels"),
    ],
)
def test_a_wrong_set_says_where_and_what_is_possible(setting: str, said: str) -> None:
    data = {"federates": {"battery": {}}, "list": [1, 2], "seed": 1}
    assert said in refused(data, setting)
    assert data == {"federates": {"battery": {}}, "list": [1, 2], "seed": 1}


def test_set_can_mend_what_is_wrong_and_is_judged_itself() -> None:
    assert list(blemishes(changed(parse('{"a": NaN}'), "a=1"))) == []
    assert [str(p) for p in blemishes(changed({}, "a=NaN"))] == ["/a: must be a finite number"]
    assert [str(p) for p in blemishes(changed({}, "a=\ud800"))] != []


def test_every_wrong_set_is_told_at_once() -> None:
    assert len(override({}, ["a", "b.c=1", "d.e=1"])) == 3


def test_a_federate_that_is_set_to_null_is_taken_out() -> None:
    data = {"federates": {"vpp": {"kind": "vpp"}, "grid": {"kind": "opendss"}}}
    assert override(data, ["federates.vpp=null"]) == []
    assert data == {"federates": {"grid": {"kind": "opendss"}}}
    assert (
        refused(data, "federates.girt=null") == "/federates: --set federates.girt: no federate 'girt'; there are: grid"
    )
