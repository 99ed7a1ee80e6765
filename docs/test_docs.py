"""The documentation is run: `tox -e docs`, or `pytest docs`.

Each page has a scratch copy of the project's folder, in which its blocks run from top to bottom:

- `console`: each line after `$ `, through the shell; it must end with status 0, or with what `# exit status N` says
  at its end. With the info word `exact`, the lines below a command must stand in what it prints (` ...` leaves
  off the rest of a line); else they are an illustration.
- `sh`: each line is a command.
- `json`: a whole scenario, which must load and be assembled; with `fragment=PATH`, a part of one, which is put into a
  base scenario (the quickstart, with `base=NAME` another, with `base=bare` a feeder alone) and must then; with
  `golden`, a golden.json.
- `python`: a program of its own. `needs=PACKAGE`: only where that is installed, as it is not asked of users.
- any of them with `file=PATH`: written there first, and not run. Blocks in other languages are only written.

A block whose first line is `# not run by the tests: REASON` is not run, and its reader sees why. Two commands are not
run as they stand, since the environment is there already: `python3 develop.py PROGRAM` runs the environment's own
PROGRAM, and `pip install ./FOLDER` installs into a folder of the scratch copy instead of the environment.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import pytest
import typer

import derloop
from derloop import document, plugins
from derloop.cli import app
from derloop.results.golden import Golden, _load
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import typed

DOCS = Path(__file__).parent
ROOT = DOCS.parent
BIN = Path(sys.executable).parent
RUNNABLE = ("console", "sh", "json", "python")
GENERATED = tuple(DOCS / "reference" / name for name in ("kinds", "checks.md", "settings.md", "smart-functions.md"))
FENCE = re.compile(r"^```(?P<info>[a-z].*)?$")
NOT_RUN = re.compile(r"^# not run by the tests: (?P<why>\S.{10,})")
STATUS = re.compile(r"\s+# exit status (?P<status>\d+)$")
LINK = re.compile(r"\]\((?P<target>[^)#:]+)(#[^)]*)?\)")
TEST = re.compile(r"^def (test_\w+)", re.MULTILINE)
NAMED_TEST = re.compile(r"`(test_\w+)`")
MODULE = re.compile(r"`((?:derloop|federates|hil)/[\w/]+\.py)`")
COMMAND_S = 300
NOT_COPIED = ignore_patterns(
    ".*", "_build", "runs", "build", "dist", "tests", "derloop", "federates", "hil", "__pycache__"
)
BARE = {
    **{"name": "bare", "start": "2025-07-15T00:00:00-07:00", "duration_s": 3600, "step_s": 60},
    **{"federates": {"grid": {"kind": "opendss", "feeder": "feeders/ieee13/ieee13.dss"}}, "checks": []},
}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def option(self, name: str) -> str:
        return next((word.partition("=")[2] for word in self.words if word.startswith(f"{name}=")), "")

    @cached_property
    def why_not(self) -> str:
        """Why it is not run, in the words that a reader sees; empty if it is."""
        found = NOT_RUN.match(self.text)
        return found["why"] if found else ""

    @property
    def is_installed(self) -> bool:
        return not self.option("needs") or importlib.util.find_spec(self.option("needs")) is not None

    @property
    def is_to_run(self) -> bool:
        return self.language in RUNNABLE and not self.why_not and not self.option("file") and self.is_installed


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    info, begun, lines = "", 0, list[str]()
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if begun and line == "```":
            language, *words = info.split()
            yield Block(page, begun, language, tuple(words), "\n".join(lines))
            begun = 0
        elif begun:
            lines.append(line)
        elif line.startswith("```") and not line.startswith("```{"):
            fence = FENCE.match(line)
            assert fence, f"{page}:{number}: {line!r} begins no block"
            assert fence["info"], f"{page}:{number}: a block needs a language"
            info, begun, lines = fence["info"], number, []
        elif line.startswith("```{"):
            info, begun, lines = "directive", number, []


def is_generated(path: Path) -> bool:
    return any(path.is_relative_to(made) for made in GENERATED)


PAGES = sorted(
    path for path in (*ROOT.glob("*.md"), *DOCS.rglob("*.md")) if not is_generated(path) and "_build" not in path.parts
)
BLOCKS = {page: list(blocks_of(page)) for page in PAGES}
RUN_PAGES = sorted(
    (page for page in PAGES if any(block.is_to_run for block in BLOCKS[page])),
    key=lambda page: -sum(block.text.count("$ ") for block in BLOCKS[page] if block.is_to_run),
)
"""Those with most commands first, so that no worker is left alone with the longest at the end."""


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> Path:
    """A copy of what a user has in the project's folder."""
    return Path(copytree(ROOT, tmp_path / "project", ignore=NOT_COPIED))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", RUN_PAGES, ids=lambda p: p.stem)
