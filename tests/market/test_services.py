"""Payments for services on bills, against examples by hand; what is missing for them is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from billing import FLAT, HOUR_NS, MIDNIGHT, schedule, tariff

from derloop.contract import FloatArray
from derloop.kind import Context, PlaceError, Settings, Terminal
from federates.control.vpp.settings import VppSettings
from federates.market.bill import GROUPS
from federates.market.billing import Billing, Metered, Unreconciled, equal, make_billing
from federates.market.enrolment import Enrolled, EnrolledDemandResponse, EnrolledRegulation
from federates.market.regulated import Regulated, regulated
from federates.market.retail import Retail, RetailSettings
from federates.market.schedule import Run, make_schedule
from federates.market.settlement import Settlement
from federates.spells import Spell

PAID: dict[str, Any] = {
    **FLAT,
    "demand_response": {"per_kwh": 0.5},
    "regulation": {"capability_per_kw_h": 0.02, "mileage_per_kw": 0.001, "least_score_pu": 0.4},
}
TEN_DAYS = ((2.0,) * 24,) * 10
HOURS = Regulated(np.array([0, 1, 2]), np.array([0.9, 0.8, 0.3]), np.ones(3), np.array([100.0, 60.0, 500.0]))


def answering(*events: tuple[float, float], customers: int = 1, takes_part: Any = True) -> EnrolledDemandResponse:
    """Return customers that drew 2 kW on each of ten days; events from hour to hour."""
    spells = tuple(Spell(begins_s=begin * 3600, lasts_s=(end - begin) * 3600) for begin, end in events)
    takes = takes_part if isinstance(takes_part, tuple) else (takes_part,) * customers
    return EnrolledDemandResponse(
        events=spells, takes_part=takes, history_kw=(TEN_DAYS,) * customers, most_adjustment_pu=0.2
    )


def billed(load_kw: FloatArray, der_kw: FloatArray | None = None, start: Any = MIDNIGHT, **enrolled: Any) -> Billing:
    """Return the bills of a power for each hour (k, n)."""
    of, hours = tariff(**PAID), enrolled.pop("hours", None)
    names = tuple("abcdef"[: load_kw.shape[1]])
    metered = Metered(names, HOUR_NS, load_kw, np.zeros(load_kw.shape) if der_kw is None else der_kw)
    settled = Settlement(Enrolled(**enrolled), start, hours)
    return make_billing(of, schedule(of, len(load_kw), start), metered, settled)


def services(billing: Billing, customer: int = 0, month: int = 0) -> dict[str, tuple[float, float]]:
    """Return quantity and amount of each line of services."""
    lines = [line for line in billing.with_der[month].lines if line.group == "services"]
    return {line.name: (float(line.quantity[customer]), float(line.amount[customer])) for line in lines}


# --- demand response ---------------------------------------------------------------------------------


def test_what_is_drawn_less_than_the_baseline_is_paid() -> None:
    # 2 kW on ten days, 2.2 kW from 12 h to 15 h: adjusted by 1.1 to 2.2 kW. From 16 h to 18 h 1 kW is drawn:
    # baseline 4.4 kWh, metered 2 kWh, 2.4 kWh x 0.5. The energy of the day: 19 x 2 + 3 x 2.2 + 2 x 1 = 46.6 kWh x 0.2
    load_kw = np.full((24, 1), 2.0)
    load_kw[12:15], load_kw[16:18] = 2.2, 1.0
    made = billed(load_kw, demand_response=answering((16, 18)))
    assert services(made) == {
        "events: 10-of-10 baseline": (pytest.approx(4.4), 0.0),
        "events: metered": (pytest.approx(2.0), 0.0),
        "demand response": (pytest.approx(2.4), pytest.approx(-1.2)),
    }
    assert made.total[0] == pytest.approx(46.6 * 0.2 - 1.2)


def test_nobody_pays_for_having_drawn_more_or_without_taking_part() -> None:
    # a draws 3 kW instead of 2; b and c draw 1 instead of 2 for two hours, and c takes no part
    load_kw = np.full((24, 3), 2.0)
    load_kw[16:18] = [3.0, 1.0, 1.0]
    made = billed(load_kw, demand_response=answering((16, 18), takes_part=(True, True, False), customers=3))
    paid = [services(made, customer)["demand response"] for customer in range(3)]
    assert paid == [(0.0, 0.0), (pytest.approx(2.0), pytest.approx(-1.0)), (0.0, 0.0)]


def test_within_an_event_more_and_less_are_taken_together() -> None:
    # 1 kWh less in its first hour and 0.4 kWh more in its second: 0.6 kWh x 0.5; a second event of the day: 0.5 kWh
    load_kw = np.full((24, 1), 2.0)
    load_kw[16:18, 0], load_kw[20] = [1.0, 2.4], 1.5
    made = billed(load_kw, demand_response=answering((16, 18), (20, 21)))
    assert services(made)["demand response"] == (pytest.approx(1.1), pytest.approx(-0.55))


def test_days_of_the_run_come_into_the_baseline_but_those_with_events() -> None:
    # Tuesday to Thursday; history 2 kW. The first day draws 4 kW, the second has an event, and 12 kW in it. On the
    # third the baseline is of nine days with 2 kW and one with 4: 2.2 kW; 2.2 kW are drawn before it, and 1.2 kW in it
    load_kw = np.full((72, 1), 2.2)
    load_kw[:24], load_kw[24:48], load_kw[64] = 4.0, 2.0, 1.2
    load_kw[40] = 12.0
    made = billed(load_kw, demand_response=answering((40, 41), (64, 65)))
    assert services(made)["events: 10-of-10 baseline"][0] == pytest.approx(2.0 + 2.2)
    assert services(made)["demand response"][0] == pytest.approx(1.0)


def test_a_day_of_which_the_run_has_a_part_is_none_of_the_baseline() -> None:
    # Tuesday from noon on 8 kW. On Wednesday 2 kW as on ten days, and 1 kW in the event: of these ten alone 1 kWh less
    load_kw = np.full((36, 1), 2.0)
    load_kw[:12], load_kw[28] = 8.0, 1.0
    made = billed(load_kw, start=MIDNIGHT.replace(hour=12), demand_response=answering((28, 29)))
    assert services(made)["events: 10-of-10 baseline"][0] == pytest.approx(2.0)
    assert services(made)["demand response"][0] == pytest.approx(1.0)


def test_a_battery_that_discharges_in_the_event_is_paid_and_the_loads_alone_are_not() -> None:
    load_kw = np.full((24, 1), 2.0)
    der_kw = np.zeros((24, 1))
    der_kw[16:18] = 1.5
    made = billed(load_kw, der_kw, demand_response=answering((16, 18)))
    assert services(made)["demand response"] == (pytest.approx(3.0), pytest.approx(-1.5))
    assert made.saved_by_group()["services"] == pytest.approx(1.5)


def test_events_are_paid_on_the_bill_of_their_month() -> None:
    load_kw = np.full((48, 1), 2.0)
    load_kw[40] = 1.0
    june_30 = MIDNIGHT.replace(month=6, day=30)
    made = billed(load_kw, start=june_30, demand_response=answering((40, 41)))
    assert services(made, month=0) == {}
    assert services(made, month=1)["demand response"] == (pytest.approx(1.0), pytest.approx(-0.5))


def test_bills_of_two_months_are_added_up_with_what_is_paid_and_without_der() -> None:
    # 2 kW; on 30 June 1 kW of it is the customer's own: 24 kWh. On 1 July 1 kW less for an hour: 47 kWh, 1 kWh is paid
    load_kw, der_kw = np.full((48, 1), 2.0), np.zeros((48, 1))
    load_kw[40], der_kw[:24] = 1.0, 1.0
    june_30 = MIDNIGHT.replace(month=6, day=30)
    made = billed(load_kw, der_kw, start=june_30, demand_response=answering((40, 41)))
    assert made.total[0] == pytest.approx((24 + 47) * 0.2 - 0.5)
    assert made.total_without[0] == pytest.approx((48 + 47) * 0.2 - 0.5)
    assert made.by_group()["energy"] == pytest.approx(14.2)
    assert made.by_group(without_der=True)["energy"] == pytest.approx(19.0)
    assert made.saved_by_group() == pytest.approx({group: 4.8 * (group == "energy") for group in GROUPS})
    assert made.paid_for("demand response") == pytest.approx(0.5)
    made.reconcile(np.array([14.2]), np.array([19.0]))
    with pytest.raises(Unreconciled, match="bills without DER and what the run told of them do not add up"):
        made.reconcile(np.array([14.2]), np.array([19.1]))


def test_events_are_settled_by_quarters_of_an_hour_as_by_hours() -> None:
    # 2 kW on ten days; 1 kW less for five quarters: 1.25 kWh x 0.5
    of = tariff(**PAID, interval_s=900)
    load_kw = np.full((96, 1), 2.0)
    load_kw[64:69] = 1.0
    answers = answering((16, 17.25)).model_copy(update={"history_kw": (((2.0,) * 96,) * 10,)})
    metered = Metered(("a",), HOUR_NS // 4, load_kw, np.zeros((96, 1)))
    settled = Settlement(Enrolled(demand_response=answers), MIDNIGHT)
    made = make_billing(of, make_schedule(of, Run(MIDNIGHT, 24 * HOUR_NS)), metered, settled)
    assert services(made) == {
        "events: 10-of-10 baseline": (pytest.approx(2.5), 0.0),
        "events: metered": (pytest.approx(1.25), 0.0),
        "demand response": (pytest.approx(1.25), pytest.approx(-0.625)),
    }


@pytest.mark.parametrize(("money", "off"), [(1e6, 1e-3), (-1e6, 1e-3), (1e-3, 1e-9), (0.0, 1e-9)])
def test_sums_are_equal_to_a_billionth_of_the_larger_or_of_one(money: float, off: float) -> None:
    one, other = np.array([0.0, money]), np.array([0.0, money + 0.9 * off])
    equal("bills", one, other)
    with pytest.raises(Unreconciled, match="bills do not add up"):
        equal("bills", one, np.array([0.0, money + 1.2 * off]))


def test_a_metering_interval_in_which_the_run_ends_is_not_settled() -> None:
    # 2 kW as on ten days, with which nothing is reduced; the run ends at half past four, in the event's first hour or
    # at half past five, in its second, of which there is half of the energy
    of = tariff(**PAID)
    settled = Settlement(Enrolled(demand_response=answering((16, 18))), MIDNIGHT)
    for halves, lines in ((33, {}), (35, {"events: 10-of-10 baseline": (2.0, 0.0), "events: metered": (2.0, 0.0)})):
        metered = Metered(("a",), HOUR_NS // 2, np.full((halves, 1), 2.0), np.zeros((halves, 1)))
        made = make_billing(of, make_schedule(of, Run(MIDNIGHT, halves * HOUR_NS // 2)), metered, settled)
        assert made.paid_for("demand response") == 0.0
        assert {**services(made), **lines} == services(made)


# --- regulation --------------------------------------------------------------------------------------


def test_capability_and_mileage_are_paid_by_the_score_and_shared_by_ratings() -> None:
    # scores 0.9, 0.8, and 0.3, which is too low: capability 40 kW x (0.9 + 0.8) = 68 kW h x 0.02 = 1.36;
    # mileage 100 x 0.9 + 60 x 0.8 = 138 kW x 0.001 = 0.138; three quarters of it are b's
    of = EnrolledRegulation(plant="vpp", capability_kw=40.0, share_pu=(0.25, 0.75))
    made = billed(np.ones((3, 2)), regulation=of, hours=HOURS)
    assert services(made, 1) == {
        "regulation: score 0.6667": (pytest.approx(51.0), pytest.approx(-1.02)),
        "regulation: mileage": (pytest.approx(103.5), pytest.approx(-0.1035)),
    }
    assert made.paid_for("regulation") == pytest.approx(1.36 + 0.138)
    assert made.saved_by_group()["services"] == pytest.approx(1.498)  # without DER nobody regulates


def test_the_least_score_is_paid_and_a_part_of_an_hour_by_its_length() -> None:
    hours = Regulated(np.arange(3), np.array([0.4, 0.39, 1.0]), np.array([0.5, 1.0, 0.25]), np.array([10.0, 20.0, 5.0]))
    assert hours.capability_kw_h(40.0, 0.4).tolist() == [8.0, 0.0, 10.0]
    assert hours.moved_kw(0.4).tolist() == [4.0, 0.0, 5.0]


def test_moves_outside_of_what_counts_are_no_mileage() -> None:
    signal_kw, inside = np.array([0.0, 10.0, 30.0, 25.0]), np.array([False, False, True, True])
    time_ns = np.arange(4) * HOUR_NS // 4
    found = regulated(time_ns, signal_kw, HOUR_NS // 4, inside, lambda hours: np.ones(hours.size))
    assert (found.mileage_kw.tolist(), found.held_h.tolist()) == ([25.0], [0.5])


def test_mileage_is_what_the_signal_moves_within_each_hour() -> None:
    # half hours: 0 to 10 | to -10, to 5 | to 5, to 5: 10 in the first hour; 20 + 15 in the second; nothing in the third
    signal_kw = np.array([0.0, 10.0, -10.0, 5.0, 5.0, 5.0])
    time_ns = np.arange(6) * HOUR_NS // 2
    found = regulated(time_ns, signal_kw, HOUR_NS // 2, np.ones(6, dtype=bool), lambda hours: np.ones(hours.size))
    assert found.mileage_kw.tolist() == [10.0, 35.0, 0.0]
    assert found.held_h.tolist() == [1.0, 1.0, 1.0]


# --- what the run tells ------------------------------------------------------------------------------


def test_bills_reconcile_with_those_that_the_run_told_which_are_without_services() -> None:
    load_kw = np.full((24, 1), 2.0)
    load_kw[16:18] = 1.0
    made = billed(load_kw, demand_response=answering((16, 18)))
    told = np.array([46.0 * 0.2])
    made.reconcile(told, told)
    assert made.total[0] == pytest.approx(46.0 * 0.2 - 1.0)


# --- what is refused ---------------------------------------------------------------------------------


class Programme(Settings):
    events: tuple[Spell, ...] = (Spell(begins_s=16 * 3600, lasts_s=7200),)


HISTORY = {"file": "history.csv", "columns": [f"d{k}" for k in range(10)]}
ENROLLED = {"programme": "programme", "history": {"671": HISTORY}}
REGULATES = {"plant": "vpp", "fleets": ["roofs"]}
PLANT = {
    "members": ["roofs"],
    "services": [
        {"kind": "frequency-regulation", "capacity_kw": 40, "signal": {"file": "signal.csv", "column": "r"}},
        {
            "kind": "demand-response",
            "offered_kw": 5,
            "incentive_per_kwh": 1,
            "calls": [{"begins_s": 57600, "lasts_s": 3600}],
        },
    ],
}


@pytest.fixture
def context(tmp_path: Path) -> Context:
    base = {"name": "tested", "source": "a test", "currency": "USD", "interval_s": 3600}
    (tmp_path / "tariff.json").write_text(json.dumps({**base, **PAID}))
    (tmp_path / "unpaid.json").write_text(json.dumps({**base, **FLAT}))
    columns = HISTORY["columns"]
    rows = [",".join(["time_s", *columns]), *(",".join([str(t), *["2"] * 10]) for t in (0, 86400))]
    (tmp_path / "history.csv").write_text("\n".join(rows) + "\n")
    homes = (Terminal("a", "671", (1,), 5.0, draws=True),)
    roofs = (Terminal("b", "671", (1,), 5.0), Terminal("c", "671", (1,), 5.0))
    return Context(
        "retail",
        tmp_path,
        MIDNIGHT,
        60 * 10**9,
        24 * HOUR_NS,
        1,
        terminals={"homes": homes, "roofs": roofs},
        labels={"homes": ("a",), "roofs": ("b", "c")},
        settings={"programme": Programme(), "vpp": VppSettings.model_validate(PLANT)},
    )


def retail(context: Context, **settings: Any) -> Retail:
    document = {"tariff": "tariff.json", "customers": {"loads": ["homes"], "ders": ["roofs"]}, **settings}
    return Retail(RetailSettings.model_validate(document), context)


def test_a_run_keeps_what_its_bills_need(context: Context, tmp_path: Path) -> None:
    retail(context, demand_response=ENROLLED, regulation=REGULATES).keep_in(tmp_path)
    kept = json.loads((tmp_path / "market" / "retail.services.json").read_text())
    assert kept["demand_response"]["events"] == [{"begins_s": 57600.0, "lasts_s": 7200.0}]
    assert kept["demand_response"]["history_kw"] == [[[2.0] * 24] * 10]
    assert kept["regulation"] == {"plant": "vpp", "capability_kw": 40.0, "share_pu": [1.0]}


def test_calls_of_a_plant_are_events_too(context: Context, tmp_path: Path) -> None:
    retail(context, demand_response={**ENROLLED, "programme": "vpp"}).keep_in(tmp_path)
    kept = json.loads((tmp_path / "market" / "retail.services.json").read_text())
    assert kept["demand_response"]["events"] == [{"begins_s": 57600.0, "lasts_s": 3600.0}]


REFUSED: list[tuple[dict[str, Any], tuple[str | int, ...], str]] = [
    ({"demand_response": ENROLLED, "tariff": "unpaid.json"}, ("demand_response",), "its demand_response is missing"),
    ({"regulation": REGULATES, "tariff": "unpaid.json"}, ("regulation",), "its regulation is missing"),
    (
        {"demand_response": {**ENROLLED, "programme": "programm"}},
        ("demand_response", "programme"),
        "no federate is called 'programm'; did you mean 'programme'?",
    ),
    (
        {"demand_response": {"programme": "programme"}},
        ("demand_response", "programme"),
        "event 0: '671': 0 days of history and 0 like it in the run are fewer than the 10 of a baseline",
    ),
    (
        {"demand_response": {**ENROLLED, "customers": ["67x"]}},
        ("demand_response", "customers", 0),
        "no customer is called '67x'; did you mean '671'?",
    ),
    (
        {"demand_response": {**ENROLLED, "history": {"672": HISTORY}}},
        ("demand_response", "history", "672"),
        "no customer is called '672'; did you mean '671'?",
    ),
    (
        {"regulation": {**REGULATES, "plant": "programme"}},
        ("regulation", "plant"),
        "'programme' has no service frequency-regulation: nothing can be scored",
    ),
    (
        {"regulation": {**REGULATES, "fleets": ["rofs"]}},
        ("regulation", "fleets", 0),
        "'rofs' belongs to no customer; did you mean 'roofs'?",
    ),
]


@pytest.mark.parametrize(("settings", "path", "what"), REFUSED)
def test_what_is_missing_for_a_payment_is_refused_with_its_place(
    context: Context, settings: dict[str, Any], path: tuple[str | int, ...], what: str
) -> None:
    with pytest.raises(PlaceError) as error:
        retail(context, **settings)
    assert any(place == path and what in said for place, said in error.value.problems), error.value.problems


def test_a_federate_without_events_is_refused_and_events_after_the_run_are_left_out(
    context: Context, tmp_path: Path
) -> None:
    with pytest.raises(PlaceError, match="'programme' has no events: it is no programme of demand response"):
        retail(replace(context, settings={"programme": Programme(events=())}), demand_response=ENROLLED)
    late = replace(context, settings={"programme": Programme(events=(Spell(begins_s=1e6, lasts_s=3600),))})
    retail(late, demand_response=ENROLLED).keep_in(tmp_path)
    assert json.loads((tmp_path / "market" / "retail.services.json").read_text())["demand_response"]["events"] == []


def test_runs_too_short_and_steps_too_long_for_a_score_are_refused(context: Context) -> None:
    with pytest.raises(PlaceError, match="a score needs 1200 s; the run has 900 s"):
        retail(replace(context, until_ns=900 * 10**9), regulation=REGULATES)
    with pytest.raises(PlaceError, match="steps of 600 s; a score needs steps of 300 s at most"):
        retail(replace(context, step_ns=600 * 10**9), regulation=REGULATES)


def test_regulation_is_shared_by_the_ratings_of_all_fleets_together(context: Context, tmp_path: Path) -> None:
    # at 671 roofs of 2 x 5 kVA and a store of 15 kVA, at 675 a store of 25 kVA: halves
    stores = (Terminal("d", "671", (1,), 15.0), Terminal("e", "675", (1,), 25.0))
    more = replace(
        context,
        terminals={**context.terminals, "stores": stores},
        labels={**context.labels, "stores": ("d", "e")},
    )
    customers = {"loads": ["homes"], "ders": ["roofs", "stores"]}
    regulates = {"plant": "vpp", "fleets": ["roofs", "stores"]}
    retail(more, customers=customers, regulation=regulates).keep_in(tmp_path)
    kept = json.loads((tmp_path / "market" / "retail.services.json").read_text())
    assert kept["regulation"]["share_pu"] == [0.5, 0.5]


def test_only_those_who_take_part_need_days_of_history(context: Context, tmp_path: Path) -> None:
    homes = tuple(Terminal(bus[-1], bus, (1,), 5.0, draws=True) for bus in ("671", "675", "680"))
    more = replace(
        context, terminals={**context.terminals, "homes": homes}, labels={**context.labels, "homes": ("1", "5", "0")}
    )
    enrolled = {**ENROLLED, "customers": ["671", "675"], "history": {"671": HISTORY, "675": HISTORY}}
    retail(more, demand_response=enrolled).keep_in(tmp_path)
    kept = json.loads((tmp_path / "market" / "retail.services.json").read_text())
    assert kept["demand_response"]["takes_part"] == [True, True, False]


def test_a_fleet_that_is_named_twice_has_no_larger_share_of_regulation() -> None:
    customers = {"loads": ["homes"], "ders": ["roofs", "stores"]}
    regulates = {"plant": "vpp", "fleets": ["roofs", "stores", "roofs"]}
    with pytest.raises(ValueError, match="a fleet is named twice"):
        RetailSettings.model_validate({"tariff": "tariff.json", "customers": customers, "regulation": regulates})


def test_services_without_customers_are_refused() -> None:
    with pytest.raises(ValueError, match="services are paid to customers, and customers is missing"):
        RetailSettings.model_validate({"tariff": "tariff.json", "regulation": REGULATES})
