"""The report on a dataset's sound: a row a file, `audio_report.parquet`, and a sentence."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from coldstart.audio import ffmpeg
from coldstart.audio.mono import Finding
from coldstart.errors import InputError
from coldstart.files import atomic

NAME = "audio_report.parquet"

SCHEMA = {
    "track_id": pl.String,
    "modality": pl.String,
    "file": pl.String,
    "seconds": pl.Float64,
    "rate": pl.Int64,
    "channels": pl.Int64,
    "peak": pl.Float64,
    "clipped": pl.Float64,
    "silent": pl.Float64,
    "offset": pl.Float64,
    "done": pl.String,
    "doubts": pl.String,
}
"""Columns: `done` is empty for an ordinary file; a file that was left out has its reason there."""

LEFT_OUT = "left out: "

_REMEDY = "delete it: the dataset works without it, and it is written again with the next sound"


def row_of(track: str, file: str, finding: Finding | None, reason: str = "") -> dict[str, Any]:
    """A file's row, as JSON holds it.

    Args:
        track: its id.
        file: name of the file.
        finding: what it is like; None if it can't be used.
        reason: why it can't.
    """
    row = {"track_id": track, "file": file}
    return row | (finding._asdict() if finding else {"done": f"{LEFT_OUT}{reason}", "doubts": ""})


def write_report(
    folder: Path, modality: str, rows: Sequence[Mapping[str, Any]], anew: bool = True
) -> None:
    """Write a modality's rows; those of others, stored from the same files, stay.

    Args:
        folder: of the dataset.
        modality: that the files were stored as, such as `audio` or `cqt`.
        rows: in the dataset's order.
        anew: whether the modality's earlier rows are left out; else only those of the same tracks.
    """
    path = folder / NAME
    columns = [{**dict.fromkeys(SCHEMA), **row, "modality": modality} for row in rows]
    report = pl.DataFrame(columns, SCHEMA, orient="row")
    if path.is_file():
        replaced = pl.col("modality") == modality
        if not anew:
            replaced &= pl.col("track_id").is_in(report["track_id"].to_list())
        others = _stored(path).filter(~replaced)
        report = pl.concat([others, report], how="diagonal_relaxed").sort(
            "modality", maintain_order=True
        )
    with atomic(path) as temporary:
        report.write_parquet(temporary)


def _stored(path: Path) -> pl.DataFrame:
    """A dataset's report.

    Raises:
        InputError: it is damaged.
    """
    try:
        report = pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"{path}: not a readable report of sound ({reason}); {_REMEDY}") from error
    if not {"modality", "track_id", "done"} <= set(report.columns):
        raise InputError(f"{path}: lacks columns of a report of sound; {_REMEDY}")
    return report


def lacked_decoder(folder: Path, modality: str, tracks: Collection[str]) -> bool:
    """Whether files of these tracks were left out for want of FFmpeg, which is installed now."""
    path = folder / NAME
    if ffmpeg.pyav() is None or not path.is_file():
        return False
    named = pl.col("track_id").is_in(list(tracks))
    rows = _stored(path).filter((pl.col("modality") == modality) & named)
    return bool(rows["done"].str.ends_with(ffmpeg.INSTALLATION).any())


def summary(modality: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """What the rows say, in a line."""
    used = [row for row in rows if not row["done"].startswith(LEFT_OUT)]
    hours = sum(row["seconds"] for row in used) / 3600
    counts = {
        "treated": sum(bool(row["done"]) for row in used),
        "doubtful": sum(bool(row["doubts"]) for row in used),
        "left out": len(rows) - len(used),
    }
    told = "".join(f", {count:,} {what}" for what, count in counts.items() if count)
    length = f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"
    return f"{modality}: {len(used):,} files, {length} of sound{told or ', all ordinary'}: {NAME}"


def remarks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of each file that was treated or is doubtful, what is to be said."""
    return [
        f"{row['file']}: {'; '.join(filter(None, (row['done'], row['doubts'])))}"
        for row in rows
        if not row["done"].startswith(LEFT_OUT) and (row["done"] or row["doubts"])
    ]
