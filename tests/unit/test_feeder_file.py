"""What the gate before OpenDSS lets through, what it says when it does not, and that no text upsets it."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federates.grid import dss_names, feeder_file, feeder_rules
from federates.grid.dss_language import LineReader, Parameter, command_lines, resolve
from federates.grid.feeder_file import FeederProblem, feeder_problems, scan_feeder

REPOSITORY = Path(__file__).parents[2]
FEEDERS = sorted(REPOSITORY.glob("scenarios/feeders/*/*.dss"))

ORDINARY = """\
! A feeder as people write them
Clear
Set DefaultBaseFrequency=60
/* a comment
   set editor=x
*/ still the comment
New object=circuit.ordinary
~ basekv=115 pu=1.0001 phases=3 bus1=SourceBus   // beside a command
New linecode.l1 nphases=3 BaseFreq=60 units=mi
~ rmatrix = (0.0868 | 0.0298 0.0887 | 0.0288 0.0298 0.0868)

~ xmatrix = [0.2025 | 0.0847 0.1961 | 0.0719 0.0847 0.2025]
New Line.650632 Phases=3 Bus1=SourceBus.1.2.3 Bus2=632.1.2.3 LineCode=l1 Length=2000 units=ft
New Transformer.Sub Phases=3 Windings=2 XHL=(8 1000 /)
~ wdg=1 bus=SourceBus conn=delta kv=115 kva=5000 %r=(.5 1000 /)
~ wdg=2 bus=650 conn=wye kv=4.16 kva=5000 %r={.5 1000 /}
new regcontrol.Reg1 transformer=Sub winding=2 vreg=122 band=2 ptratio=20 ctprim=700 R=3 X=9 debugtrace=no
New LoadShape.day npts=24 interval=1 mult=(file=profiles/day.csv, column=1, header=no)
New LoadShape.year 8760 1 csvfile="profiles/day.csv"
New LoadShape.unit npts=2 mult=[0.5 1] action=normalize
New Load.671 Bus1=671.1.2.3 Phases=3 Conn=Delta Model=1 kV=4.16 kW=1155 kvar=660 daily=day
New Monitor.m1 element=line.650632 terminal=1 mode=0
Load.671.kW=1100 kvar=600
BatchEdit Load..* vminpu=0.85
Redirect parts\\loads.dss  ! a Windows path, and a remark
redirect parts/loads
Set Voltagebases=[115, 4.16, .48]
calcv
Buscoords coordinates.csv
set markTransformers=yes MaxControlIter=100
open Line.650632 1
close line.650632 1
Solve
solve mode=daily number=24 stepsize=1h
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "day.csv").write_text("1\n" * 24)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "loads.dss").write_text("New Load.x bus1=632 kw=1\n~ kvar=1\n")
    (tmp_path / "coordinates.csv").write_text("632, 1, 2\n")
    return tmp_path


def judge(text: str | bytes, root: Path) -> list[str]:
    (root / "feeder.dss").write_bytes(text if isinstance(text, bytes) else text.encode())
    return [str(problem) for problem in feeder_problems(root / "feeder.dss", root)]


def test_ordinary_feeder_passes(root: Path) -> None:
    assert judge(ORDINARY, root) == []


def test_ordinary_feeder_passes_with_windows_line_ends_and_a_byte_order_mark(root: Path) -> None:
    assert judge(b"\xef\xbb\xbf" + ORDINARY.replace("\n", "\r\n").encode(), root) == []


@pytest.mark.parametrize("feeder", FEEDERS, ids=lambda path: path.stem)
def test_reference_feeder_passes(feeder: Path) -> None:
    assert [str(problem) for problem in feeder_problems(feeder, feeder.parent)] == []


def test_every_file_that_is_read_is_listed_once_and_in_order(root: Path) -> None:
    judge(ORDINARY, root)
    files = scan_feeder(root / "feeder.dss", root).files
    names = [path.relative_to(root).as_posix() for path in files]
    assert names == ["feeder.dss", "profiles/day.csv", "parts/loads.dss", "coordinates.csv"]


def test_path_is_relative_to_the_file_that_holds_it(root: Path) -> None:
    (root / "parts" / "shapes.dss").write_text("new loadshape.s npts=2 csvfile=../profiles/day.csv\n")
    assert judge("redirect parts/shapes.dss\n", root) == []
    assert judge("new loadshape.s npts=2 csvfile=../profiles/day.csv\n", root) != []


def test_path_after_compile_is_relative_to_the_compiled_file(root: Path) -> None:
    (root / "parts" / "x.csv").write_text("1\n")
    assert judge("compile parts/loads.dss\nnew loadshape.s npts=1 csvfile=x.csv\n", root) == []
    assert judge("redirect parts/loads.dss\nnew loadshape.s npts=1 csvfile=x.csv\n", root) != []


