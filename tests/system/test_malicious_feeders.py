"""Feeders that attack whoever runs them: the gate refuses each, and the engine shows that they are real.

A case is a file or a folder of ``malicious_feeders``. Its first line says what it attempts; a second one, ``Effect``,
what is left behind when it is run without the gate, and then that is proved: on a copy, in a process of its own, with
an editor and a library that only leave a mark.
"""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federates.grid import dss_names, feeder_rules
from federates.grid.dss_language import LineReader, resolve
from federates.grid.feeder_file import feeder_problems, scan_feeder

CORPUS = Path(__file__).parent / "malicious_feeders"
CASES = sorted(path.name for path in CORPUS.iterdir() if not path.name.startswith("."))
SECRET = 4242.0
LIBRARY = """
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void mark(void) { close(open("library-was-loaded", O_CREAT | O_WRONLY, 0600)); }
"""


def text_of(case: str) -> str:
    path = CORPUS / case
    return (path / "feeder.dss" if path.is_dir() else path).read_bytes().decode("latin-1")


def effect_of(case: str) -> str | None:
    found = re.search(r"^! Effect: (.*?)\r?$", text_of(case), re.MULTILINE)
    return found[1] if found else None


EFFECTIVE = [case for case in CASES if effect_of(case)]


def set_up(case: str, folder: Path) -> Path:
    """Copy the case to ``folder/case``, beside it a secret; return the feeder."""
    home = folder / "case"
    if (CORPUS / case).is_dir():
        shutil.copytree(CORPUS / case, home)
    else:
        home.mkdir(parents=True)
        shutil.copyfile(CORPUS / case, home / "feeder.dss")
    outside = folder / "outside"
    outside.mkdir()
    (outside / "secret.dss").write_text(f"load.probe.kw={SECRET}\n")
    (outside / "secret.csv").write_text(f"{SECRET}\n{SECRET}\n")
    (outside / "secret.dbl").write_bytes(struct.pack("<2d", SECRET, SECRET))
    return home / "feeder.dss"


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


BARE_ENGINE = """
import os, resource, signal, sys
from pathlib import Path
from dss import DSS

def run(home):
    os.chdir(home)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    signal.alarm(20)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    DSS.DataPath = home
    answers = []
    for command in ("redirect feeder.dss", "? load.probe.kw", "? loadshape.probe.mult"):
        try:
            DSS.Text.Command = command
            answers.append(DSS.Text.Result)
        except Exception as error:
            answers.append(repr(error))
    Path("../answers").write_text("\\n".join(answers))

for home in sys.argv[1:]:
    pid = os.fork()
    if not pid:
        run(home)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    Path(home, "../signal").write_text(str(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0))
"""

WATCHED_GATE = """
import json, sys
from pathlib import Path
from federates.grid.feeder_file import feeder_problems

seen = []
active = False

def watch(event, args):
    quiet = ("object.", "sys.", "compile", "os.listdir", "os.scandir", "marshal.", "code.", "cpython.", "builtins.")
    if active and not event.startswith(quiet):
        seen.append((event, repr(args)))

sys.addaudithook(watch)
outcome = {}
for home in sys.argv[1:]:
    seen.clear()
    active = True
    problems = feeder_problems(Path(home, "feeder.dss"), Path(home))
    active = False
    outcome[home] = {"problems": [str(problem) for problem in problems], "events": list(seen)}
print(json.dumps(outcome))
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    folder = tmp_path_factory.mktemp("library")
    (folder / "evil.c").write_text(LIBRARY)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "evil.so", "evil.c"], cwd=folder, check=True, timeout=60)
    return folder / "evil.so"


@pytest.fixture(scope="session")
def ungated(tmp_path_factory: pytest.TempPathFactory, library: Path | None) -> Path:
    """Every case that claims an effect, run by the bare engine; the folder of the folders they ran in."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    folder = tmp_path_factory.mktemp("ungated")
    homes = []
    for case in EFFECTIVE:
        homes.append(set_up(case, folder / case).parent)
        if library:
            shutil.copy(library, homes[-1])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DSS_")}
    environment["HOME"] = str(folder)
    command = [sys.executable, "-c", BARE_ENGINE, *map(str, homes)]
    subprocess.run(command, check=True, timeout=120, env=environment, cwd=folder)
    return folder


@dataclass(frozen=True, slots=True)
class Watched:
    """What judging a case in ``home`` said, and what it asked of the system: events with their arguments."""

    home: Path
    problems: list[str]
    events: list[tuple[str, str]]


