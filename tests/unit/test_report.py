"""The report says what happened, to whoever opens it, without harm and without the network."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from derloop.report.page import badge, page, write_report
from derloop.report.traces import Times, band, line, rounded, thin
from derloop.report.wording import beyond, duration, flat, number

FloatArray = NDArray[np.float64]
NS = 1_000_000_000
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}\ud800"


@dataclass(frozen=True)
class Signal:
    federate: str
    port: str
    unit: str
    labels: tuple[str, ...]
    step_ns: int = 60 * NS

    @property
    def name(self) -> str:
        return f"{self.federate}.{self.port}"

    @property
    def is_of_all(self) -> bool:
        return self.labels == (self.federate,)


@dataclass
class Run:
    """A run in memory, as `RunFolder` reads one."""

    run: dict[str, Any]
    verdicts: list[Any] = field(default_factory=list)
    series: dict[str, tuple[Signal, FloatArray]] = field(default_factory=dict)
    path: Path = Path("runs/quick")

    def add(self, federate: str, port: str, unit: str, values: ArrayLike, labels: tuple[str, ...] = ()) -> "Run":
        array = np.asarray(values, dtype=np.float64)
        array = array[:, None] if array.ndim == 1 else array
        signal = Signal(federate, port, unit, labels or tuple(f"e{i + 1}" for i in range(array.shape[1])))
        self.series[signal.name] = signal, array
        return self

    def signals(self) -> tuple[Signal, ...]:
        return tuple(signal for signal, _ in self.series.values())

    def read(self, name: str) -> tuple[NDArray[np.int64], FloatArray]:
        signal, values = self.series[name]
        return np.arange(len(values)) * signal.step_ns, values


def completed(**facts: Any) -> Run:
    return Run({"name": "quick", "outcome": "completed", "start": "2025-07-15T00:00:00-07:00", "step_s": 60.0, **facts})


def feeder() -> Run:
    minutes = np.arange(120.0)
    run = completed(federates={"grid": {"kind": "opendss"}, "homes": {"kind": "load"}, "bat": {"kind": "battery"}})
    run.add("grid", "head_kw", "kW", 100 + minutes).add("vpp", "limit_kw", "kW", 200 + 0 * minutes)
    run.add("grid", "v_pu", "pu", np.linspace(0.94, 1.02, 240).reshape(120, 2), ("671.1", "671.2"))
    run.add("homes", "p_kw", "kW", 90 + minutes).add("bat", "p_kw", "kW", np.ones((120, 3)))
    run.add("bat", "soc_pu", "pu", np.full((120, 3), 0.5)).add("vpp", "bat.p_set_kw", "kW", np.ones((120, 3)))
    return run.add("loop@grid", "passes", "1", np.full(120, 3.0)).add("grid", "taps", "1", np.full((120, 2), 5.0))


class Elements(HTMLParser):
    """The elements of a page, and what their attributes load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "action", "poster", "srcset", "data"):
                self.loads.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)


def without_plotly(text: str) -> str:
    """Return the page without the library, which holds addresses that nothing asks for."""
    return re.sub(r"<script>/\*\*\n\* plotly\.js.*?</script>", "", text, flags=re.DOTALL)


def data(text: str) -> Any:
    found = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def figure(run: Run, title: str) -> Mapping[str, Any]:
    return next(f for f in data(page(run))["figures"] if f["title"] == title)  # type: ignore[no-any-return]


def test_a_page_is_written_whole_and_holds_everything(tmp_path: Path) -> None:
    write_report(feeder(), tmp_path / "report.html")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert text.count("* plotly.js v") == 1


def test_nothing_is_loaded_from_anywhere() -> None:
    text = page(feeder())
    assert Elements(text).loads == ["data:,"]
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text
    assert not re.search(r"https?://|url\(|@import", without_plotly(text))


