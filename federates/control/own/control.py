"""Kind `own-control`: a control of the user's, one class in a file beside the scenario.

```python
class Shave:
    def __init__(self, parameters, site):    # parameters: as in the scenario; site: labels, units, step_s, start, seed
        self.limit_kw = parameters["limit_kw"]

    def step(self, now_s, measured):         # measured: by name, arrays in the order of site.labels[name]
        excess_kw = measured["grid.head_kw"][0] - self.limit_kw
        return {"batteries.p_set_kw": max(excess_kw, 0.0) / 20}
```

`step` is called once for each instant but the first, with what was measured last before it: a control acts on what it
has measured. It returns setpoints by name, one number for all elements or an array; what it leaves out stays as it was.
Before its first call, `initial` holds. Powers of DERs are positive when injected, the feeder's head is positive when
drawn.

What the network between it and its members delays or loses, what the checks measure, what a run leaves: all is as for
the controls that derloop brings. What it does when it hears nothing is its own affair: it then sees the last values
that came, and with `age_s` among its `reads` how old they are.

The file is code, and runs with the rights of whoever starts the run. So it must lie in the scenario's folder, and the
run must be allowed to use it: `--trust-control`. Whatever it raises ends the run, with the line of the file. It runs in
the same order, and with the same arrays, under every engine: results are equal to the bit as long as the class is
deterministic.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from derloop.errors import DerloopError
from derloop.kind import Context, FileName, Kind, PlaceError
from derloop.texts import Shape
from federates.control.own.code import NoSuchClass, UserClass
from federates.control.own.listening import Listening, listening, require_trust
from federates.control.own.ports import OwnPorts
from federates.der.inside import path_inside


class OwnControlSettings(OwnPorts):
    """A control of the user's in Python."""

    file: Annotated[
        FileName, StringConstraints(max_length=1000), Shape(r"^.*\.py$", "a file of Python, that ends with .py")
    ] = Field(
        description="Python file, relative to the scenario's folder and inside it.",
        examples=["controls/shave.py"],
    )
    class_name: Annotated[
        str, StringConstraints(max_length=200), Shape(r"^[A-Za-z_][A-Za-z0-9_]*$", "the name of a class: Shave")
    ] = Field(
        alias="class",
        description="The class in it that is the control.",
        examples=["Shave"],
    )


def build(settings: OwnControlSettings, context: Context) -> Listening:
    """Return the control. Raises: PlaceError for a file that may not be run, or has no such class."""
    require_trust(context, "file", f"{settings.file!r} is code")
    try:
        path = path_inside(settings.file, context.folder)
    except ValueError as error:
        raise PlaceError([(("file",), f"{settings.file!r} {error}")]) from error
    try:
        control = UserClass(path, settings.class_name, settings.parameters)
    except NoSuchClass as error:
        raise PlaceError([(("class",), str(error))]) from error
    except DerloopError as error:
        raise PlaceError([(("file",), str(error))]) from error
    return listening(control, settings, context, waits=False)


KIND = Kind(
    "own-control", "A control of your own: a Python class beside the scenario", OwnControlSettings, build, listens=True
)
