"""The gate that every feeder passes before OpenDSS sees it.

A feeder file is code. ``set editor=`` with ``show`` runs a program, ``usermodel=`` loads a library,
``export`` and ``save`` write where they are told, ``redirect`` and ``csvfile=`` read anything; and all of it
may be abbreviated, quoted, given by position or spread over lines. So the file is read here as OpenDSS would
read it, redirected files included, and only what is on the list of ``feeder_rules`` passes; where the reading
is in doubt, it is refused.

Nothing is run and nothing but the feeder's own folder is opened. A file that is changed between the scan and
the solution is not the file that was judged: who runs a feeder makes sure of that, with the list of files
that comes back.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from federates.grid import dss_names as names
from federates.grid import feeder_rules as rules
from federates.grid.dss_language import LineReader, Parameter, command_lines, resolve
from federates.grid.feeder_paths import Folder, PathRefusedError, shown

TRUST: Final = "refused (run with --trust-feeder to allow)"
MAX_DEPTH: Final = 20
MAX_FILES: Final = 2000
MAX_EXECUTIONS: Final = 20_000
MAX_LINE: Final = 4 * 2**20
MAX_BYTES: Final = 128 * 2**20  # of all files that are run; those that are only read have limits of their own
MAX_PROBLEMS: Final = 500
_MAX_COMPLAINTS: Final = 10  # of one line
_MAX_COLUMN: Final = 10_000
_MAX_NODES: Final = 40  # of one bus name: the engine's buffers for them are of fixed size
_MAX_NODE: Final = 1000  # the engine keeps a node's number in 16 bits
_BETWEEN_BUSES: Final = re.compile(r"[\s,()\[\]{}\"'|]+")
_QUOTES: Final = "([{\"'"
_FILE_ARRAYS: Final = frozenset({"file", "dblfile", "sngfile"})
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class FeederProblem:
    """One thing that keeps a feeder out. ``file`` is relative to the root; line 0 is the file as a whole."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


@dataclass(frozen=True, slots=True)
class FeederScan:
    """What was found in a feeder, and every file that OpenDSS would read for it, by first mention."""

    problems: tuple[FeederProblem, ...]
    files: tuple[Path, ...]


def feeder_problems(path: Path, root: Path) -> tuple[FeederProblem, ...]:
    """Return everything that keeps the feeder out; none if OpenDSS may have it."""
    return scan_feeder(path, root).problems


def scan_feeder(path: Path, root: Path) -> FeederScan:
    """Judge the feeder and all it redirects to. ``path``: absolute, or relative to the working directory.

    Never raises for what a file holds, nor for one that is missing: that is a problem like any other.
    """
    scan = _Scan(Folder(root.resolve()))
    try:
        scan.follow(path.name, str(path.absolute().parent))
    except _RefusedError as reason:
        scan.problems.append(FeederProblem(path.name, 0, str(reason)))
    except _TooManyError:
        scan.problems.append(FeederProblem(path.name, 0, f"more than {MAX_PROBLEMS} problems; stopped looking"))
    return FeederScan(tuple(scan.problems), tuple(Path(file) for file in scan.files))


class _RefusedError(Exception):
    """What is wrong with a line; becomes its problem."""