def test_hostile_text_stays_text_wherever_it_stands(tmp_path: Path) -> None:
    run = completed(
        name=HOSTILE, description=HOSTILE, engine=HOSTILE, seed=HOSTILE, overrides=[HOSTILE],
        versions={HOSTILE: HOSTILE},
        federates={HOSTILE: {"kind": HOSTILE, "via": HOSTILE, "settings": {HOSTILE: [HOSTILE]}, "step_s": HOSTILE}},
        statistics={HOSTILE: {HOSTILE: HOSTILE}}, loops={HOSTILE: HOSTILE}, coupling=HOSTILE, host=HOSTILE,
        summary=[{"label": HOSTILE, "value": HOSTILE, "unit": HOSTILE, "text": HOSTILE}],
        failure={"federate": HOSTILE, "time_s": 1.0, "why": HOSTILE, "inputs": {HOSTILE: HOSTILE}},
        checks=[{"name": HOSTILE, "settings": {"signal": "*", "max": 1.0}}],
    )  # fmt: skip
    run.verdicts = [{"check": HOSTILE, "kind": HOSTILE, "outcome": HOSTILE, "text": HOSTILE, "where": HOSTILE,
                     "source": HOSTILE, "unit": HOSTILE, "measured": HOSTILE}]  # fmt: skip
    run.add("grid", "head_kw", "kW", [1, 2], (HOSTILE,)).add(HOSTILE, "p_kw", HOSTILE, [1, 2], (HOSTILE,))
    run.add("grid", "v_pu", "pu", np.ones((2, 2)), (HOSTILE, "b"))
    write_report(run, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    found = Elements(text)
    assert "<script>alert" not in text
    assert found.tags.count("script") == 3
    assert "img" not in found.tags
    assert found.handlers == []
    assert "{{7*7}}" in text


def test_the_page_says_what_was_not_left_as_it_should_be() -> None:
    """A device that could not be restored after a run that another one failed is told nowhere else on it."""
    left = "federate 'inverter' at 4 s: did not stop cleanly: COULD NOT BE BROUGHT TO WHAT IT HELD BEFORE: <bat-1>"
    run = completed(outcome="failed", failure={"federate": "grid", "why": "voltage collapse"})
    assert "Not left as it should be" not in page(run)
    run.run |= {"complaints": [left, "a host was turned away: it has another token"], "cautions": ["no lease: a lamp"]}
    text = page(run)
    assert "Not left as it should be" in text
    assert left.replace("'", "&#39;").replace("<bat-1>", "&lt;bat-1&gt;") in text
    assert '<p class="notice">no lease: a lamp</p>' in text
    assert '<p class="notice">a host was turned away: it has another token</p>' in text


def test_a_run_of_one_instant_shows_its_values() -> None:
    """A line of one point is none: every chart of a single power flow was empty."""
    run = completed(federates={"grid": {"kind": "opendss"}}).add("grid", "head_kw", "kW", [100.0])
    (head,) = [t for t in figure(run, "Feeder head power")["traces"] if t["name"] == "grid.head_kw"]
    assert head["mode"] == "lines+markers"
    assert {t["mode"] for t in data(page(run))["signals"][0]["traces"]} == {"lines+markers"}
    assert {t["mode"] for t in figure(feeder(), "Node voltages")["traces"]} == {"lines"}


def test_the_page_says_that_a_baseline_is_drawn_when_it_is_told_and_not_when_it_was_measured() -> None:
    run = feeder().add("vpp", "baseline_kw", "kW", np.ones(120), ("vpp",))
    assert "Dotted" in (note := figure(run, "Feeder head power")["note"])
    assert "from what was measured a step before" in note


def test_the_page_says_what_a_run_was_allowed() -> None:
    facts = {"trust_control": True, "bench": "lab.json", "armed": ["inverter-1", "inverter-2"]}
    text = page(completed(**facts))
    assert "<dt>Own controls</dt><dd>were let run (--trust-control)</dd>" in text
    assert "<dt>Armed</dt><dd>inverter-1, inverter-2</dd>" in text
    assert "Armed" not in page(completed(trust_control=False, bench=None, armed=[]))
    assert "Own controls" not in page(completed(trust_control=False, bench=None, armed=[]))


def test_labels_in_charts_are_escaped_for_plotly_too() -> None:
    run = completed().add("pv", "p_kw", "kW", [1, 2], ("<a href='http://x'>y</a>",))
    assert data(page(run))["signals"][0]["traces"][0]["name"] == "&lt;a href='http://x'&gt;y&lt;/a&gt;"


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, "<b>1 h</b> simulated"),
        ({"outcome": "failed", "failure": {"time_s": 2100.0, "why": "x"}}, "<b>35 min</b> of 1 h simulated"),
        ({"outcome": "failed", "failure": {"why": "x"}}, "<b>1 h</b> asked for, not simulated to the end"),
        ({"outcome": "interrupted"}, "<b>1 h</b> asked for, not simulated to the end"),
    ],
)
def test_the_page_says_how_much_was_simulated(facts: dict[str, Any], said: str) -> None:
    assert said in page(completed(duration_s=3600.0, **facts))