@pytest.fixture(scope="session")
def gated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Watched]:
    """Every case, judged in one process that notes all that it asks of the system."""
    folder = tmp_path_factory.mktemp("gated")
    homes = {case: set_up(case, folder / case).parent for case in CASES}
    before = tree(folder)
    command = [sys.executable, "-c", WATCHED_GATE, *map(str, homes.values())]
    done = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True)
    assert tree(folder) == before
    outcome = json.loads(done.stdout)
    return {case: Watched(home, **outcome[str(home)]) for case, home in homes.items()}


@pytest.mark.parametrize("case", CASES)
def test_every_attack_says_what_it_attempts(case: str) -> None:
    if case not in {"binary.dss", "editor_utf16.dss"}:
        assert text_of(case).removeprefix("\xef\xbb\xbf").startswith("! Attempts: ")


@pytest.mark.parametrize("case", CASES)
def test_attack_is_refused(case: str, tmp_path: Path) -> None:
    feeder = set_up(case, tmp_path)
    assert feeder_problems(feeder, feeder.parent)


@pytest.mark.parametrize("case", CASES)
def test_refusing_reads_the_feeder_and_does_nothing_else(case: str, gated: dict[str, Watched]) -> None:
    assert gated[case].problems
    for event, arguments in gated[case].events:
        assert event == "open", (event, arguments)
        assert arguments.startswith(f"('{gated[case].home}"), arguments
        assert "'rb'" in arguments or "'r'" in arguments, arguments


@pytest.mark.parametrize("case", EFFECTIVE)
def test_attack_works_on_the_bare_engine(case: str, ungated: Path, library: Path | None) -> None:
    effect = effect_of(case) or ""
    if "library" in effect and library is None:
        pytest.skip("needs a C compiler")
    if effect.startswith("creates "):
        assert (ungated / case / "case" / effect.removeprefix("creates ")).exists()
    elif effect == "ends the process":
        assert int((ungated / case / "signal").read_text())
    else:
        assert effect == "reads the secret"
        assert "4242" in (ungated / case / "answers").read_text()


# What cannot be kept in a repository: links, devices and sizes.

CIRCUIT = "clear\nnew circuit.c\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "feeder"
    folder.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.dss").write_text("! secret\n")
    (outside / "secret.csv").write_text("1\n")
    return folder


def problems_of(text: str, home: Path) -> str:
    (home / "feeder.dss").write_text(text)
    return "\n".join(map(str, feeder_problems(home / "feeder.dss", home)))


def test_link_to_a_file_outside_is_refused(home: Path) -> None:
    (home / "load.csv").symlink_to("../outside/secret.csv")
    assert "outside" in problems_of(CIRCUIT + "new loadshape.s npts=1 csvfile=load.csv\n", home)


def test_link_to_a_folder_outside_is_refused(home: Path) -> None:
    (home / "parts").symlink_to("../outside")
    assert "outside" in problems_of(CIRCUIT + "redirect parts/secret.dss\n", home)


def test_path_that_goes_up_through_a_link_is_refused(home: Path) -> None:
    (home / "a" / "b").mkdir(parents=True)
    (home / "link").symlink_to("a/b")
    (home / "x.dss").write_text("! one\n")
    (home / "a" / "x.dss").write_text("! another\n")
    assert "two ways" in problems_of(CIRCUIT + "redirect link/../x.dss\n", home)


def test_link_with_a_backslash_in_its_name_is_refused(home: Path) -> None:
    (home / "a").mkdir()
    (home / "a" / "x.csv").write_text("1\n")
    (home / "a\\x.csv").symlink_to("../outside/secret.csv")
    assert "backslash" in problems_of(CIRCUIT + "new loadshape.s npts=1 csvfile=a\\x.csv\n", home)


def test_extension_that_opendss_adds_leads_to_a_link(home: Path) -> None:
    (home / "part.dss").symlink_to("../outside/secret.dss")
    assert "outside" in problems_of(CIRCUIT + "redirect part\n", home)


def test_feeder_that_is_itself_a_link_is_refused(home: Path) -> None:
    (home / "feeder.dss").symlink_to("../outside/secret.dss")
    assert feeder_problems(home / "feeder.dss", home)


