"""Reading original text files piece by piece, checking them, and writing tables piece by piece.

However large the original, a piece of it is in memory at a time.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from coldstart.addresses.places import name_of
from coldstart.datasets.originals import About, Original
from coldstart.datasets.summary import Summary
from coldstart.errors import Broken, Fault, InputError
from coldstart.files import StrPath, atomic, made_folder
from coldstart.reporting.progress import tracked
from coldstart.tables.column_names import listed
from coldstart.tables.table import MAX_NUMBER, Checker, write_broken, write_table

PIECE = 16 << 20
"""Bytes of text read at a time."""

LINE = 256 << 20
"""Bytes of a line that can't be one."""


class Rows(Checker):
    """The rows of a piece; those that break a rule are dropped, or raise."""

    def __init__(
        self, original: Original, table: pl.DataFrame, broken: Broken, item: str = "track_id"
    ) -> None:
        """Take a piece.

        Args:
            original: the file.
            table: the piece, from `pieces`, or a whole table.
            broken: collects broken rows; without skipping, the first one raises.
            item: the column that names a row.
        """
        numbered = table if "__row" in table.columns else table.with_row_index("__row", offset=1)
        self.path, self.broken, self.item = Path(original.name), broken, item
        self.table = numbered

    def count(self, column: str, least: int = 0) -> None:
        """Convert to whole numbers of at least `least`."""
        self.numbers(column)
        whole = pl.col(column) == pl.col(column).floor()
        self.rule(column, ~whole | (pl.col(column) < least), f"is no whole number from {least} on")
        self.table = self.table.with_columns(pl.col(column).cast(pl.Int64))

    def vectors(self, columns: Sequence[str]) -> None:
        """Convert to float32, all at once: there may be thousands of columns.

        What is no number, not finite or too large is a fault.
        """
        numbers = self.table.select(pl.col(columns).cast(pl.Float64, strict=False))
        good = pl.col(columns).is_finite().fill_null(False) & (pl.col(columns).abs() <= MAX_NUMBER)
        whole = numbers.select(pl.all_horizontal(good)).to_series()
        if not whole.all():
            for column in columns:
                faulty = ~numbers.select(pl.col(column).is_finite().fill_null(False)).to_series()
                faulty |= numbers[column].fill_null(0.0).abs() > MAX_NUMBER
                self.broken.add(
                    Fault(
                        name_of(self.path),
                        row["__row"],
                        f"{self.item.removesuffix('_id')} {row[self.item]!r}",
                        column,
                        f"{row[column]!r} is no finite number, or too large",
                    )
                    for row in self.table.filter(faulty).iter_rows(named=True)
                )
        as_float32 = numbers.select(pl.all().cast(pl.Float32))
        self.table = self.table.with_columns(as_float32).filter(whole)

    def rest(self) -> pl.DataFrame:
        """The rows that broke no rule; there may be none."""
        return self.table.drop("__row")


def pieces(
    original: Original,
    columns: Sequence[str],
    broken: Broken,
    *,
    separator: str = "\t",
    header: bool = True,
    skip: int = 0,
    size: int = PIECE,
) -> Iterator[pl.DataFrame]:
    """Read a text file without quotes, one row a line, in pieces.

    Args:
        original: the file.
        columns: needed columns; without a header, the names of all columns in order.
        broken: collects lines that have another number of cells.
        separator: between cells, one or more characters.
        header: whether the first line names the columns.
        skip: lines before the header, or before the first row.
        size: bytes read at a time.

    Yields:
        Tables of text, with `__row`, the row's number in the file from 1 on.

    Raises:
        InputError: a needed column is missing, or there are no rows.
    """
    names: list[str] = [] if header else list(columns)
    before = 0
    for block in whole_lines(original, size):
        while skip and block:
            _, _, block = block.partition(b"\n")
            skip -= 1
        if block and not names:
            first, _, block = block.partition(b"\n")
            names = _cells(first, separator)
            require(original, names, columns)
        if block:
            first_row, before = before, before + block.count(b"\n")
            yield _table(original, block, names, separator, first_row, broken)
    if not before:
        raise InputError(f"{original}: the file has no rows")