@pytest.mark.parametrize(
    ("outcome", "verdicts", "expected"),
    [
        ("completed", ["PASS", "PASS"], "PASS"),
        ("completed", ["PASS", "INCONCLUSIVE"], "INCONCLUSIVE"),
        ("completed", ["INCONCLUSIVE", "FAIL", "PASS"], "INCONCLUSIVE"),
        ("completed", [], "NOT JUDGED"),
        ("failed", ["PASS"], "FAILED"),
        ("interrupted", ["PASS"], "INTERRUPTED"),
        (None, ["PASS"], "FAILED"),
    ],
)
def test_the_badge_is_how_the_run_ended_else_what_its_exit_status_says(
    outcome: str | None, verdicts: list[str], expected: str
) -> None:
    assert badge({"outcome": outcome}, [{"outcome": v} for v in verdicts]) == expected


def test_balances_alone_are_no_pass_of_a_run_of_which_nothing_was_asked() -> None:
    balance = {"kind": "balance", "check": "balance of grid", "measured": 1e-9, "limit": 1e-3, "where": "grid at 0"}
    run = completed()
    run.verdicts = [{**balance, "outcome": "PASS"}]
    assert badge(run.run, run.verdicts) == "NOT JUDGED"
    assert "Nothing was asked of the run: its scenario has no checks, only its balances were judged." in page(run)
    assert badge(run.run, [{**balance, "outcome": "FAIL"}]) == "FAIL"
    run.verdicts.append({"kind": "peak", "check": "peak", "outcome": "PASS"})
    assert badge(run.run, run.verdicts) == "PASS"
    assert "Nothing was asked" not in page(run)


def test_a_failed_run_says_who_when_why_and_on_what_inputs_before_all_else() -> None:
    failure = {"federate": "inv", "time_s": 49200.0, "why": "no answer in 2 s", "inputs": {"v_pu": [1.01, 0.99]}}
    text = page(completed(outcome="failed", failure=failure))
    panel = text[text.index('id="failure"') : text.index('id="verdicts"')]
    for said in ("<code>inv</code>", "at 13:40 ", "no answer in 2 s", "<code>v_pu</code>", "[1.01, 0.99]"):
        assert said in panel


def test_a_run_that_was_killed_still_has_a_page() -> None:
    text = page(Run({}).add("grid", "head_kw", "kW", [1.0, 2.0]))
    assert "probably killed" in text
    assert "time since the start" in text
    assert [f["title"] for f in data(text)["figures"]] == ["Feeder head power"]


def test_a_run_without_any_series_has_a_page() -> None:
    assert data(page(completed().add("grid", "head_kw", "kW", np.zeros((0, 1)))))["figures"] == []


@pytest.mark.parametrize("port", ["response_kw", "price_per_kwh", "head_kw", "p_kw", "soc_pu", "unserved_kwh"])
def test_a_run_that_ended_before_its_first_instant_has_a_page(port: str) -> None:
    run = completed(outcome="failed", failure={"federate": "feeder", "why": "it does not solve"})
    run.add("vpp", port, "kW", np.empty((0, 1))).add("vpp", "signal_kw", "kW", np.empty((0, 1)))
    run.run["checks"] = [{"kind": "stays-within", "settings": {"signal": f"vpp.{port}", "max": 1.0}}]
    assert "it does not solve" in page(run)


