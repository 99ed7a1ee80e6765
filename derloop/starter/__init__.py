"""`derloop new`: a starter project, carried in the wheel."""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from pathlib import Path
from shutil import copytree

from derloop.errors import DerloopError
from derloop.scenario.schema import scenario_schema


def write_starter(folder: Path) -> None:
    """Write the starter project to `folder`, which must not exist yet or be empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DerloopError(f"{folder} holds something already; a project needs a folder of its own")
    try:
        copy_starter(folder)
        schema = json.dumps(scenario_schema(), indent=1)
        (folder / "scenario.schema.json").write_text(schema + "\n", encoding="utf-8")
    except OSError as error:
        raise DerloopError(f"{folder} cannot be written: {error.strerror or error}") from error


def copy_starter(folder: Path) -> None:
    """Copy the project without the schema, which takes half a second to make, and which editors and pytest look for."""
    with as_file(files(__name__) / "project") as project:
        copytree(project, folder, dirs_exist_ok=True)
