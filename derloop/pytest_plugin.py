"""pytest: scenario files as tests.

`pytest scenarios/` collects every JSON file that names derloop's scenario schema. A scenario is a test: it must
complete, its checks must pass, and where golden results stand beside it (`golden/<name>/`), it must agree with them.
One that has neither asks nothing, and is skipped once it has completed.
`--golden-update` records them anew where all else passes. A scenario that names equipment is skipped unless `--bench`
says where that is.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from derloop.result import Result

_NAMES_SCHEMA = re.compile(r'"\$schema"\s*:\s*"([^"]*/)?scenario\.schema\.json"')
_MAX_BYTES = 16 * 2**20


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("derloop")
    group.addoption("--golden-update", action="store_true", help="Record the golden results of scenarios that pass.")
    group.addoption(
        "--derloop-engine", default=None, help="Run the scenarios under this engine: helics, mosaik, local."
    )
    group.addoption("--bench", type=Path, default=None, metavar="FILE", help="The bench file: what equipment there is.")
    group.addoption("--arm", action="append", default=[], metavar="NAME", help="Equipment that may be written to.")
    group.addoption("--trust-control", action="store_true", help="Run the scenarios' own controls: code beside them.")
    group.addoption("--derloop-runs", type=Path, default=None, metavar="DIR", help="Keep the folders of the runs here.")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix == ".json" and _is_scenario(file_path):
        return ScenarioCollector.from_parent(parent, path=file_path)
    return None


def _is_scenario(path: Path) -> bool:
    """Return whether the file's own `$schema` is derloop's; so a run's folder, which quotes its scenario, is none."""
    try:
        text = path.read_text("utf-8-sig", errors="replace") if path.stat().st_size <= _MAX_BYTES else ""
    except OSError:
        return False
    return _NAMES_SCHEMA.search(text) is not None and _is_at_top(text)


def _is_at_top(text: str) -> bool:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return True  # a broken scenario fails as a test, and is not passed over
    return isinstance(data, dict) and _NAMES_SCHEMA.fullmatch(f'"$schema": "{data.get("$schema")}"') is not None


class ScenarioCollector(pytest.File):
    """One scenario file."""

    def collect(self) -> Iterator[pytest.Item]:
        yield ScenarioTest.from_parent(self, name=self.path.stem)


class ScenarioFailed(Exception):
    """What the test says when it fails; no traceback helps here."""


class ScenarioTest(pytest.Item):
    """The scenario runs, passes its checks and agrees with its golden results."""

    def runtest(self) -> None:
        from derloop.errors import DerloopError, ScenarioError
        from derloop.results.golden import golden_folder
        from derloop.verdict import unasked

        with tempfile.TemporaryDirectory(prefix="derloop-") as scratch:
            try:
                result = self._run(Path(scratch))
                wrong = _failures(result)
                wrong += self._against_golden(result, golden_folder(self.path), has_passed=not wrong)
            except ScenarioError as error:
                if all(problem.lacks_equipment for problem in error.problems):
                    pytest.skip("; ".join(map(str, error.problems)))
                raise ScenarioFailed(str(error)) from None
            except DerloopError as error:
                raise ScenarioFailed(str(error)) from None
        if result.outcome == "interrupted":
            raise KeyboardInterrupt
        if wrong:
            raise ScenarioFailed("\n".join(wrong))
        if not golden_folder(self.path).is_dir() and (said := unasked(v.kind for v in result.verdicts)):
            pytest.skip(f"{said}, and it has no golden results")

    def _run(self, scratch: Path) -> Result:
        import derloop
        from derloop.commands.leaving import exits_told

        kept = self.config.getoption("--derloop-runs")
        out = kept / self._place() if kept else scratch / self.path.stem
        engine, bench, arm = (self.config.getoption(name) for name in ("--derloop-engine", "--bench", "--arm"))
        trusted = self.config.getoption("--trust-control")
        with exits_told():
            return derloop.run(
                self.path, engine=engine, out=out, report=bool(kept), bench=bench, arm=arm, trust_control=trusted
            )

    def _place(self) -> Path:
        """Return where the scenario lies below pytest's root: two of the same name have each a folder of their own."""
        root = self.config.rootpath
        return (self.path.relative_to(root) if self.path.is_relative_to(root) else Path(self.path.name)).with_suffix("")

    def _against_golden(self, result: Result, folder: Path, has_passed: bool) -> list[str]:
        from derloop.results import golden

        is_update = self.config.getoption("--golden-update")
        if is_update and not has_passed:
            return [f"golden results ({folder}): not recorded of a run that has not passed"]
        if result.outcome != "completed":
            return []
        if is_update:
            golden.record(result.folder, folder)
        if not folder.is_dir():
            return []
        found = golden.check(result.folder, folder)
        return [] if found.same else [f"golden results ({folder}): {found}"]

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, ScenarioFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"scenario {self.name}"


def _failures(result: Result) -> list[str]:
    failed = [f"{v.outcome} {v.check}: {v.text}" for v in result.verdicts if v.outcome != "PASS"]
    failed = [*(hunting.said(result.folder.calendar) for hunting in result.hunting), *failed]
    return [result.failure, *failed] if result.failure else failed