def test_every_chart_comes_when_its_signals_are_there() -> None:
    assert [f["title"] for f in data(page(feeder()))["figures"]] == [
        "Feeder head power",
        "Node voltages",
        "Active power by fleet",
        "State of charge",
        "Setpoint and actual: bat",
        "Passes of the loop",
        "Regulator taps",
    ]


def test_one_is_not_told_in_the_plural() -> None:
    run = completed(federates={"bat": {"kind": "battery"}})
    run.add("bat", "p_set_kw", "kW", np.ones(3)).add("bat", "p_kw", "kW", np.ones(3))
    assert figure(run, "Setpoint and actual: bat")["note"] == "What bat asks for, and what the fleet does."
    assert "<b>1</b> federate</span>" in page(run)


def test_a_regulation_signal_is_charted_beside_the_response() -> None:
    run = feeder().add("vpp", "signal_kw", "kW", np.arange(120.0), ("vpp",))
    run.add("vpp", "response_kw", "kW", np.arange(120.0) - 1, ("vpp",))
    charts = data(page(run))["figures"]
    assert [chart["title"] for chart in charts][1] == "Regulation signal and response"
    assert [trace["name"] for trace in charts[1]["traces"]] == ["vpp.response_kw", "vpp.signal_kw"]


def test_charts_show_the_limits_of_the_checks() -> None:
    run = feeder()
    run.run["checks"] = [
        {"name": "ansi", "kind": "voltage", "settings": {"signal": None, "min_pu": 0.95, "max_pu": 1.05}},
        {"name": "shaved", "kind": "peak", "settings": {"signal": "grid.head_kw", "limit_kw": 210.0}},
    ]
    run.verdicts = [{"check": "ansi", "kind": "voltage", "outcome": "PASS", "where": "grid.v_pu at '671.1'"}]
    drawn = figure(run, "Node voltages")["traces"][5:]
    assert [(t["name"], t["y"]) for t in drawn] == [("ansi: 0.95 to 1.05", [0.95, 0.95, None, 1.05, 1.05])]
    assert ("shaved: 210", [210.0, 210.0]) in [(t["name"], t["y"]) for t in figure(run, "Feeder head power")["traces"]]


def test_without_settings_a_chart_shows_the_limit_of_the_verdict() -> None:
    run = feeder()
    run.verdicts = [{"check": "v", "kind": "voltage", "where": "grid.v_pu at '671.1'", "limit": 0.95, "unit": "pu"}]
    limit = figure(run, "Node voltages")["traces"][-1]
    assert (limit["name"], limit["y"]) == ("v: 0.95", [0.95, 0.95])


def test_the_peak_of_the_head_is_marked_with_its_time_of_day() -> None:
    mark = figure(feeder(), "Feeder head power")["traces"][-1]
    assert (mark["mode"], mark["y"], mark["name"]) == ("markers", [219.0], "peak: 219 kW, 01:59")


def test_a_voltage_band_names_the_node_of_its_edges() -> None:
    values = np.array([[1.0, 0.9], [0.8, 0.95]])
    found = {t["name"]: t for t in band(Times(), "", np.array([0, NS]), values, ("a", "b"), "blue")}
    assert (found["smallest"]["y"], found["smallest"]["text"]) == ([0.9, 0.8], ["b", "a"])
    assert (found["largest"]["y"], found["largest"]["text"]) == ([1.0, 0.95], ["a", "b"])


def test_thinning_keeps_every_extreme_and_both_ends() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=86_401)
    values[40_000], values[70_001] = 99.0, -99.0
    kept = thin(values, 2000)
    assert kept.size <= 2000
    assert {0, 40_000, 70_001, 86_400} <= set(kept.tolist())
    assert (np.diff(kept) > 0).all()