def test_link_inside_of_the_folder_is_followed(home: Path) -> None:
    (home / "real.csv").write_text("1\n")
    (home / "load.csv").symlink_to("real.csv")
    assert not problems_of(CIRCUIT + "new loadshape.s npts=1 csvfile=load.csv\n", home)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_is_not_opened(home: Path) -> None:
    os.mkfifo(home / "pipe.dss")
    assert "regular file" in problems_of(CIRCUIT + "redirect pipe.dss\n", home)


def test_file_of_absurd_size_is_not_opened(home: Path) -> None:
    with (home / "big.dss").open("wb") as file:
        file.truncate(2**31)
    assert "larger" in problems_of(CIRCUIT + "redirect big.dss\n", home)


def test_line_of_absurd_length_is_refused(home: Path) -> None:
    assert "longer" in problems_of(CIRCUIT + "new load.l kw=1" + " " * 5_000_000 + "kvar=1\n", home)


def test_chain_of_redirects_is_cut_off_however_it_is_begun(home: Path) -> None:
    for number in range(100):
        (home / f"f{number}.dss").write_text(f"redirect f{number + 1}.dss\n")
    (home / "f100.dss").write_text("! the end\n")
    assert "deep" in problems_of("redirect f0.dss\n", home)
    backwards = "".join(f"redirect f{number}.dss\n" for number in range(100, -1, -1))
    assert "deep" in problems_of(backwards, home)


# The gate reads as the engine reads.

PIECES = st.sampled_from([*" \t,,==!/|'\"()[]{}~.\\", "//", "a", "kw", "5", "file", "\xe9"])


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join))
def test_line_is_read_as_the_engine_reads_it(line: str) -> None:
    from dss import DSS

    DSS.Parser.CmdString = line
    engine = []
    for _ in range(len(line) + 1):
        name = DSS.Parser.NextParam
        engine.append((name, DSS.Parser.StrValue))
    ours = [(parameter.name, parameter.value) for parameter in LineReader(line)]
    assert without_end(ours) == without_end(engine)


def without_end(parameters: list[tuple[str, str]]) -> list[tuple[str, str]]:
    while parameters and parameters[-1] == ("", ""):
        parameters.pop()
    return parameters


LOADED = """
import os, sys
from dss import DSS
DSS.AllowChangeDir = sys.argv[2] == "True"
DSS.Text.Command = f'redirect "{sys.argv[1]}"'
for shape in range(1, 9):
    DSS.Text.Command = f"? loadshape.s{shape}.mult"
    print(int(float(DSS.Text.Result.strip("[] "))))
"""


@pytest.mark.parametrize("change_directory", [True, False])
def test_relative_path_leads_where_the_engine_goes(tmp_path: Path, change_directory: bool) -> None:
    """Shapes 1 to 8 are read in this order, each from the ``x.csv`` of another folder; its value is the folder's."""
    folders = {1: ".", 2: "a", 3: "a/b", 4: "c", 5: "other"}
    for value, folder in folders.items():
        (tmp_path / "root" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / folder / "x.csv").write_text(f"{value}\n{value}\n")
    scripts = {
        "feeder.dss": "new circuit.c\nS1 x.csv\nredirect a/one.dss\nS6 x.csv\ncompile c/two.dss\nS8 ..\\a\\x.csv\n",
        "a/one.dss": "S2 x.csv\nS3 ../x.csv\ncompile b/three.dss\nS5 x.csv\n",
        "a/b/three.dss": "S4 ../../other/x.csv\n",
        "c/two.dss": "S7 x.csv\n",
    }
    for name, script in scripts.items():
        text = re.sub(r"S(\d) (\S+)", r"new loadshape.s\1 npts=1 interval=1 csvfile=\2", script)
        (tmp_path / "root" / name).write_text(text)
    feeder = tmp_path / "root" / "feeder.dss"
    command = [sys.executable, "-c", LOADED, str(feeder), str(change_directory)]
    cwd = tmp_path / "root" / "other"
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=cwd, timeout=60)
    engine = [int(line) for line in done.stdout.split()]
    scan = scan_feeder(feeder, tmp_path / "root")
    ours = [int(path.read_text().split()[0]) for path in scan.files if path.suffix == ".csv"]
    assert not scan.problems
    assert engine == [1, 2, 1, 5, 3, 1, 4, 2]
    assert ours == list(dict.fromkeys(engine))


