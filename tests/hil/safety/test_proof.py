"""What was commanded must show in what is measured, within the response time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from derloop.errors import Rejected
from hil.safety.proof import ElectricalProof, Told, Unproven, raise_aborting
from hil.safety.rules import Proof

NAN = float("nan")


def proof(names: str = "a", **settings: Any) -> ElectricalProof:
    rules = Proof.model_validate({"response_s": 5.0, "p_tolerance_w": 50.0, "q_tolerance_var": 20.0, **settings})
    return ElectricalProof(names, [rules] * len(names))


def each(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def told(*values: np.ndarray) -> Told:
    """Setpoint and limit of active power, W, and setpoint of reactive power, var (n,); NaN: none."""
    holding = Told(len(values[0]))
    for index, parts in enumerate(zip(*values, strict=True)):
        holding.take(index, parts)
    return holding


def command(proving: ElectricalProof, since_s: np.ndarray, *values: np.ndarray) -> None:
    proving.command(since_s, told(*values))


def judge(proving: ElectricalProof, now_s: float, p_w: float, q_var: float = 0.0) -> list[str]:
    return [str(found) for found in proving.judge(each(now_s), each(p_w), each(q_var))]


def test_nothing_is_judged_before_anything_was_commanded() -> None:
    assert judge(proof(), 0.0, 12345.0, NAN) == []


def test_a_setpoint_must_be_reached_within_the_response_time() -> None:
    proving = proof(source_limited=False)
    command(proving, each(10.0), each(3000.0), each(NAN), each(NAN))
    assert judge(proving, 14.9, 0.0) == []
    assert judge(proving, 15.1, 2951.0) == []
    assert judge(proving, 15.1, 2949.0) == [
        "active power was commanded to 3000 W; 5 s later the device measures 2949 W"
    ]
    assert judge(proving, 15.1, 3051.0) != []


def test_a_setpoint_that_changes_at_every_step_is_judged_all_the_same() -> None:
    """A dead device that stays at 0 W is found though no setpoint stands for 5 s; one that follows is not."""
    proving, follows = proof(source_limited=False), []
    for second in range(20):
        command(proving, each(float(second)), each(1000.0 + 100.0 * second), each(NAN), each(NAN))
        late = 1000.0 + 100.0 * max(second - 3, 0)
        follows += judge(proving, float(second), late)
    assert follows == []
    assert judge(proving, 19.0, 0.0) == [
        "active power was commanded to 2400 to 2900 W; 5 s later the device measures 0 W"
    ]


def test_the_response_time_counts_from_each_command_also_back() -> None:
    proving = proof(source_limited=False)
    command(proving, each(0.0), each(1000.0), each(NAN), each(NAN))
    command(proving, each(100.0), each(-1000.0), each(NAN), each(NAN))
    assert judge(proving, 104.0, 1000.0) == []
    assert judge(proving, 104.0, 1100.0) != []
    assert judge(proving, 106.0, 1000.0) != []


def test_a_limit_need_not_be_seen_but_must_not_be_exceeded() -> None:
    proving = proof()
    command(proving, each(0.0), each(NAN), each(4000.0), each(NAN))
    assert judge(proving, 6.0, 1500.0) == []
    assert judge(proving, 6.0, 4050.0) == []
    assert judge(proving, 6.0, 4100.0) == [
        "active power was commanded to at most 4000 W; 5 s later the device measures 4100 W"
    ]


def test_the_sun_may_give_less_than_a_setpoint_and_not_more() -> None:
    proving = proof(source_limited=True)
    command(proving, each(0.0), each(3000.0), each(NAN), each(NAN))
    assert judge(proving, 6.0, 500.0) == []
    assert judge(proving, 6.0, 3100.0) != []
    assert judge(proving, 6.0, -100.0) != []


def test_a_full_battery_may_draw_less_than_a_setpoint_and_not_give() -> None:
    proving = proof(source_limited=True)
    command(proving, each(0.0), each(-3000.0), each(NAN), each(NAN))
    assert judge(proving, 6.0, 0.0) == []
    assert judge(proving, 6.0, -3100.0) != []
    assert judge(proving, 6.0, 100.0) != []


def test_the_lower_of_setpoint_and_limit_counts() -> None:
    proving = proof(source_limited=False)
    command(proving, each(0.0), each(3000.0), each(2000.0), each(NAN))
    assert judge(proving, 6.0, 2000.0) == []
    assert judge(proving, 6.0, 3000.0) != []


def test_reactive_power_must_be_reached() -> None:
    proving = proof()
    command(proving, each(0.0), each(NAN), each(NAN), each(-300.0))
    assert judge(proving, 6.0, 0.0, -310.0) == []
    assert judge(proving, 6.0, 0.0, 0.0) == [
        "reactive power was commanded to -300 var; 5 s later the device measures 0 var"
    ]


def test_what_is_turned_off_is_judged_no_more() -> None:
    proving = proof(source_limited=False)
    command(proving, each(0.0), each(3000.0), each(NAN), each(NAN))
    command(proving, each(10.0), each(NAN), each(NAN), each(NAN))
    assert judge(proving, 20.0, 7777.0) == []


def test_what_is_commanded_and_not_measured_is_not_proven() -> None:
    proving = proof(source_limited=False)
    command(proving, each(0.0), each(3000.0), each(NAN), each(NAN))
    assert judge(proving, 6.0, NAN) == [
        "active power was commanded to 3000 W; 5 s later the device does not measure it"
    ]


def test_each_device_is_judged_by_when_it_was_measured_and_by_its_own_rules() -> None:
    rules = [Proof(response_s=5.0, p_tolerance_w=50.0, source_limited=False), Proof(response_s=50.0, p_tolerance_w=1.0)]
    proving = ElectricalProof("abc", [*rules, None])
    command(proving, each(0.0, 0.0, 0.0), each(1000.0, 1000.0, 1000.0), each(NAN, NAN, NAN), each(NAN, NAN, NAN))
    found = proving.judge(each(6.0, 6.0, 6.0), each(0.0, 5000.0, 0.0), each(0.0, 0.0, 0.0))
    assert [unproven.device for unproven in found] == ["a"]
    assert proving.judge(each(4.0, 6.0, 6.0), each(0.0, 5000.0, 0.0), each(0.0, 0.0, 0.0)) == []


def test_the_response_time_of_each_device_counts_from_when_it_took_its_command() -> None:
    """Both were told to turn from 1 to -1 kW; the first took it at 10 s, the second at 14 s."""
    proving = proof("ab", source_limited=False)
    nothing = each(NAN, NAN)
    command(proving, each(0.0, 0.0), each(1000.0, 1000.0), nothing, nothing)
    command(proving, each(10.0, 14.0), each(-1000.0, -1000.0), nothing, nothing)

    def accused(at_s: float, p_w: float) -> list[str]:
        return [found.device for found in proving.judge(each(at_s, at_s), each(p_w, p_w), each(0.0, 0.0))]

    assert accused(9.9, -1000.0) == ["a", "b"]
    assert accused(10.1, -1000.0) == ["b"]
    assert accused(14.1, -1000.0) == []
    assert accused(14.9, 1000.0) == []
    assert accused(15.1, 1000.0) == ["a"]
    assert accused(19.1, 1000.0) == ["a", "b"]


def test_a_device_may_be_between_what_it_holds_and_what_it_may_have_been_told() -> None:
    """It held 1 kW below 5 kW. Of 4 kW below 2 kW nobody knows whether it came, or which of the two."""
    proving, holding = proof(source_limited=False), told(each(1000.0), each(5000.0), each(NAN))
    proving.command(each(0.0), holding)
    holding.doubt(0, [4000.0, 2000.0, None])
    proving.command(each(10.0), holding)
    assert judge(proving, 20.0, 1000.0) == []
    assert judge(proving, 20.0, 4000.0) == []
    assert judge(proving, 20.0, 900.0) != []
    assert judge(proving, 20.0, 4100.0) == [
        "active power was commanded to 1000 to 4000 W; 5 s later the device measures 4100 W"
    ]
    holding.take(0, [4000.0, 2000.0, None])
    proving.command(each(30.0), holding)
    assert judge(proving, 34.0, 1000.0) == []
    assert judge(proving, 36.0, 1000.0) == [
        "active power was commanded to 2000 W; 5 s later the device measures 1000 W"
    ]


def test_what_may_have_been_turned_off_or_on_is_judged_by_what_is_sure() -> None:
    proving, holding = proof(source_limited=False), told(each(NAN), each(3000.0), each(-300.0))
    holding.doubt(0, [1000.0, NAN, NAN])
    proving.command(each(0.0), holding)
    assert judge(proving, 6.0, 7777.0, 7777.0) == []
    holding.take(0, [NAN, 3000.0, -300.0])
    holding.doubt(0, [1000.0, None, 0.0])
    proving.command(each(10.0), holding)
    assert judge(proving, 20.0, 1500.0, -100.0) == []
    assert judge(proving, 20.0, 3100.0, 100.0) == [
        "active power was commanded to at most 3000 W; 5 s later the device measures 3100 W",
        "reactive power was commanded to -300 to 0 var; 5 s later the device measures 100 var",
    ]


def test_the_first_that_aborts_is_raised_with_the_others_and_doubts_are_not() -> None:
    def unproven(device: str, aborts: bool) -> Unproven:
        return Unproven(device, "active power", 0.0, 1000.0, 1000.0, 5.0, aborts)

    raise_aborting([unproven("a", False)])
    with pytest.raises(Rejected, match="device 'b': active power was commanded to 1000 W") as raised:
        raise_aborting([unproven("a", False), unproven("b", True), unproven("c", True)])
    assert [note.split(":")[1] for note in raised.value.__notes__] == [" device 'c'"]