def test_thinning_keeps_extremes_beside_gaps_and_the_gaps() -> None:
    values = np.ones(100_000)
    values[49_990], values[50_000], values[50_010] = 2.0, np.nan, 0.0
    kept = values[thin(values, 100)]
    assert (np.nanmin(kept), np.nanmax(kept), int(np.isnan(kept).sum())) == (0.0, 2.0, 1)


def test_few_points_are_not_thinned() -> None:
    assert thin(np.zeros(2000), 2000).tolist() == list(range(2000))


def test_the_page_says_that_lines_are_thinned() -> None:
    assert "spikes stay visible" not in page(completed().add("grid", "head_kw", "kW", np.zeros(2000)))
    assert "spikes stay visible" in page(completed().add("grid", "head_kw", "kW", np.zeros(2001)))


def test_many_elements_become_a_band_and_the_most_extreme() -> None:
    values = np.zeros((10, 100))
    values[3, 42], values[4, 7] = 5.0, -5.0
    [signal] = data(page(completed().add("pv", "p_kw", "kW", values)))["signals"]
    assert len(signal["traces"]) <= 11
    assert {"e43", "e8"} <= {t["name"] for t in signal["traces"]}


def test_a_page_does_not_grow_with_the_number_of_signals() -> None:
    run = completed()
    for i in range(60):
        run.add(f"f{i}", "x", "1", np.random.default_rng(i).normal(size=(2000, 20)))
    text = page(run)
    assert len(without_plotly(text)) < 12_000_000
    assert "<b>f59" not in text
    assert ">f59.x<" in text


def test_evenly_spaced_time_is_held_once_and_short() -> None:
    times = Times()
    time_ns = np.arange(1440) * 60 * NS
    x = [line(times, "a", time_ns, np.zeros(1440), "blue")["x"] for _ in range(3)]
    assert x == [0, 0, 0]
    assert times.axes == [{"from": 0.0, "step": 60.0, "count": 1440}]


def test_values_have_six_digits_and_no_nan() -> None:
    found = rounded(np.array([1.0432149, -123456.78, 0.0, np.nan, np.inf, 1e-12, 2.5e20]))
    assert found == [1.04321, -123457.0, 0.0, None, None, 1e-12, 2.5e20]


@pytest.mark.parametrize(
    ("value", "text"),
    [(3801.23, "3\u2009801.2"), (0.95, "0.95"), (-0.0031, "\u22120.0031"), (8640, "8\u2009640"), (0, "0"), (None, ""),
     (1.2345e-7, "1.2345e\u221207"), ("many", "many"), (True, "true"), (100.0, "100"), (-0.0, "0")],
)  # fmt: skip
def test_numbers_read_well(value: object, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(86400, "24 h"), (172800, "2 d"), (60, "1 min"), (90, "90 s"), (0.25, "0.25 s"), (None, "")]
)
def test_durations_read_well(seconds: object, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "unit", "rest"),
    [("3,206.0 kW at 11:51", "kW", "at 11:51"), ("992.7 kWh (2.0 %)", "kWh", "2.0 %"), ("9,450", "", ""),
     ("188.0 kWh, 215.7 kWh the other way", "kWh", "215.7 kWh the other way"), ("at 19:10", "kW", "at 19:10"),
     ("3.3 % of it", "kWh", "3.3 % of it"), ("0 of 50 nodes", "", "0 of 50 nodes")],
)  # fmt: skip
def test_a_tile_does_not_say_its_number_twice(text: str, unit: str, rest: str) -> None:
    assert beyond(text, unit) == rest


def test_nested_settings_become_dotted_lines() -> None:
    found = flat({"at": {"count": 40, "on": "loads"}, "ignore": [], "smart": {}, "v": list(range(50))})
    assert found[:4] == [("at.count", "40"), ("at.on", "loads"), ("ignore", "[]"), ("smart", "{}")]
    assert found[4][1].endswith("7, … (50 in all)")


