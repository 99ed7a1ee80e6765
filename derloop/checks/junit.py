"""Verdicts as JUnit XML, which continuous integration reads."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain, count
from pathlib import Path
from xml.etree import ElementTree as ET

from derloop.calendar import UNDATED, Calendar
from derloop.results.whole import whole
from derloop.verdict import Verdict, unasked

NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What is no character in XML 1.0 (section 2.2)."""


def write_junit(
    path: Path,
    suite: str,
    verdicts: Iterable[Verdict],
    failure: str | None,
    seconds: float,
    calendar: Calendar = UNDATED,
) -> None:
    """Write `verdicts` as one test suite: FAIL as failure, INCONCLUSIVE as error, no check at all as skipped "checks".

    failure: why the run itself failed; it becomes an error of the test case "run". seconds: wall time of the run.
    calendar: how the run's instants are said.
    """
    verdicts = list(verdicts)
    cases = [_run_case(suite, failure, seconds), *(_case(suite, verdict, calendar) for verdict in verdicts)]
    if said := unasked(verdict.kind for verdict in verdicts):
        cases.append(_skipped_case(suite, said))
    _tell_apart(cases)
    root = ET.Element("testsuites")
    counts = {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "errors": sum(case.find("error") is not None for case in cases),
        "skipped": sum(case.find("skipped") is not None for case in cases),
    }
    attributes = {key: str(count) for key, count in counts.items()} | {"time": f"{seconds:.3f}"}
    ET.SubElement(root, "testsuite", {"name": _text(suite), **attributes}).extend(cases)
    ET.indent(root)
    with whole(path) as draft:
        draft.write_bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def _tell_apart(cases: Iterable[ET.Element]) -> None:
    """Put a number behind a name that is taken: of cases of one name, some readers take the first alone."""
    taken: set[str] = set()
    for case in cases:
        names = chain([case.attrib["name"]], (f"{case.attrib['name']} {number}" for number in count(2)))
        case.attrib["name"] = next(name for name in names if name not in taken)
        taken.add(case.attrib["name"])


def _run_case(suite: str, failure: str | None, seconds: float) -> ET.Element:
    case = ET.Element("testcase", {"classname": _text(suite), "name": "run", "time": f"{seconds:.3f}"})
    if failure is not None:
        _said(case, "error", "RunFailed", failure)
    return case


def _skipped_case(suite: str, why: str) -> ET.Element:
    case = ET.Element("testcase", {"classname": _text(suite), "name": "checks", "time": "0"})
    ET.SubElement(case, "skipped", {"message": _text(why)})
    return case


def _case(suite: str, verdict: Verdict, calendar: Calendar) -> ET.Element:
    case = ET.Element("testcase", {"classname": _text(suite), "name": _text(verdict.check), "time": "0"})
    if verdict.outcome == "FAIL":
        _said(case, "failure", verdict.kind, verdict.text)
    elif verdict.outcome == "INCONCLUSIVE":
        _said(case, "error", verdict.kind, verdict.text)
    out = ET.SubElement(case, "system-out")
    out.text = _text("\n".join(_facts(verdict, calendar)))
    return case


def _facts(verdict: Verdict, calendar: Calendar) -> list[str]:
    numbers = {"measured": verdict.measured, "limit": verdict.limit, "margin": verdict.margin}
    facts = [f"{verdict.outcome}: {verdict.text}"]
    facts += [f"{key}: {value:.9g} {verdict.unit}" for key, value in numbers.items() if value is not None]
    facts += [f"where: {verdict.where}"] if verdict.where else []
    facts += [f"when: {calendar.at(verdict.when_ns)}"] if verdict.when_ns is not None else []
    return facts + ([f"source: {verdict.source}"] if verdict.source else [])


def _said(case: ET.Element, tag: str, kind: str, text: str) -> None:
    said = ET.SubElement(case, tag, {"type": _text(kind), "message": _text(text)})
    said.text = _text(text)


def _text(text: str) -> str:
    return NO_XML.sub("", text)