class _TooManyError(Exception):
    """There are so many problems that nobody will read on."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """A file that was judged: its folder, how many files running it runs, and how deep they go."""

    directory: str
    executions: int
    height: int


@dataclass(slots=True)
class _Scan:
    """What is known while the files of one feeder are read."""

    folder: Folder
    problems: list[FeederProblem] = field(default_factory=list)
    files: dict[str, None] = field(default_factory=dict)
    judged: dict[str, _Judged] = field(default_factory=dict)
    open_files: list[str] = field(default_factory=list)
    spent: int = 0

    def add(self, file: str, line: int, what: str) -> None:
        self.problems.append(FeederProblem(file, line, what))
        if len(self.problems) >= MAX_PROBLEMS:
            raise _TooManyError

    def spend(self, size: int) -> None:
        """Take note of the bytes of a file that is run."""
        self.spent += size
        if self.spent > MAX_BYTES:
            raise _RefusedError(f"files that are run hold more than {MAX_BYTES} bytes in all; refused")

    def read(self, written: str, directory: str) -> None:
        """Take note of a data file that OpenDSS would read."""
        self._note(self._find(written, directory, script=False))

    def follow(self, written: str, directory: str) -> _Judged:
        """Judge a file that is run, once, however often that is."""
        path = self._find(written, directory, script=True)
        if path in self.open_files:
            raise _RefusedError(f"file '{shown(written)}' redirects to itself, directly or through another; refused")
        if path not in self.judged:
            self._note(path)
            self.judged[path] = self._judge(path)
        if len(self.open_files) + self.judged[path].height > MAX_DEPTH:
            raise _RefusedError(f"redirects are more than {MAX_DEPTH} files deep; refused")
        return self.judged[path]

    def _judge(self, path: str) -> _Judged:
        if len(self.open_files) >= MAX_DEPTH:
            raise _RefusedError(f"redirects are more than {MAX_DEPTH} files deep; refused")
        self.open_files.append(path)
        try:
            return _FileScan(self, path).judge()
        finally:
            self.open_files.pop()

    def _find(self, written: str, directory: str, *, script: bool) -> str:
        try:
            return self.folder.find(written, directory, script=script)
        except (PathRefusedError, OSError, ValueError) as reason:
            raise _RefusedError(f"{reason}; refused") from reason

    def _note(self, path: str) -> None:
        self.files.setdefault(path)
        if len(self.files) > MAX_FILES:
            raise _RefusedError(f"reads more than {MAX_FILES} files; refused")


class _FileScan:
    """Judges one file, line by line. A ``~`` may only follow the element it continues, in the same file."""

    def __init__(self, scan: _Scan, path: str) -> None:
        self._scan = scan
        self._path = path
        self._shown = scan.folder.relative(path)
        self._directory = str(Path(path).parent)
        self._active_class: str | None = None
        self._executions = 1
        self._height = 1

    def judge(self) -> _Judged:
        """Judge every line; the problems go to the scan."""
        try:
            data = Path(self._path).read_bytes()
        except OSError as error:
            raise _RefusedError(f"file cannot be read: {error.strerror}") from error
        for line, what in _byte_problems(data):
            self._scan.add(self._shown, line, what)
        self._scan.spend(len(data))
        for line, text in command_lines(data.removeprefix(_BOM).decode("latin-1")):
            try:
                self._judge_line(text)
            except _RefusedError as reason:
                self._scan.add(self._shown, line, str(reason))
        return _Judged(str(Path(self._path).parent), self._executions, self._height)

    def _judge_line(self, line: str) -> None:
        if _is_comment(line):
            return
        if len(line) > MAX_LINE:
            raise _RefusedError(f"line of {len(line)} characters is longer than {MAX_LINE}; refused")
        reader = LineReader(line)
        first = _sound(next(reader))
        parameters = _parameters(reader)
        active, self._active_class = self._active_class, None
        if first.name:
            self._judge_direct_edit(first, parameters)
        else:
            self._judge_command(_command(first.value), parameters, active)

    def _judge_command(self, command: str, parameters: list[Parameter], active: str | None) -> None:
        if command in {"more", "m", "~"}:
            if active is None:
                raise _RefusedError(f"'{command}' continues nothing: it must follow the element's own line; refused")
            self._active_class = active
            self._judge_properties(active, parameters)
        elif command in rules.DESCRIBING:
            self._judge_element(command, parameters)
        elif command in rules.SETTING:
            self._judge_options(parameters)
        elif command in rules.FOLLOWING:
            self._follow(command, parameters)
        elif command in rules.READING:
            self._scan.read(_only_value(command, parameters), self._directory)

    def _judge_element(self, command: str, parameters: list[Parameter]) -> None:
        """Judge ``New Class.Name ...``; the class becomes the active one whatever comes of it, as in the
        engine.
        """
        if not parameters or not "object".startswith(parameters[0].name.lower()):
            raise _RefusedError(f"'{command}' must name its element first, as Class.Name; refused")
        written, _, element = parameters[0].value.partition(".")
        if command == "new" and written.lower() == "circuit":
            _require_plain_name("circuit", element)
            class_name = "vsource"  # what stands on a circuit's line belongs to its source
        else:
            class_name = _class(written, element)
        self._active_class = None if command == "batchedit" else class_name
        self._judge_properties(class_name, parameters[1:])

    def _judge_direct_edit(self, first: Parameter, rest: list[Parameter]) -> None:
        """Judge ``Class.Name.Property=value``, which the engine pastes into a new line, within quotes."""
        parts = first.name.split(".")
        if len(parts) != 3:
            raise _RefusedError(f"'{shown(first.name)}=' is neither a command nor Class.Name.Property=; refused")
        if '"' in first.value:
            raise _RefusedError(f"a quote inside the value of '{shown(first.name)}'; refused")
        class_name = _class(parts[0], parts[1])
        self._judge_properties(class_name, [Parameter(parts[2], first.value), *rest])

    def _judge_properties(self, class_name: str, parameters: Iterable[Parameter]) -> None:
        known = names.PROPERTIES[class_name]
        complaints = []
        for name, parameter in _named(parameters, known, f"property of {names.CLASSES[class_name]}"):
            try:
                self._judge_property(class_name, name, parameter)
            except _RefusedError as reason:
                complaints.append(str(reason))
        if complaints:
            raise _RefusedError("; ".join(list(dict.fromkeys(complaints))[:_MAX_COMPLAINTS]))

    def _judge_property(self, class_name: str, name: str, parameter: Parameter) -> None:
        subject = f"property '{name}' of {names.CLASSES[class_name]}"
        why = rules.REFUSED_PROPERTIES.get(name)
        if why:
            raise _RefusedError(f"{subject} {why}; {TRUST}")
        if name != parameter.name.lower() and parameter.name:
            _require_harmless_everywhere(parameter.name)
        self._judge_value(rules.property_rule(class_name, name), name, parameter.value, subject, class_name)

    def _judge_options(self, parameters: Iterable[Parameter]) -> None:
        for name, parameter in _named(parameters, names.OPTIONS, "option"):
            rule = rules.OPTIONS.get(name)
            if rule is None:
                raise _RefusedError(f"option '{name}' is not allowed in a feeder; {TRUST}")
            if name == "mode" and resolve(parameter.value, rules.MODES) not in rules.MODES:
                raise _RefusedError(f"mode '{shown(parameter.value)}' is not one of {', '.join(rules.MODES)}; {TRUST}")
            self._judge_value(rule, name, parameter.value, f"option '{name}'")

    def _judge_value(self, rule: rules.Rule, name: str, value: str, subject: str, class_name: str = "") -> None:
        if rule == "file":
            self._scan.read(value, self._directory)
            return
        if rule == "off" and not value.lower().startswith(("n", "f")):
            raise _RefusedError(f"{subject} writes or maps files and may only be 'no'; {TRUST}")
        if rule == "normalize" and not (value and "normalize".startswith(value.lower())):
            raise _RefusedError(f"{subject} writes files and may only be 'normalize'; {TRUST}")
        if rule == "count" and not _within(value, limit := rules.count_limit(name, class_name)):
            raise _RefusedError(f"{subject} must be a number up to {limit}, not '{shown(value)}'; {TRUST}")
        if name.startswith("bus") and value.count(".") > _MAX_NODES and " " not in value:
            raise _RefusedError(f"{subject} names more than {_MAX_NODES} nodes; refused")
        if name.startswith("bus") and not _are_nodes(value):
            raise _RefusedError(f"{subject}: a node is not 0 to {_MAX_NODE} in '{shown(value)}'; refused")
        if "=" in value:
            self._judge_array(value, subject)

    def _judge_array(self, value: str, subject: str) -> None:
        """Judge ``mult=(file=load.csv, column=2)``: nothing but an array from a file has an ``=`` inside."""
        kind, *details = _parameters(LineReader(value)) or [Parameter("", value)]
        if kind.name.lower() not in _FILE_ARRAYS or any(char in kind.value for char in _QUOTES):
            raise _RefusedError(f"{subject} holds an '=' that is not (file=...); refused")
        for detail in details:
            known = {"column": _within(detail.value, _MAX_COLUMN), "header": detail.value.isalpha()}
            if not known.get(detail.name.lower()):
                raise _RefusedError(f"{subject}: '{shown(detail.name or detail.value)}' after file=; refused")
        self._scan.read(kind.value, self._directory)

    def _follow(self, command: str, parameters: list[Parameter]) -> None:
        written = _only_value(command, parameters)
        judged = self._scan.follow(written, self._directory)
        self._executions += judged.executions
        self._height = max(self._height, 1 + judged.height)
        if self._executions > MAX_EXECUTIONS:
            raise _RefusedError(f"runs more than {MAX_EXECUTIONS} files, one through the other; refused")
        if command == "compile":
            self._directory = judged.directory  # OpenDSS stays in the folder of a compiled file


def _byte_problems(data: bytes) -> Iterable[tuple[int, str]]:
    """Yield what is wrong with the file before it is read as text.

    OpenDSS decodes a file by its byte order mark. Only plain ASCII is the same text before and after that.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or (data.startswith(_BOM) and not data[len(_BOM) :].isascii()):
        yield 1, "begins with a byte order mark and is not plain ASCII; save it as ASCII; refused"
    control = _CONTROL.search(data)
    if control:
        line = data.count(b"\n", 0, control.start()) + 1
        yield line, f"control character {control[0][0]:#04x}; is this a text file?; refused"