def test_what_a_check_holds_within_limits_is_charted_beside_them_for_as_long_as_they_hold() -> None:
    run = feeder()
    run.add("vpp", "site_net_pu", "pu", np.full((120, 2), 0.9), ("a", "b"))
    sites = {"signal": "vpp.site_*", "min": None, "max": 1.0, "from_s": 60.0, "to_s": 600.0}
    stored = {"signal": "bat.soc_pu", "min": 0.2, "max": None, "from_s": 0.0, "to_s": None}
    run.run["checks"] = [
        {"name": "sites", "kind": "stays-within", "settings": sites},
        {"name": "both", "kind": "all-of", "settings": {"of": [{"kind": "stays-within", "settings": stored}]}},
    ]
    sheet = data(page(run))
    drawn = {f["title"]: f["traces"] for f in sheet["figures"]}
    assert [t["name"] for t in drawn["vpp.site_net_pu"]] == ["a", "b", "sites: 1"]
    limit = drawn["vpp.site_net_pu"][-1]
    assert (limit["y"], sheet["times"][limit["x"]]) == ([1.0, 1.0], {"from": 60.0, "step": 540.0, "count": 2})
    assert [t["y"] for t in drawn["bat.soc_pu"] if t["name"] == "stays-within: 0.2"] == [[0.2, 0.2]]


def test_limits_of_a_change_are_not_drawn_as_values_of_the_signal() -> None:
    def titles(change: bool) -> list[str]:
        run = feeder()
        settings = {"signal": "bat.soc_pu", "min": -0.2, "max": None, "change": change}
        run.run["checks"] = [{"name": "added", "kind": "ends-within", "settings": settings}]
        return [f["title"] for f in data(page(run))["figures"]]

    assert "bat.soc_pu" in titles(change=False)
    assert "bat.soc_pu" not in titles(change=True)


def test_a_sum_that_is_judged_is_charted_as_a_sum() -> None:
    run = feeder()
    settings = {"signal": "bat.p_kw", "of": "sum", "max": 3.5, "from_s": 0.0, "to_s": None}
    run.run["checks"] = [{"name": "all", "kind": "stays-within", "settings": settings}]
    [given, limit] = figure(run, "bat.p_kw")["traces"]
    assert set(given["y"]) == {3.0}
    assert limit["y"] == [3.5, 3.5]


def test_a_site_that_is_judged_is_charted_with_what_its_control_keeps_it_below() -> None:
    run = feeder()
    run.add("depot", "net_kw", "kW", np.full(120, 220.0)).add(
        "vpp", "baseline_kw", "kW", np.ones(120), ("depot.net_kw",)
    )
    run.run["checks"] = [{"kind": "stays-within", "settings": {"signal": "depot.net_kw", "max": 230.0}}]
    names = [t["name"] for t in figure(run, "depot.net_kw")["traces"]]
    assert names == ["vpp.baseline_kw", "e1", "stays-within: 230"]
    assert "vpp.baseline_kw" not in [t["name"] for t in figure(run, "Feeder head power")["traces"]]


def test_no_peak_is_marked_where_nothing_is_drawn() -> None:
    run = completed(federates={"grid": {"kind": "opendss"}}).add("grid", "head_kw", "kW", [-300.0, -0.0, -200.0])
    assert [trace["name"] for trace in figure(run, "Feeder head power")["traces"]] == ["grid.head_kw"]


def test_what_loads_draw_is_what_the_feeder_delivers_to_them() -> None:
    run = feeder().add("grid", "homes.solved_kw", "kW", np.zeros(120))
    drawn = {trace["name"]: trace["y"] for trace in figure(run, "Active power by fleet")["traces"]}
    assert (set(drawn["homes (drawn)"]), set(drawn["bat"])) == ({0.0}, {3.0})


def test_sources_that_hold_an_island_are_among_the_fleets() -> None:
    run = feeder()
    run.run["federates"]["former"] = {"kind": "grid-forming"}
    run.add("grid", "former.p_kw", "kW", np.full(120, 7.0))
    assert "former" in [t["name"] for t in figure(run, "Active power by fleet")["traces"]]