def plays_of(original: Original, tracks: pl.DataFrame, broken: Broken) -> Iterator[pl.DataFrame]:
    """A file of user, track and plays, without a header, in pieces.

    Args:
        original: the file.
        tracks: those whose plays are to be read: a column track_id.
        broken: collects broken rows.

    Yields:
        user_id, track_id, plays; plays are whole numbers from 1 on.
    """
    for piece in pieces(original, ["user_id", "track_id", "plays"], broken, header=False):
        rows = Rows(original, piece, broken)
        rows.ids("track_id")
        rows.ids("user_id")
        rows.count("plays", 1)
        yield rows.rest().join(tracks, on="track_id", how="semi", maintain_order="left")


def quoted(original: Original, has_header: bool = True) -> pl.DataFrame:
    """Read a whole CSV as text; its cells may be quoted, and have several lines.

    Raises:
        InputError: it can't be read.
    """
    try:
        return pl.read_csv(io.BytesIO(original.bytes()), has_header=has_header, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        # Of several lines, the others are advice to programmers.
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"{original}: not a readable .csv table ({reason}); fetch it again"
        ) from error


def whole_lines(original: Original, size: int = PIECE) -> Iterator[bytes]:
    """The text in blocks of about `size` bytes, each of whole lines that end in \\n.

    Raises:
        InputError: a line is longer than any line of text.
    """
    rest = b""
    for block in tracked(original.blocks(size), f"reading {original.name}", "pieces"):
        cut = block.rfind(b"\n") + 1
        if cut:
            yield (rest + block[:cut]).replace(b"\r\n", b"\n")
            rest = block[cut:]
        else:
            rest += block
        if len(rest) > LINE:
            raise InputError(
                f"{original}: has a line of over {LINE >> 20} MB, so it can't be text with a row a "
                "line; get the file again"
            )
    if rest:
        yield rest + b"\n"


def _cells(line: bytes, separator: str) -> list[str]:
    return line.decode("utf-8-sig", "replace").rstrip("\r").split(separator)


def require(original: Original, names: Sequence[str], columns: Sequence[str]) -> None:
    """Raise InputError unless all `columns` are among the file's `names`."""
    for column in columns:
        if column not in names:
            raise InputError(
                f"{original}: there is no column '{column}'; the file has: {listed(names)}. Is it "
                "another version of the data set? If a column only has another name, rename it"
            )


def _table(
    original: Original,
    block: bytes,
    names: Sequence[str],
    separator: str,
    before: int,
    broken: Broken,
) -> pl.DataFrame:
    """A piece as a table, without the lines that have too many or too few cells."""
    delimiter = separator if len(separator) == 1 else "\x1f"
    mark = delimiter.encode()
    if delimiter != separator:
        block = block.replace(separator.encode(), mark)
    lines = block.split(b"\n")[:-1]
    bad = [i for i, line in enumerate(lines) if line.count(mark) != len(names) - 1 or not line]
    if bad:
        broken.add(
            Fault(
                original.name,
                before + i + 1,
                f"line {lines[i][:40].decode('utf-8', 'replace')!r}",
                "line",
                f"has {lines[i].count(mark) + 1} cells instead of {len(names)}",
            )
            for i in bad
            if lines[i]  # an empty line is no row, and no fault
        )
        if len(bad) == len(lines):
            return pl.DataFrame(schema={**dict.fromkeys(names, pl.String()), "__row": pl.Int64()})
        left_out = set(bad)
        block = b"\n".join(line for i, line in enumerate(lines) if i not in left_out) + b"\n"
    table = pl.read_csv(
        io.BytesIO(block),
        separator=delimiter,
        quote_char=None,
        has_header=False,
        schema=dict.fromkeys(names, pl.String()),
        encoding="utf8-lossy",
    )
    numbers = np.delete(np.arange(before + 1, before + 1 + len(lines)), bad)
    return table.with_columns(pl.Series("__row", numbers))


