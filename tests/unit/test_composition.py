"""Checks of checks: three values, the part that decides, doubts and pointers of what is nested."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from judged import NS, Memory

from derloop.checks import energy, judge_all, stays_within
from derloop.checks.composition import ALL_OF, ANY_OF, NONE_OF, Several
from derloop.errors import ScenarioError
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import typed
from derloop.verdict import CheckEntry, Composition, Doubt, Verdict

P, F, U = "PASS", "FAIL", "INCONCLUSIVE"
RECORDED = Memory(a__x=("kW", 10, [1.0, 2.0, 9.0]), b__x=("kW", 10, [0.0, 1.0, 2.0]))
MOST = {P: ("a.x", 10.0), F: ("a.x", 3.0), U: ("lost.x", 1.0)}
"""A limit for each outcome: a.x has 9 kW at 20 s."""


def part(name: str, signal: str, most: float, **window: float) -> CheckEntry:
    return CheckEntry(name, stays_within.KIND, stays_within.StaysWithin(signal=signal, max=most, **window))


def composed(kind: Composition, *parts: CheckEntry) -> CheckEntry:
    return CheckEntry("together", kind, Several(of=({"kind": "stays-within"},)), parts)


def judged(kind: Composition, *parts: CheckEntry, **how: Any) -> Verdict:
    return judge_all([composed(kind, *parts)], RECORDED, **how)[0]


def outcomes(kind: Composition, outcomes: str) -> str:
    said = {"P": P, "F": F, "U": U}
    return judged(kind, *(part(f"part {i}", *MOST[said[o]]) for i, o in enumerate(outcomes))).outcome


@pytest.mark.parametrize(
    ("parts", "all_of", "any_of", "none_of"),
    [
        ("P", P, P, F),
        ("F", F, F, P),
        ("U", U, U, U),
        ("PP", P, P, F),
        ("PF", F, P, F),
        ("FF", F, F, P),
        ("PU", U, P, F),
        ("FU", F, U, U),
        ("UU", U, U, U),
        ("PFU", F, P, F),
        ("UFF", F, U, U),
    ],
)
def test_the_logic_is_that_of_three_values(parts: str, all_of: str, any_of: str, none_of: str) -> None:
    for order in (parts, parts[::-1]):
        assert [outcomes(kind, order) for kind in (ALL_OF, ANY_OF, NONE_OF)] == [all_of, any_of, none_of]


def test_the_part_that_decided_is_named_with_what_it_measured() -> None:
    found = judged(ALL_OF, part("narrow", "b.x", 3), part("wide", "a.x", 4), part("middle", "a.x", 8))
    assert (found.check, found.kind, found.outcome) == ("together", "all-of", F)
    assert found.text.startswith("2 of 3 fail; decided by 'wide': 33.33 % of the values are above 4 kW; worst: 9 kW")
    assert (found.measured, found.limit, found.margin, found.unit) == (9.0, 4.0, -5.0, "kW")
    assert (found.where, found.when_ns, found.source) == ("a.x at 'e1'", 20 * NS, "scenario")
    assert [(p.check, p.outcome) for p in found.parts] == [("narrow", P), ("wide", F), ("middle", F)]


def test_where_all_pass_the_one_nearest_to_its_limit_is_told() -> None:
    found = judged(ALL_OF, part("far", "b.x", 20), part("near", "a.x", 9.5))
    assert (found.outcome, found.margin, found.text.split(":")[0]) == (P, 0.5, "2 of 2 pass; decided by 'near'")


def test_none_of_has_the_margin_the_other_way_round() -> None:
    found = judged(NONE_OF, part("small", "a.x", 4))
    assert (found.outcome, found.margin) == (P, 5.0)
    found = judged(NONE_OF, part("small", "a.x", 10))
    assert (found.outcome, found.margin, found.text.split(":")[0]) == (F, -1.0, "'small' passes")


def test_compositions_stand_within_each_other() -> None:
    inner = CheckEntry("inner", NONE_OF, Several(of=({},)), (part("small", "a.x", 4),))
    assert judged(ALL_OF, part("fine", "b.x", 5), inner).outcome == P
    inner = CheckEntry("inner", NONE_OF, Several(of=({},)), (part("large", "a.x", 40),))
    found = judged(ALL_OF, part("fine", "b.x", 5), inner)
    assert (found.outcome, "1 of 2 fails; decided by 'inner': 'large' passes" in found.text) == (F, True)


def test_doubts_reach_what_is_nested_and_nothing_else() -> None:
    doubts = [Doubt("a is late", 0, ("a",))]
    assert judged(ALL_OF, part("on a", "a.x", 10), part("on b", "b.x", 10), doubts=doubts).outcome == U
    assert judged(ANY_OF, part("on a", "a.x", 10), part("on b", "b.x", 10), doubts=doubts).outcome == P
    assert judged(NONE_OF, part("on a", "a.x", 3), doubts=doubts).outcome == U
    early = part("on a, early", "a.x", 10, to_s=10)
    assert judged(ALL_OF, early, doubts=[Doubt("a is late", 20 * NS, ("a",))]).outcome == P


def test_a_run_that_was_cut_short_passes_no_composition() -> None:
    found = judged(NONE_OF, part("small", "a.x", 4), cut_short="the run failed")
    assert (found.outcome, found.text.startswith("the run failed; until then")) == (U, True)
    assert judged(ANY_OF, part("fine", "b.x", 5), cut_short="the run failed").outcome == U
    assert judged(ALL_OF, part("small", "a.x", 4), cut_short="the run failed").outcome == F


def problems_of(*checks: Any) -> list[str]:
    federates = {"gas": {"kind": "frequency", "trace": 60}}
    data = {"name": "x", "start": "2025-07-15T00:00:00Z", "duration_s": 60, "step_s": 1, "federates": federates}
    with pytest.raises(ScenarioError) as error:
        assemble(typed({**data, "checks": list(checks)}, Path("x.json")))
    return [str(problem) for problem in error.value.problems if problem.pointer.startswith("/checks")]


def test_nested_checks_are_refused_with_their_pointers_all_at_once() -> None:
    found = problems_of(
        {
            "kind": "all-of",
            "of": [
                {"kind": "peak", "signal": "gas.p_kw"},
                {"kind": "any-of", "of": [{"kind": "energy", "signal": "gas.p_kw", "max_kwh": "3"}, {"kind": "peek"}]},
                {"kind": "stays-within", "signal": "gas.f_hz", "max": 1, "maxx": 2, "name": 3},
            ],
        },
        {"kind": "none-of", "of": []},
        {"kind": "none-of", "of": [3, {"kind": "stays-within", "signal": "gas.f_hz", "max": 1}], "window": 3},
        {"kind": "any-of"},
    )
    assert found[:5] == [
        "/checks/0/of/0/limit_kw: is missing",
        "/checks/0/of/1/of/0/max_kwh: must be a number, not '3'",
        "/checks/0/of/1/of/1/kind: 'peek' is unknown; did you mean 'peak'?",
        "/checks/0/of/2/name: must be a string of at most 200 characters",
        "/checks/0/of/2/maxx: unknown; did you mean 'max'?",
    ]
    assert found[5].startswith("/checks/1/of: ")
    assert found[6:] == [
        "/checks/2/of/0: must be an object, not 3",
        "/checks/2/window: unknown; did you mean 'kind'?",
        "/checks/3/of: is missing",
    ]


def test_a_nested_signal_that_nobody_gives_is_refused() -> None:
    within = {"kind": "stays-within", "signal": "gas.f_hx", "max": 1}
    (found,) = problems_of({"kind": "all-of", "of": [{"kind": "none-of", "of": [within]}]})
    assert found.startswith("/checks/0/of/0/of/0/signal: no signal 'gas.f_hx'; did you mean 'gas.f_hz'?")


def test_what_more_time_could_mend_has_not_failed_in_a_run_that_was_cut_short() -> None:
    few = energy.Energy(signal="a.x", min_kwh=1)
    many = energy.Energy(signal="a.x", max_kwh=0.001)
    checks = [CheckEntry("few", energy.KIND, few), CheckEntry("many", energy.KIND, many)]
    assert [v.outcome for v in judge_all(checks, RECORDED)] == [F, F]
    assert [v.outcome for v in judge_all(checks, RECORDED, "the run failed")] == [U, U]