def test_limits_of_checks_with_one_name_are_no_range_together() -> None:
    run = feeder()
    band = {"kind": "stays-within", "settings": {"signal": "grid.v_pu", "min": 0.95, "max": 1.05}}
    wide = {"kind": "stays-within", "settings": {"signal": "grid.v_pu", "min": 0.9, "max": 1.1}}
    run.run["checks"] = [band, {"kind": "any-of", "settings": {"of": [wide, band]}}]
    named = [trace["name"] for trace in figure(run, "Node voltages")["traces"]]
    assert named[-2:] == ["stays-within: 0.95 to 1.05", "stays-within: 0.9 to 1.1"]


def test_limits_are_drawn_where_there_are_values_and_not_from_a_later_time_back_to_the_end_of_a_run() -> None:
    run = feeder()
    never = {"name": "never", "kind": "peak", "settings": {"signal": "grid.head_kw", "limit_kw": 1.0, "from_s": 7200}}
    half = {"name": "half", "kind": "stays-within", "settings": {"signal": "grid.head_kw", "max": 2.0, "to_s": 86400}}
    run.run["checks"] = [never, half]
    sheet = data(page(run))
    [limit] = [t for f in sheet["figures"] for t in f["traces"] if t["line"]["color"] == "@limit"]
    assert (limit["name"], sheet["times"][limit["x"]]) == ("half: 2", {"from": 0.0, "step": 7140.0, "count": 2})


def test_a_limit_that_holds_for_a_time_is_drawn_for_that_time_in_the_chart_of_the_head() -> None:
    run = feeder()
    settings = {"signal": "grid.head_kw", "max": 210.0, "from_s": 600.0, "to_s": 3600.0}
    run.run["checks"] = [{"name": "event", "kind": "stays-within", "settings": settings}]
    sheet = data(page(run))
    [limit] = [t for f in sheet["figures"] for t in f["traces"] if t["name"] == "event: 210"]
    assert (limit["y"], sheet["times"][limit["x"]]) == ([210.0, 210.0], {"from": 600.0, "step": 3000.0, "count": 2})


def test_nodes_without_supply_are_no_low_voltages_in_the_chart() -> None:
    run = completed(federates={"grid": {"kind": "opendss"}}).add("grid", "head_kw", "kW", np.ones(3))
    run.add("grid", "v_pu", "pu", [[1.0, 0.98], [0.99, 0.0], [0.0, 0.0]], ("671.1", "671.2"))
    drawn = figure(run, "Node voltages")
    smallest = next(t for t in drawn["traces"] if t["name"] == "smallest")
    assert smallest["y"] == [0.98, 0.99, None]
    assert smallest["text"][:2] == ["671.2", "671.1"]
    assert "no supply is left out" in drawn["note"]


def test_a_regulation_signal_stands_beside_the_response() -> None:
    run = feeder().add("vpp", "signal_kw", "kW", np.ones(120)).add("vpp", "response_kw", "kW", np.full(120, 0.9))
    assert [t["name"] for t in figure(run, "Regulation signal and response")["traces"]] == [
        "vpp.response_kw",
        "vpp.signal_kw",
    ]


def test_the_frequency_is_that_of_who_makes_it_and_not_what_others_are_told_of_it() -> None:
    """What a source tells a fleet is a step old: it was drawn beside it, as another source that lags."""
    run = feeder().add("grid", "former.f_hz", "Hz", [60.0, 59.9]).add("former", "roofs.f_hz", "Hz", [60.0, 60.0])
    frequency = figure(run, "Frequency")
    assert ([t["name"] for t in frequency["traces"]], frequency["note"]) == (
        ["former"], "As the sources that hold an island have it."
    )  # fmt: skip
    run = feeder().add("system", "f_hz", "Hz", [60.0, 59.9]).add("system", "bat.f_hz", "Hz", [60.0, 59.9])
    frequency = figure(run, "Frequency")
    assert ([t["name"] for t in frequency["traces"]], frequency["note"]) == (["system"], "Of the bulk system.")


