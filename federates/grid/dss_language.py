"""How OpenDSS reads a line, so that whoever judges a feeder sees what the engine will see.

Only the reading is here: lines, block comments, tokens and abbreviations. It follows the engine's own parser
step by step, with its oddities (a quote that is never closed ends with the line, an apostrophe inside a word
is a letter), and a test feeds the same lines to both. What is allowed is decided in ``feeder_file``.

Text is handled as Latin-1, one character for one byte: OpenDSS knows only the ASCII letters in commands and
properties, and no byte may be lost or folded into another on the way (a Kelvin sign must not become a ``k``).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_CLOSING: Final = {"(": ")", '"': '"', "'": "'", "[": "]", "{": "}"}
_WORD: Final = re.compile(r"(?:[^,= \t!/]|/(?!/))*")
_BLANKS: Final = re.compile(r"[ \t]*")
_LINE_END: Final = re.compile(r"\r\n|\r|\n")
COMMENT: Final = "!"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One ``name=value`` of a line; ``closed`` is False where a quote is left open. By position: no name."""

    name: str
    value: str
    closed: bool = True


def command_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines that OpenDSS carries out, which are those outside of block comments.

    A block comment begins only in the first column, and ends with the whole line that holds its end,
    wherever.
    """
    in_comment = False
    for number, line in enumerate(_LINE_END.split(text), start=1):
        in_comment = in_comment or line.startswith("/*")
        if not in_comment:
            yield number, line
        elif "*/" in line:
            in_comment = False


class LineReader:
    """Reads the parameters of one line from left to right, as the engine's ``NextParam`` does."""

    def __init__(self, line: str) -> None:
        self._text = line + " "  # the engine adds it, and never looks at it
        self._last = len(line)
        self._at = _skip_blanks(self._text, 0, self._last)
        self._stopped_on = " "
        self._closed = True

    def __iter__(self) -> Iterator[Parameter]:
        return self

    def __next__(self) -> Parameter:
        if self._at >= self._last:
            raise StopIteration
        self._stopped_on, self._closed = " ", True
        name, value = "", self._token()
        if self._stopped_on == "=":
            name, value = value, self._token()
        return Parameter(name, value, self._closed)

    @property
    def rest(self) -> str:
        return self._text[self._at : self._last]

    def _token(self) -> str:
        if self._at > self._last:
            return ""
        closing = _CLOSING.get(self._text[self._at])
        token = self._quoted(closing) if closing else self._word()
        self._pass_delimiter()
        return token

    def _quoted(self, closing: str) -> str:
        start = self._at + 1
        end = self._text.find(closing, start, self._last)
        if end < 0:
            self._closed = False
            self._at = self._last
        else:
            self._at = end + 1
        return self._text[start : end if end >= 0 else self._last]

    def _word(self) -> str:
        start = self._at
        found = _WORD.match(self._text, start, self._last)
        self._at = found.end() if found else start
        if self._at < self._last:
            self._stopped_on = {"/": COMMENT, "\t": " "}.get(self._text[self._at], self._text[self._at])
        return self._text[start : self._at]

    def _pass_delimiter(self) -> None:
        if self._stopped_on == COMMENT:
            self._at = len(self._text)
            return
        if self._stopped_on == " ":
            self._at = _skip_blanks(self._text, self._at, self._last)
        if self._text[self._at] in ",=":
            self._stopped_on = self._text[self._at]
            self._at += 1
        self._at = _skip_blanks(self._text, self._at, self._last)


def _skip_blanks(text: str, start: int, last: int) -> int:
    found = _BLANKS.match(text, start, last)
    return found.end() if found else start


def resolve(written: str, names: Sequence[str]) -> str | None:
    """Return the name that OpenDSS takes ``written`` for: itself, or the first that begins with it."""
    lowered = written.lower()
    if not lowered or lowered in names:
        return lowered or None
    return next((name for name in names if name.startswith(lowered)), None)
