"""What a command is asked about: a feeder's file, or the feeder of a scenario."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from derloop import document
from derloop.errors import Problem, ScenarioError
from derloop.kind import Context, Permissions, PlaceError
from federates.grid.engine import SolverError
from federates.grid.feeder import feeder_path
from federates.grid.settings import OpenDssSettings

Regulators = Literal["active", "locked"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A feeder's file that may be given to OpenDSS, and what the scenario says of it."""

    feeder: Path
    regulators: Regulators
    ratings_a: tuple[tuple[str, float], ...]


def question_of(file: Path, trust: bool, regulators: str | None) -> Asked:
    """Return which feeder `file` means; regulators: in the place of the scenario's. Raises ScenarioError."""
    settings = _of_scenario(file) if file.suffix == ".json" else OpenDssSettings.model_validate({"feeder": file.name})
    context = Context("grid", file.parent, datetime(2000, 1, 1, tzinfo=UTC), 1, 1, 0, Permissions(trust_feeder=trust))
    try:
        path = feeder_path(settings.feeder, context)
    except PlaceError as error:
        raise ScenarioError([Problem("", what) for _, what in error.problems], str(file)) from error
    chosen: Regulators = "locked" if (regulators or settings.regulators) == "locked" else "active"
    return Asked(path, chosen, tuple(settings.ratings_a.items()))


@contextmanager
def told_of(file: Path) -> Iterator[None]:
    """Have what a feeder is wrong in told of the file that was asked about. Raises ScenarioError."""
    try:
        yield
    except SolverError as error:
        raise ScenarioError([Problem("", str(error))], str(file)) from error
    except PlaceError as error:
        raise ScenarioError([Problem(document.pointer(at), what) for at, what in error.problems], str(file)) from error


def _of_scenario(file: Path) -> OpenDssSettings:
    federates = document.read(file).get("federates")
    entries = federates.items() if isinstance(federates, dict) else ()
    feeders = {name: e for name, e in entries if isinstance(e, dict) and e.get("kind") == "opendss"}
    if len(feeders) != 1:
        several = f"there are several feeders, {', '.join(feeders)}: give the file of one"
        what = several if feeders else "no federate is of kind 'opendss'"
        raise ScenarioError([Problem("/federates", what)], str(file))
    name, entry = feeders.popitem()
    said = {key: value for key, value in entry.items() if key in OpenDssSettings.model_fields}
    try:
        return OpenDssSettings.model_validate(said)
    except ValidationError as error:
        found = [Problem(document.pointer(("federates", name, *e["loc"])), e["msg"]) for e in error.errors()]
        raise ScenarioError(found, str(file)) from error
