"""What the verdicts of a run come to."""

from __future__ import annotations

import pytest

from derloop.verdict import overall, unasked

CHECK, BALANCE = "settles", "balance"


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (["PASS"], "PASS"),
        (["PASS", "PASS"], "PASS"),
        (["PASS", "FAIL"], "FAIL"),
        (["FAIL", "PASS"], "FAIL"),
        (["FAIL", "FAIL"], "FAIL"),
        (["PASS", "INCONCLUSIVE"], "INCONCLUSIVE"),
        (["FAIL", "INCONCLUSIVE"], "INCONCLUSIVE"),
        (["INCONCLUSIVE", "FAIL", "PASS"], "INCONCLUSIVE"),
    ],
)
def test_the_weightiest_outcome_decides_wherever_it_stands(outcomes: list[str], expected: str) -> None:
    assert overall([(CHECK, outcome) for outcome in outcomes]) == expected
    assert overall([(BALANCE, "PASS"), *((CHECK, outcome) for outcome in outcomes)]) == expected


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [([], None), (["PASS"], None), (["PASS", "FAIL"], "FAIL"), (["INCONCLUSIVE"], "INCONCLUSIVE")],
)
def test_balances_alone_fail_a_run_and_pass_none(outcomes: list[str], expected: str | None) -> None:
    assert overall([(BALANCE, outcome) for outcome in outcomes]) == expected


def test_what_was_not_asked_is_said() -> None:
    nothing = "nothing was asked of the run: its scenario has no checks"
    assert unasked([]) == nothing
    assert unasked([BALANCE]) == f"{nothing}, only its balances were judged"
    assert unasked([BALANCE, CHECK]) == ""