def test_an_island_has_a_frequency_where_a_source_holds_it() -> None:
    run = feeder().add("grid", "former.f_hz", "Hz", [0.0, 60.0, 59.9])
    [line] = figure(run, "Frequency")["traces"]
    assert (line["name"], line["y"]) == ("former", [None, 60.0, 59.9])


def test_prices_are_charted_where_they_change() -> None:
    run = feeder().add("retail", "price_per_kwh", "USD/kWh", [[0.1, 0.1], [0.3, 0.3]])
    run.add("flat", "price_per_kwh", "USD/kWh", [0.1, 0.1])
    assert figure(run, "Price: retail")["unit"] == "USD/kWh"
    assert not [f for f in data(page(run))["figures"] if f["title"] == "Price: flat"]


def test_what_is_judged_comes_first_and_what_stands_still_comes_last() -> None:
    run = feeder().add("ev", "short_kwh", "kWh", 1e-13 * np.arange(120)).add("ev", "soc", "1", np.linspace(0, 1, 120))
    run.add("ev", "p_kw", "kW", np.arange(120.0))
    run.run["checks"] = [
        {"kind": "stays-within", "settings": {"signal": "ev.*", "max": 0.5}},
        {"name": "as the house", "kind": "tracking", "settings": {"signal": "ev.p_kw", "reference": "homes.p_kw"}},
        {"kind": "tracking", "settings": {"signal": "bat.p_kw", "reference": "vpp.bat.p_set_kw"}},
    ]
    titles = [f["title"] for f in data(page(run))["figures"]]
    assert titles[:5] == ["Feeder head power", "as the house", "ev.soc", "ev.p_kw", "Node voltages"]
    assert titles[-1] == "ev.short_kwh"
    assert titles.count("Setpoint and actual: bat") == 1


def test_reactive_power_that_nobody_gives_is_not_charted() -> None:
    run = feeder().add("bat", "q_kvar", "kvar", np.zeros((120, 3)))
    assert "Reactive power by fleet" not in [f["title"] for f in data(page(run))["figures"]]


def test_charts_of_several_feeders_have_their_names_and_the_bus_has_one() -> None:
    run = feeder().add("south", "head_kw", "kW", np.ones(120)).add("south", "v_pu", "pu", np.ones(120))
    run.add("bulk", "system_kw", "kW", np.arange(120.0), ("bulk",)).add("south", "taps", "1", np.ones(120))
    for name in ("grid", "south", "bulk"):
        run.add(name, "losses_kw", "kW", np.ones(120))
    titles = [chart["title"] for chart in data(page(run))["figures"]]
    assert titles[:3] == ["Power of the bus: bulk", "Feeder head power: grid", "Feeder head power: south"]
    assert {"Node voltages: grid", "Node voltages: south"} <= set(titles)
    assert {"Losses: grid", "Losses: south", "Losses: bulk"} <= set(titles)
    assert {"Regulator taps: grid", "Regulator taps: south"} <= set(titles)


def test_what_fleets_draw_is_not_shown_as_injected() -> None:
    kinds = {"homes": "load", "tanks": "water-heater", "bat": "battery", "own": "a-kind-of-nobody"}
    run = completed(federates={name: {"kind": kind} for name, kind in kinds.items()})
    for name in kinds:
        run.add(name, "p_kw", "kW", np.ones(120))
    shown = {line["name"]: line["line"]["dash"] for line in figure(run, "Active power by fleet")["traces"]}
    assert shown == {"homes (drawn)": "dot", "tanks (drawn)": "dot", "bat": "solid", "own": "solid"}


def test_what_is_printed_says_which_signal_the_last_chart_shows() -> None:
    styles = re.findall(r"([^{};]+)\{([^{}]*)\}", page(feeder()).partition("</style>")[0])
    assert [rule for rule, style in styles if ".picker" in rule and "display: none" in style] == []
