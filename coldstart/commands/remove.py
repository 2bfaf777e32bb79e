"""The verb `remove`: tracks that are recommended no more, and how they come back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from coldstart.errors import InputError
from coldstart.files import StrPath

if TYPE_CHECKING:
    from coldstart.shards.withdrawal import Withdrawal

SHOWN = 5
"""Unknown ids that are named."""


def remove(
    ids: list[str] | None = None,
    *,
    shards: StrPath,
    file: StrPath | None = None,
    undo: bool = False,
) -> Withdrawal:
    """Withdraw tracks: hide them wherever something is recommended, predicted, exported or listed.

    Their content stays in the dataset, and training and tests go on to use it, so that models and
    figures stay comparable. Nothing is decoded or computed anew.

    Args:
        ids: of the tracks: `coldstart remove a1 b7 --shards shards`.
        shards: folder of the dataset.
        file: a table with a column track_id, in the place of ids or beside them.
        undo: bring the tracks back.

    Returns:
        What was changed.
    """
    from coldstart.reporting.text import clean
    from coldstart.shards.reading import Shards
    from coldstart.shards.withdrawal import bring_back, withdraw
    from coldstart.tables.splits import read_ids

    named = [*(ids or ()), *(read_ids(file) if file is not None else ())]
    if not named:
        raise InputError("name tracks: coldstart remove ID ID … --shards SHARDS, or --file FILE")
    dataset = Shards(shards)
    result = (bring_back if undo else withdraw)(dataset, named)
    if len(result.unknown) == len(set(named)):
        raise InputError(f"{dataset.folder}: has none of these tracks: {_named(result.unknown)}")
    done, already = ("brought back", "not removed") if undo else ("removed", "removed already")
    parts = [f"{done} {len(result.changed):,} tracks"]
    if result.unchanged:
        parts.append(f"{len(result.unchanged):,} were {already}")
    if result.unknown:
        names = clean(_named(result.unknown))
        parts.append(f"{len(result.unknown):,} aren't in the dataset: {names}")
    print(f"{dataset.folder}: {'; '.join(parts)}. {result.hidden:,} tracks are hidden now")
    if not undo:
        print("to undo it, add --undo to the same command")
    return result


def _named(ids: Sequence[str]) -> str:
    """Some of the ids.

    >>> _named(["a", "b"])
    "'a', 'b'"
    """
    return ", ".join(map(repr, ids[:SHOWN])) + (" …" if len(ids) > SHOWN else "")