def test_what_a_page_shows_runs_as_it_says(page: Path, project: Path) -> None:
    ran = 0
    for block in BLOCKS[page]:
        if name := block.option("file"):
            target = project / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text + "\n", encoding="utf-8")
        elif block.is_to_run:
            RUN[block.language](block, project)
            ran += 1
    assert ran == sum(block.is_to_run for block in BLOCKS[page]) > 0


def test_there_are_blocks_of_every_sort_and_few_are_not_run(record_property: Any) -> None:
    every = [block for blocks in BLOCKS.values() for block in blocks if block.language in RUNNABLE]
    ran = Counter(block.language for block in every if block.is_to_run)
    left = [block for block in every if block.why_not]
    for language, count in ran.items():
        record_property(language, count)
    sys.stdout.write(f"{sum(ran.values())} blocks are run: {dict(ran)}; {len(left)} say why they are not\n")
    assert ran["console"] >= 20
    assert ran["json"] >= 8
    assert ran["python"] >= 8
    assert ran["sh"] >= 1
    assert len(left) <= 10, [str(block) for block in left]


def test_packages_that_examples_need_are_installed() -> None:
    needed = {name for blocks in BLOCKS.values() for block in blocks if (name := block.option("needs"))}
    missing = [name for name in sorted(needed) if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed, so their examples were not run: {', '.join(missing)}")


def test_links_between_files_lead_somewhere() -> None:
    dead = [
        f"{page.relative_to(ROOT)}: {link['target']}"
        for page in PAGES
        for link in LINK.finditer(page.read_text("utf-8"))
        if not (page.parent / link["target"]).exists() and not is_generated((page.parent / link["target"]).resolve())
    ]
    assert not dead


def test_tests_that_are_named_exist() -> None:
    defined = {name for path in (ROOT / "tests").rglob("*.py") for name in TEST.findall(path.read_text("utf-8"))}
    pages = [page for page in PAGES if DOCS in page.parents]
    named = {name for page in pages for name in NAMED_TEST.findall(page.read_text("utf-8"))}
    assert named
    assert named - defined == set()


def test_modules_that_are_named_exist() -> None:
    named = {name for page in PAGES for name in MODULE.findall(page.read_text("utf-8"))}
    assert named
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]


def test_every_realisation_is_among_the_concepts() -> None:
    text = (DOCS / "concepts.md").read_text("utf-8").partition("three ways\n")[2]
    assert not [name for name in plugins.names(plugins.REALISATIONS) if f'"via": "{name}' not in text]


def test_all_that_a_run_says_of_itself_is_in_the_reference(tmp_path: Path) -> None:
    text = (DOCS / "reference" / "results-folder.md").read_text("utf-8")
    run = derloop.run(ROOT / "scenarios" / "kind_opendss.json", engine="local", out=tmp_path / "run", report=False)
    said, verdict = run.folder.run, run.folder.verdicts[0]
    federate, check = said["federates"]["grid"], said["checks"][0]
    assert not [key for key in (*said, *federate, *check, *verdict) if f"`{key}`" not in text]


