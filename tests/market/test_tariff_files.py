"""Tariff files: what is refused, with its pointer; and the shipped examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from billing import FLAT, tariff

from derloop.errors import ScenarioError
from federates.market.tariff import read_tariff, tariff_schema

TARIFFS = Path(__file__).parents[2] / "scenarios" / "tariffs"
EXAMPLES = sorted(TARIFFS.glob("example_*.json"))
DAY = {"name": "day", "price_per_kwh": 0.3, "hours": [{"from_h": 6, "to_h": 22}]}
NIGHT = {"name": "night", "price_per_kwh": 0.1, "hours": [{"from_h": 0, "to_h": 6}]}
LATE = {"name": "late", "price_per_kwh": 0.1, "hours": [{"from_h": 21, "to_h": 24}]}
SUMMER = {"name": "summer", "first": "06-01", "last": "09-30"}
RISING = [{"up_to_kwh": 10, "price_per_kwh": 0}, {"price_per_kwh": 1}]

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"periods": [DAY, NIGHT]}, "/periods", "no period has 22 to 24 h"),
    ({"periods": [DAY, NIGHT, LATE]}, "/periods", "0 ('day') and 2 ('late') both have 21 to 22 h"),
    ({"periods": [{**DAY, "hours": [{"days": "weekdays"}]}]}, "/periods", "no period has any hour on weekends"),
    ({"periods": [{**DAY, "hours": [{}, {"from_h": 3, "to_h": 4}]}]}, "/periods", "both have 3 to 4 h"),
    ({"periods": [DAY, {**DAY, "hours": [{"from_h": 0, "to_h": 6}]}]}, "/periods", "two periods have one name"),
    ({"periods": [{**DAY, "seasons": ["sumer"]}]}, "/periods", "no season is called 'sumer'; there are: none"),
    (
        {"periods": [{**DAY, "hours": [{"from_h": 6.5, "to_h": 22}]}]},
        "/periods",
        "6.5 h lies within a metering interval",
    ),
    ({"periods": [{**DAY, "hours": [{"from_h": 22, "to_h": 6}]}]}, "/periods/0/hours/0/from_h", "over midnight"),
    ({**FLAT, "seasons": [SUMMER]}, "/seasons", "no season has 01-01 and 243 days more"),
    (
        {**FLAT, "seasons": [SUMMER, {"name": "winter", "first": "09-30", "last": "05-31"}]},
        "/seasons",
        "09-30 is in summer and winter",
    ),
    ({**FLAT, "seasons": [{**SUMMER, "last": "02-30"}]}, "/seasons/0/last", "is no day of the year"),
    ({"tiers": {"steps": [*RISING[:1], *RISING]}}, "/tiers/steps", "tier 1 ends at 10 kWh, tier 0 at 10 kWh"),
    ({"tiers": {"steps": []}}, "/tiers/steps", "needs one or more"),
    ({"tiers": {"steps": RISING[:1]}}, "/tiers/steps", "nothing is said of what is drawn beyond"),
    ({"tiers": {"steps": RISING[::-1]}}, "/tiers/steps", "tier 0 has no up_to_kwh, and others follow it"),
    ({**FLAT, "demand": [{"name": "peak", "per_kw": -1}]}, "/demand/0/per_kw", "greater than or equal to 0"),
    ({**FLAT, "demand": 2 * [{"name": "peak", "per_kw": 1}]}, "/demand", "two demand charges have one name"),
    ({**FLAT, "export": {"kind": "net_metering"}}, "/export/kind", "net-metering"),
    ({**FLAT, "export": {"kind": "net-billing"}}, "/export", "one of price_per_kwh and share_of_price_pu"),
    (
        {"real_time": {"file": "a.csv", "column": "p"}, "export": {"kind": "net-metering"}},
        "/real_time",
        "net metering nets kWh of one price",
    ),
    ({"fixed": {"per_day": 1}}, "/periods", "it does not say what a kWh costs"),
    ({**FLAT, "currency": "dollars"}, "/currency", "must be three capital letters, as in ISO 4217: USD, not 'dollars'"),
    ({**FLAT, "holidays": ["07-04"]}, "/holidays/0", "must be a day such as 2025-07-04, not '07-04'"),
    ({**FLAT, "interval_s": 1000}, "/interval_s", "must divide an hour"),
    ({**FLAT, "period": []}, "/period", "did you mean 'periods'?"),
]


@pytest.mark.parametrize(("parts", "pointer", "what"), REFUSED, ids=[what for _, _, what in REFUSED])
def test_a_tariff_is_refused_with_a_pointer(parts: dict[str, Any], pointer: str, what: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        tariff(**parts)
    problems = [problem for problem in refused.value.problems if problem.pointer == pointer]
    assert problems, str(refused.value)
    assert what in problems[0].what


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ScenarioError) as refused:
        tariff(periods=[DAY], tiers={"steps": RISING[:1]}, currency="US")
    assert {problem.pointer for problem in refused.value.problems} == {"/periods", "/tiers/steps", "/currency"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_read_and_fit_the_shipped_schema(path: Path) -> None:
    read = read_tariff(path)
    assert read.name == path.stem
    assert "made up" in read.source.lower()
    schema = json.loads((TARIFFS / "tariff.schema.json").read_text())
    jsonschema.validate(json.loads(path.read_text()), schema)


def test_the_shipped_schema_is_that_of_the_code() -> None:
    assert json.loads((TARIFFS / "tariff.schema.json").read_text()) == json.loads(json.dumps(tariff_schema()))
