"""Listens since the fit, kept beside the factors: `updates/`, and the factors with all of them.

The factors' own files never change, so what was fitted to them stays valid. Of a folder `F` of
factors with the id I there are

    F/updates/I/updates.json      which updates count, in order, and which state has all of them
    F/updates/I/listens/*.parquet the listens of each, those of earlier ones left out
    F/updates/I/state-*/          the factors with all of them: a folder as `Factors.write` writes
    F/updates/report.json         the last report

`updates.json` is replaced last and as a whole: a process that is killed before leaves all as it
was. Updates of other factors, which lay in the folder before, have another id and don't count.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from coldstart.errors import InputError
from coldstart.factors.events import PAIR, TIME
from coldstart.factors.factors import Factors
from coldstart.files import MISSING, StrPath, atomic_folder, fingerprint, unusable, write_json
from coldstart.forms.content import (
    at_least,
    json_in,
    like,
    list_of,
    moment,
    must_have_form,
    or_none,
    record,
    text,
    whole,
)
from coldstart.tables.stored import read_stored

VERSION = 1

CONTENT = record(
    {
        "version": whole,
        "updates": list_of(
            record(
                {
                    "file": like(r"listens/\d{6,}\.parquet"),
                    "fingerprint": text,
                    "listens": at_least(0, whole),
                    "first": or_none(moment),
                    "last": or_none(moment),
                },
                others=True,
            )
        ),
        "state": or_none(like(r"state-[0-9a-f]+")),
    },
    others=True,
)
"""The form of updates.json."""

COLUMNS = dict.fromkeys(PAIR, pl.String)
VALUES = {"plays": pl.Float64, "rating": pl.Float64, TIME: pl.Datetime}


class Updates:
    """The updates of one folder of factors; only `updates.json` is read at first.

    Args:
        folder: of the factors.
        space: their id.

    Raises:
        InputError: `updates.json` can't be read.
    """

    def __init__(self, folder: StrPath, space: str) -> None:
        self.folder = Path(folder) / "updates" / space
        self.path = self.folder / "updates.json"
        self.rows: list[dict[str, Any]] = []
        self.state: str | None = None
        if unusable(self.path) == MISSING:
            return
        remedy = f"remove {self.folder}, and give the listens since the fit again"
        content = json_in(self.path, remedy)
        must_have_form(content, record({"version": whole}, others=True), self.path, remedy)
        if content["version"] != VERSION:
            raise InputError(f"{self.path}: updates of version {content['version']}, not {VERSION}")
        must_have_form(content, CONTENT, self.path, remedy)
        self.rows, self.state = content["updates"], content["state"]
        if bool(self.rows) != bool(self.state):
            raise InputError(
                f"{self.path}: has updates without a state, or none with one; {remedy}"
            )

    @property
    def state_folder(self) -> Path | None:
        """The factors with all updates; None without updates."""
        return self.folder / self.state if self.state else None

    def listens(self, until: int | None = None) -> Iterator[pl.DataFrame]:
        """The tables of the updates, or of the first `until` of them."""
        for row in self.rows[:until]:
            path = self.folder / row["file"]
            remedy = f"remove {self.folder}, and give the listens since the fit again"
            yield read_stored(path, COLUMNS, "", remedy, optional=VALUES)

    def pairs(self, value: str, until: int | None = None) -> pl.DataFrame:
        """One row a pair of all updates, or of the first `until` of them."""
        return pairs_of(list(self.listens(until)), value)

    def write(self, rows: list[dict[str, Any]], factors: Factors) -> None:
        """Make these the updates that count; `factors` have all of them folded in."""
        names = sorted(row["fingerprint"] for row in rows)
        state = f"state-{fingerprint(self.folder.name, names)}" if rows else None
        if state:
            with atomic_folder(self.folder / state) as new:
                factors.write(new)
        write_json(self.path, {"version": VERSION, "updates": rows, "state": state})
        files = {row["file"] for row in rows}
        for path in [*self.folder.glob("state-*"), *self.folder.glob(".state-*")]:
            if path.name != state:
                shutil.rmtree(path, ignore_errors=True)
        for path in self.folder.glob("listens/*.parquet"):
            if f"listens/{path.name}" not in files:
                path.unlink(missing_ok=True)
        self.rows, self.state = rows, state


def pairs_of(tables: list[pl.DataFrame], value: str) -> pl.DataFrame:
    """Tables of listens → one row a pair, sorted: plays added up, ratings averaged."""
    columns = [*PAIR, value]
    schema = {"user_id": pl.String, "track_id": pl.String, value: pl.Float64}
    together = pl.concat([pl.DataFrame(schema=schema), *(each.select(columns) for each in tables)])
    # In one order, so that sums don't depend on that of the updates.
    together = together.sort(columns)
    combine = pl.col(value).sum() if value == "plays" else pl.col(value).mean()
    return together.group_by(PAIR, maintain_order=True).agg(combine)