def _is_comment(line: str) -> bool:
    """Newer engines run what follows ``//!AltDSS``, so that is no comment here either."""
    text = line.lstrip(" \t")
    if text.startswith("//") and text[2:].lstrip(" \t").lower().startswith("!altdss"):
        raise _RefusedError("'//!AltDSS' is carried out by some engines; refused")
    return not text or text.startswith(("!", "//"))


def _parameters(reader: LineReader) -> list[Parameter]:
    """Return what is left of a line. Where a value is empty the engine stops; here all that follows is judged."""
    return [_sound(parameter) for parameter in reader if parameter.name or parameter.value]


def _sound(parameter: Parameter) -> Parameter:
    """Return the parameter if it can only be read in one way."""
    if not parameter.closed:
        raise _RefusedError(f"quote is not closed before the line's end: '{shown(parameter.value)}'; refused")
    if "@" in parameter.value or "@" in parameter.name:
        raise _RefusedError("variables (@...) can hide a path or a name: write the value out; refused")
    if not _is_utf8(parameter.name + parameter.value):
        raise _RefusedError(f"'{shown(parameter.value)}' is not UTF-8: save the file in that, or write ASCII; refused")
    return parameter


def _is_utf8(read: str) -> bool:
    """Return whether what was read byte by byte is UTF-8, of which the engine takes names to be."""
    try:
        read.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _command(written: str) -> str:
    command = resolve(written, names.COMMANDS)
    if command in rules.COMMANDS:
        return command
    if command is None:
        raise _RefusedError(f"unknown command '{shown(written)}'{_did_you_mean(written, rules.COMMANDS)}; refused")
    called = f"'{command}'" if command == written.lower() else f"'{shown(written)}' (that is '{command}')"
    listed = f"is not allowed in a feeder; allowed: {', '.join(sorted(rules.COMMANDS))}"
    raise _RefusedError(f"command {called} {rules.WHY_NOT.get(command, listed)}; {TRUST}")


