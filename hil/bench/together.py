"""The same work for many devices, each to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable


async def together(work: Iterable[Awaitable[object]]) -> None:
    """Do all of it to the end; raise the first error, with a note on the others."""
    results = await asyncio.gather(*work, return_exceptions=True)
    raise_first(result for result in results if isinstance(result, BaseException))


def raise_first(errors: Iterable[BaseException]) -> None:
    """Raise the first of some errors, if there is one, with a note on the others."""
    found = [*errors]
    for other in found[1:]:
        found[0].add_note(f"also: {other}")
    if found:
        raise found[0]
