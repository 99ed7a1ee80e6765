"""derloop: distributed energy resources in the loop.

import derloop
result = derloop.run("scenarios/quickstart.json")
result["grid.v_pu"]          # numpy, (instants, nodes)
result.frame("grid")         # pandas, where it is installed
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from derloop.result import Result
    from derloop.results.store import RunFolder

__all__ = ["open_run", "run"]


def run(
    scenario: Path | str,
    overrides: Sequence[str] = (),
    *,
    on_progress: Callable[[int | None, int], None] | None = None,
    **options: Any,
) -> Result:
    """Run a scenario file; `options` are those of `derloop.options.Options`.

    Raises ScenarioError where the scenario is wrong; a run that fails is a Result whose `outcome` says so.
    """
    given = import_module("derloop.options").Options(**options)
    return import_module("derloop.running").run(scenario, overrides, given, on_progress)  # type: ignore[no-any-return]


def open_run(folder: Path | str) -> RunFolder:
    """Open the folder that a run has left; DerloopError where there is none."""
    from pathlib import Path

    store = import_module("derloop.results.store")
    return store.RunFolder(store.existing(Path(folder)))  # type: ignore[no-any-return]