def test_every_option_of_every_command_is_in_the_reference() -> None:
    text = (DOCS / "reference" / "command-line.md").read_text("utf-8")
    commands: Any = typer.main.get_command(app)
    names = commands.list_commands(None)  # those that other packages bring along, too
    options = {option for name in names for option in _options(commands.get_command(None, name))}
    missing = [word for word in (*(f"derloop {name}" for name in names), *options) if word not in text]
    assert not missing


def _options(command: Any) -> Iterator[str]:
    """Yield the long options of a command, and of the commands within it."""
    yield from (option for p in command.params for option in p.opts if "--" in option)
    for within in getattr(command, "commands", {}).values():
        yield from _options(within)


# --- how a block is run ------------------------------------------------------------------------------


def _run_console(block: Block, project: Path) -> None:
    printed = ""
    for line in _joined(block.text):
        if line.startswith("$ "):
            printed = _command(line[2:], block, project)
        elif line.strip() and "exact" in block.words:
            shown = line.strip().removesuffix(" ...")
            assert shown in printed, f"{block}: {shown!r} is not in what was printed:\n{printed}"


def _run_sh(block: Block, project: Path) -> None:
    for line in _joined(block.text):
        _command(line, block, project)


def _joined(text: str) -> list[str]:
    return text.replace("\\\n", "").splitlines()


def _command(line: str, block: Block, project: Path) -> str:
    """Run one command as its reader would; return what it printed."""
    found = STATUS.search(line)
    status = int(found["status"]) if found else 0
    shell = _mapped(STATUS.sub("", line))
    ended = subprocess.run(
        ["sh", "-c", shell], cwd=project, env=_environment(project), capture_output=True, text=True, timeout=COMMAND_S
    )
    printed = ended.stdout + ended.stderr
    assert ended.returncode == status, f"{block}: {shell}\nended with {ended.returncode}, not {status}:\n{printed}"
    assert "Traceback" not in printed, f"{block}: {shell}\n{printed}"
    return printed


def _mapped(command: str) -> str:
    """See the module."""
    command = command.removeprefix("python3 develop.py ")
    if command.startswith("pip install ./"):
        isolated = "" if importlib.util.find_spec("hatchling") is None else "--no-build-isolation "
        return command.replace("pip install", f"python -m pip install -q --no-deps {isolated}--target site", 1)
    return command


def _environment(project: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    path = f"{BIN}{os.pathsep}{kept['PATH']}"
    own = {"PYTHONPATH": str(project / "site"), "DERLOOP_STATE": str(project / "state"), "COLUMNS": "200"}
    return {**kept, "PATH": path, **own}


def _run_python(block: Block, project: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", block.text],
        cwd=project,
        env=_environment(project),
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
    )
    assert ended.returncode == 0, f"{block}:\n{ended.stdout}{ended.stderr}"


def _run_json(block: Block, project: Path) -> None:
    if "golden" in block.words:
        (project / "golden.json").write_text(block.text, encoding="utf-8")
        assert isinstance(_load(project), Golden)
        return
    scenarios = project / "scenarios"
    if path := block.option("fragment"):
        name = block.option("base") or "quickstart"
        base = BARE if name == "bare" else document.read(scenarios / f"{name}.json")
        data = _with(json.loads(json.dumps(base)), path.split("."), json.loads(block.text))
    else:
        data = document.parse(block.text, str(block))
    assemble(typed(data, scenarios / "shown.json"))


def _with(data: Any, path: list[str], part: Any) -> Any:
    """Return `data` with `part` at `path`; objects are merged, all else is replaced."""
    if path:
        return {**data, path[0]: _with(data.get(path[0], {}), path[1:], part)}
    return {**data, **part} if isinstance(data, dict) and isinstance(part, dict) else part


RUN = {"console": _run_console, "sh": _run_sh, "json": _run_json, "python": _run_python}