ENGINE_NAMES = """
import json
from dss import DSS
from dss._cffi_api_util import DSSException

executive = DSS.Executive
names = {
    "commands": [executive.Command(i + 1).lower() for i in range(executive.NumCommands)],
    "options": [executive.Option(i + 1).lower() for i in range(executive.NumOptions)],
}
for kind in DSS.Classes:
    for command in ("clear", "new circuit.c", f"new {kind}.x"):
        try:
            DSS.Text.Command = command
        except DSSException:
            pass  # it lacks an element to control; it exists all the same
    names[kind] = [name.lower() for name in DSS.ActiveCircuit.ActiveDSSElement.AllPropertyNames]
print(json.dumps(names))
"""


def test_names_and_their_order_are_those_of_the_engine() -> None:
    done = subprocess.run([sys.executable, "-c", ENGINE_NAMES], check=True, capture_output=True, text=True, timeout=60)
    engine = json.loads(done.stdout)
    assert list(dss_names.COMMANDS) == engine["commands"]
    assert list(dss_names.OPTIONS) == engine["options"]
    for written in dss_names.CLASSES.values():
        assert list(dss_names.PROPERTIES[written.lower()]) == engine[written]


def test_what_the_rules_speak_of_exists() -> None:
    properties = {name for known in dss_names.PROPERTIES.values() for name in known}
    assert set(dss_names.COMMANDS) >= feeder_rules.COMMANDS | set(feeder_rules.WHY_NOT)
    assert set(dss_names.OPTIONS) >= set(feeder_rules.OPTIONS)
    assert properties >= set(feeder_rules.REFUSED_PROPERTIES)


SAFE = """
import sys
from dss import DSS
for line in sys.stdin.read().splitlines():
    DSS.Text.Command = line
"""


def test_options_that_may_only_be_no_leave_nothing_behind(tmp_path: Path) -> None:
    off = [name for name, rule in feeder_rules.OPTIONS.items() if rule == "off"]
    lines = [*CIRCUIT.splitlines(), *(f"set {name}=no" for name in off), "solve", "solve mode=daily number=2"]
    feeder = tmp_path / "feeder.dss"
    feeder.write_text("\n".join(lines))
    assert not scan_feeder(feeder, tmp_path).problems
    command = [sys.executable, "-c", SAFE]
    subprocess.run(command, check=True, input="\n".join(lines), text=True, cwd=tmp_path, timeout=60)
    assert list(tmp_path.iterdir()) == [feeder]


# Each class and property in a process of its own, given a pipe for a value: whoever opens it waits, and is ended.
PIPE_OPENERS = """
import os, signal, sys
from dss import DSS

BEFORE = (
    "clear", "new circuit.c", "new line.l bus1=sourcebus bus2=b", "new transformer.t buses=[b c] kvs=[115 4.16]",
    "new capacitor.k bus1=b",
)

def run(kind, name, limit_s):
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    for command in (*BEFORE, f"new {kind}.x {name}=./pipe"):
        try:
            DSS.Text.Command = command
        except Exception:
            pass

def waits(line, limit_s):
    pid = os.fork()
    if not pid:
        run(*line.split("."), limit_s)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM

os.mkfifo("pipe")
for line in sys.stdin.read().split():
    if waits(line, 0.5) and waits(line, 3):  # a busy machine is slow, too
        print(line)
"""


@pytest.mark.long(about_s=90)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and named pipes")
def test_no_property_that_is_let_through_opens_a_file(tmp_path: Path) -> None:
    asked = [f"{kind}.{name}" for kind, known in dss_names.PROPERTIES.items() for name in known]
    command = [sys.executable, "-c", PIPE_OPENERS]
    done = subprocess.run(
        command, check=True, input="\n".join(asked), capture_output=True, text=True, cwd=tmp_path, timeout=900
    )
    opened = {tuple(line.split(".")) for line in done.stdout.split()}
    assert ("generator", "usermodel") in opened
    for kind, name in opened:
        refused = name in feeder_rules.REFUSED_PROPERTIES
        assert refused or feeder_rules.property_rule(kind, name) == "file", (kind, name)


def test_every_abbreviation_of_a_refused_command_is_refused_or_means_another() -> None:
    for command in dss_names.COMMANDS:
        for length in range(1, len(command) + 1):
            meant = resolve(command[:length], dss_names.COMMANDS)
            assert meant is not None
            assert meant.startswith(command[:length])
    assert resolve("ex", dss_names.COMMANDS) == "export"
    assert resolve("s", dss_names.COMMANDS) == "select"
    assert resolve("so", dss_names.COMMANDS) == "solve"
