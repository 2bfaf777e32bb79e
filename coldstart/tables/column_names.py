"""What a table calls its columns: `--columns user_id=uid,track_id=song,plays=cnt`."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import polars as pl

from coldstart.errors import InputError
from coldstart.files import StrPath

log = logging.getLogger(__name__)

ColumnNames = str | Mapping[str, str] | None
"""`user_id=uid,plays=cnt`, or {"user_id": "uid", "plays": "cnt"}: the column that is read here, and
what the table calls it; without a name (`plays=`) the table has no such column, whatever it looks
like."""

_PAIR = re.compile(
    r'\s*(?P<column>[^=,"]*?)\s*=\s*(?:"(?P<quoted>(?:[^"]|"")*)"|(?P<plain>[^,"]*?))\s*(?:,|$)'
)


def column_names(columns: ColumnNames, known: Collection[str]) -> dict[str, str]:
    """Column that is read → what the table calls it.

    Args:
        columns: text or a mapping; a name with a comma, an equals sign or spaces around it stands
            in double quotes, of which one within is doubled, as in CSV.
        known: the columns that can be named.

    Raises:
        InputError: other text, a column that isn't known, or a column or a name given twice.

    >>> column_names('user_id=uid, track_id="a=b,c"', ("user_id", "track_id"))
    {'user_id': 'uid', 'track_id': 'a=b,c'}
    """
    pairs = _pairs(columns)
    for column, _ in pairs:
        if column not in known:
            raise InputError(
                f"columns: {column!r} is none of the columns that are read here: "
                f"{', '.join(known)}. Write the one that is read first, as in user_id=uid"
            )
    for which in (0, 1):
        names = Counter(pair[which] for pair in pairs)
        twice = [name for name, count in names.items() if count > 1 and name]
        if twice:
            raise InputError(f"columns: {twice[0]!r} is given twice")
    return dict(pairs)


def _pairs(columns: ColumnNames) -> list[tuple[str, str]]:
    """Columns and names, in the order in which they were given."""
    if not columns:
        return []
    content: Any = columns
    if isinstance(columns, str):
        if not columns.lstrip().startswith("{"):
            return _pairs_of_text(columns)
        try:
            content = json.loads(columns)
        except (ValueError, RecursionError) as error:
            raise InputError(f"columns: {columns!r} is no JSON ({error})") from error
    pairs: list[tuple[Any, Any]] = (
        list(content.items()) if isinstance(content, Mapping) else [(content, None)]
    )
    for column, name in pairs:
        if not isinstance(column, str) or not isinstance(name, str):
            raise InputError(
                f"columns: {content!r} is no mapping from column to name, such as "
                "{'user_id': 'uid'}"
            )
    return pairs


def _pairs_of_text(text: str) -> list[tuple[str, str]]:
    pairs, start = list[tuple[str, str]](), 0
    while start < len(text):
        match = _PAIR.match(text, start)
        if match is None or not match["column"]:
            raise InputError(
                f"columns: {text[start:]!r} is not COLUMN=NAME, as in user_id=uid,plays=cnt"
            )
        if "=" in (match["plain"] or ""):
            raise InputError(
                f"columns: {match[0].strip(', ')!r} has two equals signs; write a name that has "
                f'one in quotes: {match["column"]}="{match["plain"]}"'
            )
        quoted = match["quoted"]
        name = match["plain"] if quoted is None else quoted.replace('""', '"')
        pairs.append((match["column"], name))
        start = match.end()
    return pairs


def with_names(
    path: StrPath,
    table: pl.DataFrame,
    names: Mapping[str, str],
    optional: Collection[str] = (),
) -> pl.DataFrame:
    """The table with the columns called as they are read.

    A column of the table that has the name already gives way, which is logged.

    Args:
        path: for messages.
        table: as it was read.
        names: of `column_names`.
        optional: columns that the table may call as they are read instead.

    Raises:
        InputError: a name is no column of the table.
    """
    present = set(table.columns)
    names = {
        column: name
        for column, name in names.items()
        if column not in optional or name in present or column not in present
    }
    for column, name in names.items():
        if name and name not in present:
            raise InputError(
                f"{path}: columns: there is no column {name!r}, which is to be '{column}'; the "
                f"table has: {listed(table.columns)}"
            )
    taken = set(names.values())
    replaced = [column for column in names if column in present and column not in taken]
    if replaced:
        log.info(f"{path}: not read, for --columns says so: {listed(replaced)}")
    # Two columns may exchange their names, so all are renamed at once.
    return table.drop(replaced).rename({name: column for column, name in names.items() if name})


def listed(names: Sequence[str]) -> str:
    """Names for a message, the first thirty, in one line.

    >>> listed(["track_id", "a name\\nof two lines"])
    'track_id, a name of two lines'
    """
    more = f" and {len(names) - 30:,} more" if len(names) > 30 else ""
    return ", ".join(" ".join(name.split()) or repr(name) for name in names[:30]) + more


def plain(name: str) -> str:
    """A name without what spelling may vary in: case, spaces, underscores, hyphens.

    >>> plain("User-ID ") == plain("user_id")
    True
    """
    return re.sub(r"[\W_]+", "", name).lower()


def flag_value(column: str, name: str) -> str:
    """`column=name` as `--columns` and a shell read it.

    >>> flag_value("plays", "cnt"), flag_value("plays", "play count")
    ('plays=cnt', "'plays=play count'")
    """
    if name != name.strip() or re.search(r'[=,"]', name):
        name = '"' + name.replace('"', '""') + '"'
    text = f"{column}={name}"
    return text if re.fullmatch(r"[\w=.-]+", text) else "'" + text.replace("'", "'\\''") + "'"
