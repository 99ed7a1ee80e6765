"""What a feeder may say: the commands, options, classes and property values that are let through.

An allow-list. A feeder describes a circuit; whatever makes OpenDSS run a program, load a library, write a
file or read outside the feeder's folder has no place in it, and what is not listed here is refused, known to
be harmful or not.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

Rule = Literal["plain", "file", "off", "count", "normalize"]
"""How a value is judged: anything, a file to read, only ``no``, a number with a limit, only ``normalize``."""


def _each(words: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(words.split(), rule)


def _because(words: str, reason: str) -> dict[str, str]:
    return dict.fromkeys(words.split(), reason)


DESCRIBING: Final = frozenset({"new", "edit", "more", "m", "~", "batchedit"})
SETTING: Final = frozenset({"set", "solve"})  # solve takes every option that set takes
FOLLOWING: Final = frozenset({"redirect", "compile"})
READING: Final = frozenset({"buscoords", "latlongcoords"})
ACTING: Final = frozenset(
    {
        "clear",
        "calcvoltagebases",
        "setkvbase",
        "makebuslist",
        "reprocessbuses",
        "buildy",
        "init",
        "interpolate",
    }
    | {"open", "close", "enable", "disable", "reset", "allocateloads", "updatestorage"}
    | {"setbusxy", "addbusmarker", "clearbusmarkers"}
)
COMMANDS: Final = DESCRIBING | SETTING | FOLLOWING | READING | ACTING

WHY_NOT: Final[Mapping[str, str]] = MappingProxyType(
    _because("show fileedit dump _showcontrolqueue alignfile", "starts the editor program")
    | _because("estimate cvrtloadshapes", "starts the editor program")
    | _because("doscmd", "runs a program")
    | _because("export save distribute rephase uuids closedi exportoverloads exportvviolations", "writes files")
    | _because("plot visualize di_plot comparecases yearlycurves top", "draws; the run's report does that")
    | _because("cd", "changes the folder of the process")
    | _because("var", "makes variables, which can hide a path or a name: write the value out")
    | _because("reconductor remove reduce", "edits by text of its own")
)
"""Said with a refused command, where there is a reason better than its not being listed."""

OPTIONS: Final[Mapping[str, Rule]] = MappingProxyType(
    _each(
        """
        hour sec year frequency stepsize mode random time tolerance maxiterations h loadmodel loadmult
        normvminpu normvmaxpu emergvminpu emergvmaxpu %mean %stddev ldcurve %growth allowduplicates zonelock
        ueweight lossweight ueregs lossregs voltagebases algorithm trapezoidal autobuslist controlmode genmult
        defaultdaily defaultyearly allocationfactors cktmodel pricesignal pricecurve basefrequency harmonics
        maxcontroliter bus keeplist %normal cfactors numallociterations defaultbasefrequency loadshapeclass
        earthmodel neglectloady miniterations sampleenergymeters keepload zmag seasonrating seasonsignal
        linetypes eventlogdefault longlinecorrection log terminal
        """,
        "plain",
    )
    | _each(  # how plots are drawn
        """
        markercode nodewidth markswitches switchmarkercode daisysize marktransformers transmarkercode
        transmarkersize markcapacitors markregulators markpvsystems markstorage capmarkercode regmarkercode
        pvmarkercode storemarkercode capmarkersize regmarkersize pvmarkersize storemarkersize markfuses
        fusemarkercode fusemarkersize markreclosers reclosermarkercode reclosermarkersize markrelays
        relaymarkercode relaymarkersize
        """,
        "plain",
    )
    | _each(
        """
        tracecontrol demandinterval diverbose overloadreport voltexceptionreport showexport querylog
        showreports parallel concatenatereports
        """,
        "off",
    )
    | _each("number", "count")
)

MODES: Final = ("snapshot", "daily", "yearly", "dutycycle", "direct", "peakday", "time")
"""The other modes write files (autoadd, harmonics), or answer what a feeder does not ask."""

REFUSED_PROPERTIES: Final[Mapping[str, str]] = MappingProxyType(
    _because("usermodel shaftmodel dynadll", "loads a library")
    | _because("userdata shaftdata dynadata", "speaks to a loaded library")
    | _because("dynamiceq dynout", "carries expressions that the engine runs")
)

_SPECIAL: Final[Mapping[str, Rule]] = MappingProxyType(
    _each("csvfile sngfile dblfile pqcsvfile", "file")
    | _each("debugtrace memorymapping", "off")
    | _each("npts phases nphases nconds windings wdg cond", "count")
    | _each("numharm numsteps numtaps seasons shots numfast", "count")
)
_WRITING_ACTION: Final = frozenset({"loadshape", "tshape", "priceshape", "monitor", "energymeter"})

_LIMITS: Final = MappingProxyType(
    {"npts": 10_000_000, "number": 1_000_000, "numtaps": 1000, "seasons": 1000, "numharm": 1000}
)
_LIMIT: Final = 100
"""OpenDSS sizes its arrays by these without a question: ``phases=200000`` ends the process."""

_LIMITS_OF_CLASSES: Final = MappingProxyType(
    {("load", "phases"): 3, ("transformer", "phases"): 3, ("xfmrcode", "phases"): 3}
)
"""With more OpenDSS writes where other things lie, and the process ends sooner or later: a neutral is no phase."""

NAMES_BECOME_FILES: Final = frozenset({"circuit", "monitor", "energymeter"})


def property_rule(class_name: str, name: str) -> Rule:
    """Return how the property's value is judged; the name is resolved, and not one that is refused."""
    if name == "action" and class_name in _WRITING_ACTION:
        return "normalize"
    return _SPECIAL.get(name, "plain")


def count_limit(name: str, class_name: str) -> int:
    """Return the largest number that the property of a class may be given, or the option: its class is empty."""
    return _LIMITS_OF_CLASSES.get((class_name, name), _LIMITS.get(name, _LIMIT))