class Tables:
    """The tables that a loader writes.

    Attributes:
        explicit: whether the listens are ratings; a loader says so.
    """

    def __init__(self, out: StrPath, about: About, broken: Broken) -> None:
        self.out, self.about, self.broken = made_folder(out), about, broken
        self.kinds: dict[str, str] = {}
        self.rows: dict[str, int] = {}
        self.explicit = False

    def path(self, name: str) -> Path:
        """Where a table lies."""
        return self.out / f"{name}.parquet"

    def listened_tracks(self) -> pl.DataFrame:
        """The tracks of the written table `listens`: a column track_id."""
        listens = pl.scan_parquet(self.path("listens"))
        return listens.select("track_id").unique().collect(engine="streaming")

    def write(self, name: str, table: pl.DataFrame, kind: str = "") -> None:
        """Write a table.

        Args:
            name: file name without its ending.
            table: what is in it.
            kind: `attributes`, `embeddings` or `texts`, where `shard` takes it as that.

        Raises:
            InputError: it would have no rows.
        """
        if table.is_empty():
            raise InputError(f"{self.about.title}: no usable rows are left for {name}")
        write_table(self.path(name), table)
        self.kinds[name], self.rows[name] = kind, len(table)

    def stream(
        self,
        name: str,
        frames: Iterable[pl.DataFrame],
        then: Callable[[pl.LazyFrame], pl.LazyFrame] = lambda rows: rows,
        kind: str = "",
    ) -> None:
        """Write a table piece by piece.

        Args:
            name: file name without its ending.
            frames: the pieces, all of one schema.
            then: what is done with all of them before they are one table, lazily.
            kind: as in `write`.

        Raises:
            InputError: it would have no rows.
        """
        parts = self.out / f".{name}.parts"
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir()
        try:
            count = 0
            for frame in frames:
                if not frame.is_empty():
                    frame.write_parquet(parts / f"{count:06}.parquet")
                    count += 1
            if count:
                self.sink(name, then(pl.scan_parquet(parts / "*.parquet")), kind)
            else:
                self.write(name, pl.DataFrame())
        finally:
            shutil.rmtree(parts, ignore_errors=True)

    def sink(self, name: str, rows: pl.LazyFrame, kind: str = "") -> None:
        """Write a table that may be larger than the memory.

        Raises:
            InputError: it would have no rows.
        """
        with atomic(self.path(name)) as temporary:
            rows.sink_parquet(temporary)
            count = int(pl.scan_parquet(temporary).select(pl.len()).collect().item())
            if not count:
                self.write(name, pl.DataFrame())
        self.kinds[name], self.rows[name] = kind, count

    def summary(self) -> Summary:
        """What was written; the list of broken rows is written now, beside the tables."""
        skipped = write_broken(self.out / "broken.csv", self.broken)
        return Summary(self.out, self.rows, self.kinds, skipped, self.explicit)


def filter_by_listeners(
    listens: pl.LazyFrame, listeners: int, each_once: bool = True
) -> pl.LazyFrame:
    """The listens of tracks that at least `listeners` users have played, in their order.

    Args:
        listens: user_id and track_id, and more.
        listeners: how many.
        each_once: whether a user and track have one row at most; then counting needs little memory,
            else as much as there are pairs.
    """
    if listeners <= 1:
        return listens
    pairs = listens if each_once else listens.select("user_id", "track_id").unique()
    counts = pairs.group_by("track_id").len().filter(pl.col("len") >= listeners)
    tracks = counts.select("track_id").collect(engine="streaming").lazy()
    return listens.join(tracks, on="track_id", how="semi", maintain_order="left")