def test_problem_reads_as_a_place_a_reason_and_a_way_out(root: Path) -> None:
    said = judge("clear\nnew circuit.c\nnew generator.g usermodel=evil.so\n", root)
    assert said == [
        "feeder.dss:3: property 'usermodel' of Generator loads a library; refused (run with --trust-feeder to allow)"
    ]


def test_problem_in_a_redirected_file_names_that_file(root: Path) -> None:
    (root / "parts" / "bad.dss").write_text("! one\nsave circuit\n")
    said = judge("redirect parts/bad.dss\n", root)
    assert said == ["parts/bad.dss:2: command 'save' writes files; refused (run with --trust-feeder to allow)"]


def test_every_problem_is_reported_at_once(root: Path) -> None:
    lines = [problem.split(":")[1] for problem in judge("show v\nsolve\nplot circuit\nset editor=x\nbogus\n", root)]
    assert lines == ["1", "3", "4", "5"]


def test_two_libraries_on_one_line_are_both_named(root: Path) -> None:
    (said,) = judge("new generator.g usermodel=a.so shaftmodel=b.so\n", root)
    assert "'usermodel'" in said
    assert "'shaftmodel'" in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("new load.l kw=1 phasse=3", "did you mean 'phases'?"),
        ("new loda.l", "did you mean 'load'?"),
        ("rediretc x.dss", "did you mean 'redirect'?"),
        ("set editro=x", "did you mean 'editor'?"),
        ("ex v", "'ex' (that is 'export') writes files"),
        ("get mode", "'get' is not allowed in a feeder; allowed: "),
        ("new load.l kw=(1", "quote is not closed"),
        ("new load.@x kw=1", "write the value out"),
        ("redirect nowhere.dss", "'nowhere.dss' does not exist"),
        ("redirect", "takes one file name"),
        ("redirect my file.dss", "with quotes, if it has blanks"),
        ("~ kw=1", "continues nothing"),
        ("kw=1", "neither a command nor Class.Name.Property="),
        ("new load", "needs a name"),
        ("new line.l phases=100000", "must be a number up to 100"),
        ("new loadshape.s mult=(file=profiles/day.csv, colunm=1)", "'colunm' after file="),
        ("new loadshape.s mult=(files=profiles/day.csv)", "not (file=...)"),
        ("new loadshape.s mult=((file=/etc/passwd))", "quote is not closed"),
        ("new loadshape.s mult=(file='x.csv)", "quote is not closed"),
        ("set mode=harmonics", "is not one of snapshot, daily"),
        ("new regcontrol.r debugtrace=yes", "may only be 'no'"),
        ("new loadshape.s csvfile='caf\u00e9.csv'", "character that is not allowed in a path"),
        (" , export v", "unknown command"),
        ("new load.l phases=4 bus1=671.1.2.3.4", "property 'phases' of Load must be a number up to 3, not '4'"),
        ("new transformer.t phases=4", "must be a number up to 3"),
        ("new xfmrcode.t 4", "must be a number up to 3"),
        ("load.l.phases=4", "must be a number up to 3"),
        ("new load.l bus1=671.-1", "a node is not 0 to 1000 in '671.-1'"),
        ("new load.l bus1=671.99999", "a node is not 0 to 1000"),
        ("new load.l bus1=671.", "a node is not 0 to 1000"),
        ("new line.l bus1=671..1 bus2=a", "property 'bus1' of Line: a node is not 0 to 1000"),
        ("new transformer.t buses=(671.1.2 'x y.1e3')", "a node is not 0 to 1000"),
        ("edit transformer.t wdg=2 bus=a.x", "a node is not 0 to 1000"),
    ],
)
def test_refusal_says_what_is_wrong(root: Path, line: str, said: str) -> None:
    (problem,) = judge(line + "\n", root)
    assert said in problem


@pytest.mark.parametrize(("coding", "passes"), [("utf-8", True), ("latin-1", False)])
def test_names_beyond_ascii_are_in_utf8(root: Path, coding: str, passes: bool) -> None:
    """A name in another coding ended in a UnicodeDecodeError, as soon as OpenDSS was asked for it."""
    problems = judge("! Stra\u00dfe\nnew load.stra\u00dfe kw=1 ! Stra\u00dfe\n".encode(coding), root)
    assert [text.partition("load")[0] for text in problems] == ([] if passes else ["feeder.dss:2: '"])


def test_lines_may_have_their_neutral_among_their_phases(root: Path) -> None:
    """Loads of four phases, and transformers, are refused: OpenDSS spoils its memory with them."""
    assert judge("new line.l phases=4 bus1=a.1.2.3.4 bus2=b.1.2.3.4\nnew load.l phases=3 bus1=b.1.2.3.4\n", root) == []