def _class(written: str, element: str) -> str:
    class_name = written.lower()
    if class_name not in names.CLASSES:
        raise _RefusedError(f"class '{shown(written)}' is not allowed{_did_you_mean(written, names.CLASSES)}; {TRUST}")
    _require_plain_name(class_name, element)
    return class_name


def _require_plain_name(class_name: str, element: str) -> None:
    """Refuse a name that says where a report or a monitor is to be written."""
    if not element:
        raise _RefusedError(f"an element of class {class_name} needs a name, as Class.Name; refused")
    if class_name in rules.NAMES_BECOME_FILES and not _FILE_NAME.fullmatch(element):
        raise _RefusedError(
            f"name '{shown(element)}' becomes a file name: letters, digits, '.', '-', '_' only; refused"
        )


def _named(parameters: Iterable[Parameter], known: tuple[str, ...], kind: str) -> Iterable[tuple[str, Parameter]]:
    """Yield each parameter with the name it goes to: without one, the next in OpenDSS's order."""
    position = -1
    for parameter in parameters:
        position = _position(parameter.name, known) if parameter.name else position + 1
        if not 0 <= position < len(known):
            asked = parameter.name or parameter.value
            raise _RefusedError(f"'{shown(asked)}' is no {kind}{_did_you_mean(asked, known)}; refused")
        yield known[position], parameter


def _position(written: str, known: tuple[str, ...]) -> int:
    name = resolve(written, known)
    return known.index(name) if name in known else -1


def _require_harmless_everywhere(abbreviation: str) -> None:
    """Refuse what would mean a library in another class, were the engine ever to take this one for that."""
    for known in names.PROPERTIES.values():
        if resolve(abbreviation, known) in rules.REFUSED_PROPERTIES:
            raise _RefusedError(f"property '{shown(abbreviation)}' is too short to be safe: write it out; refused")


def _only_value(command: str, parameters: list[Parameter]) -> str:
    if len(parameters) != 1 or parameters[0].name:
        raise _RefusedError(f"'{command}' takes one file name (with quotes, if it has blanks); refused")
    return parameters[0].value


def _are_nodes(buses: str) -> bool:
    """Return whether nodes of buses, as "671.1.2", are numbers that the engine can have."""
    nodes = (node for bus in _BETWEEN_BUSES.split(buses) for node in bus.split(".")[1:])
    return "=" in buses or all(_within(node, _MAX_NODE) for node in nodes)


def _within(value: str, limit: int) -> bool:
    return value.isascii() and value.isdigit() and len(value) < 12 and int(value) <= limit


def _did_you_mean(written: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(written[:40].lower(), list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