@pytest.mark.parametrize("buses", ["(671.1.2.3.0 b-1.2)", "[sub-1.4.4.4, 'x y.1']", "a", '("a.1" | b.10)'])
def test_nodes_are_numbers(root: Path, buses: str) -> None:
    assert judge(f"new transformer.t buses={buses}\n", root) == []


@pytest.mark.parametrize("line", ["", " \t", "!x", "//x", "\t! export", "  // save circuit", "/* x */", "/*/"])
def test_comment_is_no_command(root: Path, line: str) -> None:
    assert judge(line, root) == []


def test_continued_line_belongs_to_the_last_element_and_to_no_other_command(root: Path) -> None:
    assert judge("new load.l kw=1\n\n! remark\n~ kvar=1\nmore pf=1\nm phases=1\n", root) == []
    assert judge("new load.l kw=1\nsolve\n~ kvar=1\n", root) != []


def test_control_character_is_reported_with_its_line(root: Path) -> None:
    (said,) = judge(b"clear\n! one\n! t\x00wo\n", root)
    assert said.startswith("feeder.dss:3: control character 0x00")


def test_missing_feeder_and_feeder_outside_are_problems(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside.dss").write_text("clear\n")
    assert "does not exist" in str(feeder_problems(tmp_path / "root" / "no.dss", tmp_path / "root")[0])
    assert "outside" in str(feeder_problems(tmp_path / "outside.dss", tmp_path / "root")[0])


def test_folder_in_place_of_a_feeder_is_a_problem(root: Path) -> None:
    assert feeder_problems(root / "parts", root)


def test_problem_of_a_whole_file_has_no_line() -> None:
    assert str(FeederProblem("feeder.dss", 0, "is missing")) == "feeder.dss: is missing"


def test_looking_stops_when_there_are_more_problems_than_anyone_reads(root: Path) -> None:
    said = judge("export v\n" * 10_000, root)
    assert len(said) == feeder_file.MAX_PROBLEMS + 1
    assert said[-1].endswith("stopped looking")


def test_redirects_that_multiply_are_refused_without_running_them(root: Path) -> None:
    for depth in range(19):
        (root / f"b{depth}.dss").write_text(f"redirect b{depth + 1}.dss\n" * 8)
    (root / "b19.dss").write_text("! end\n")
    assert any("one through the other" in said or "deep" in said for said in judge("redirect b0.dss\n", root))


def test_abbreviation_means_the_first_name_that_begins_with_it() -> None:
    assert resolve("s", dss_names.COMMANDS) == "select"
    assert resolve("Set", dss_names.COMMANDS) == "set"
    assert resolve("setx", dss_names.COMMANDS) is None
    assert resolve("", dss_names.COMMANDS) is None


def test_value_without_a_name_follows_the_last_one() -> None:
    parameters = list(LineReader("New Line.x b1, bus2 = 'b 2' [1 | 2] ! rest"))
    assert parameters == [
        Parameter("", "New"),
        Parameter("", "Line.x"),
        Parameter("", "b1"),
        Parameter("bus2", "b 2"),
        Parameter("", "1 | 2"),
        Parameter("", ""),
    ]


def test_block_comment_begins_in_the_first_column_and_ends_with_a_line() -> None:
    text = "a\n/* b\nc */ d\n /* e\nf /* g\n/*/\nh"
    assert list(command_lines(text)) == [(1, "a"), (4, " /* e"), (5, "f /* g"), (7, "h")]


def test_no_property_that_loads_or_reads_is_plain() -> None:
    for class_name, known in dss_names.PROPERTIES.items():
        for name in known:
            if name.endswith(("file", "dll", "model")) and name not in {"model", "controlmodel", "earthmodel"}:
                refused = name in feeder_rules.REFUSED_PROPERTIES
                assert refused or feeder_rules.property_rule(class_name, name) == "file", name


WORDS = """
    new edit ~ set solve redirect export show more batchedit select var @x Load.x Generator.g LoadShape.s usermodel
    csvfile mult file kw editor mode = , ( ) [ ] { } " ' ! // /* */ .. / \\ /etc/passwd evil.so feeder.dss 1 -1e9
"""
PIECES = st.sampled_from([*WORDS.split(), " ", "\t", "\n", "\r", "\0", "\xff", "\ufeff"])


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.lists(PIECES, max_size=60).map(lambda words: " ".join(words).encode())))
def test_no_content_raises_and_no_file_but_the_feeder_is_read(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    root = tmp_path_factory.getbasetemp() / "arbitrary"
    root.mkdir(exist_ok=True)
    (root / "feeder.dss").write_bytes(content)
    scan = scan_feeder(root / "feeder.dss", root)
    assert scan.files == (root / "feeder.dss",)
    assert all(problem.file == "feeder.dss" for problem in scan.problems)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_reading_a_line_comes_to_its_end(line: str) -> None:
    assert len(list(LineReader(line))) <= len(line) + 1
