"""The verb `split`: tracks → train, val and test, and a report of what leaks between them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from coldstart.errors import Broken, InputError, check_seed, one_of
from coldstart.files import StrPath, file_hash, unusable, writable, write_json

if TYPE_CHECKING:
    import polars as pl

Method = Literal["random", "artist", "temporal"]


def split(
    tracks: StrPath,
    *,
    out: StrPath,
    method: Method = "random",
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    hash_audio: bool = True,
    columns: str | dict[str, str] | None = None,
    skip_broken: bool = False,
) -> pl.DataFrame:
    """Split tracks into train, val and test, and report what leaks between them.

    Reads the track table (and the audio files it names, to find duplicates). Writes `out`
    (track_id, split) and, beside it, `<out>.report.json`.

    Args:
        tracks: track table, Parquet, CSV, TSV or JSON lines, also .gz, or a folder or a pattern of
            such files: track_id, title, artist[, artist_id, audio, release_date].
        out: table to write, .parquet or .csv.
        method: `random` by track; `artist`: no artist on two sides; `temporal`: the newest
            releases are the test tracks, the next newest validation.
        fractions: shares of train, val and test; they add up to 1.
        seed: of the shuffle; `temporal` uses it only to order releases of the same day.
        hash_audio: read all audio files to find those with the same bytes; `false` for a very
            large catalogue.
        columns: what the table calls its columns: `track_id=song,title=name`.
        skip_broken: leave broken rows out and list them in `<out>.broken.csv`.

    Returns:
        Table of track_id and split, in the order of the track table.
    """
    import polars as pl

    from coldstart.tables.parts import folder_of_paths
    from coldstart.tables.splits import SPLITS
    from coldstart.tables.table import write_broken, write_table
    from coldstart.tables.tracks import read_tracks

    writable(out)
    check_seed(seed)
    broken = Broken(skip_broken)
    table = read_tracks(tracks, broken, columns=columns)
    files = table["audio"].drop_nulls().to_list() if "audio" in table.columns else []
    folder = folder_of_paths(tracks, files) if hash_audio else None
    sides = assign(table, method, fractions, seed)
    result = pl.DataFrame({"track_id": table["track_id"], "split": sides})
    report: dict[str, Any] = {
        "tracks": os.fspath(tracks),
        "method": method,
        "fractions": list(fractions),
        "seed": seed,
        "counts": {name: int((result["split"] == name).sum()) for name in SPLITS},
        "leaks": leaks(table.with_columns(split=result["split"]), folder),
    }
    if method == "temporal":
        days = table.filter(result["split"] != "train")["release_date"]
        report["held_out_from"] = str(days.min()) if len(days) else None
    write_table(out, result)
    write_json(f"{out}.report.json", report)
    if skipped := write_broken(f"{out}.broken.csv", broken):
        print(skipped)
    print(_summary(report))
    print(f"wrote {out}\nnext: coldstart factorize LISTENS --splits {out} --out factors")
    return result


def assign(table: pl.DataFrame, method: Method, fractions: Sequence[float], seed: int) -> list[str]:
    """Give each row its side: train, val or test.

    The random split is `numpy.random.default_rng(seed).permutation(n)` cut at the rounded-down
    cumulated fractions, so that others can make the same one.

    >>> import polars as pl
    >>> table = pl.DataFrame({"track_id": list("abcdefghij"), "artist_id": list("xxxyyyzzzw")})
    >>> sides = assign(table, "random", (0.8, 0.1, 0.1), seed=0)
    >>> sides.count("train"), sides.count("val"), sides.count("test")
    (8, 1, 1)
    """
    import numpy as np
    import polars as pl

    from coldstart.tables.splits import SPLITS

    if len(fractions) != 3 or min(fractions) < 0 or not abs(sum(fractions) - 1) < 1e-6:  # or NaN
        raise InputError(f"fractions: {tuple(fractions)} are not three shares that add up to 1")
    if seed < 0:
        raise InputError(f"seed is a whole number from 0 on, not {seed}")
    n = len(table)
    one_of("method", method, get_args(Method))
    generator = np.random.default_rng(seed)
    cuts = [int(n * fractions[0] + 1e-9), int(n * (fractions[0] + fractions[1]) + 1e-9)]
    if method == "artist":
        # Whole artists, in random order, until each side has its share of tracks.
        artists = table["artist_id"].fill_null("").to_numpy()
        names, artist_of = np.unique(artists, return_inverse=True)
        if len(names) < 3:
            raise InputError(
                f"an artist split needs at least 3 artists; the table has {len(names)}"
            )
        order = generator.permutation(len(names))
        counts = np.bincount(artist_of, minlength=len(names))
        middle = np.cumsum(counts[order]) - counts[order] / 2
        artist_side = np.empty(len(names), dtype=int)
        artist_side[order] = np.searchsorted(cuts, middle, side="right")
        return [SPLITS[side] for side in artist_side[artist_of]]
    order = generator.permutation(n)
    if method == "temporal":
        dates = table["release_date"] if "release_date" in table.columns else None
        if dates is None or dates.null_count():
            where = "no such column" if dates is None else f"{dates.null_count():,} tracks lack it"
            raise InputError(f"a temporal split needs every track's release_date: {where}")
        days = dates.cast(pl.Int32).to_numpy()
        order = order[np.argsort(days[order], kind="stable")]
    side = np.empty(n, dtype=int)
    side[order] = np.searchsorted(cuts, np.arange(n), side="right")
    return [SPLITS[s] for s in side]


def leaks(table: pl.DataFrame, folder: Path | None) -> dict[str, object]:
    """Count the artists on both sides of train | test, and files of the same bytes on two sides.

    Args:
        table: a track table with a `split` column.
        folder: what its `audio` paths are relative to; None: files are not compared.
    """
    import polars as pl

    artists = set(table.filter(pl.col("split") == "train")["artist_id"].drop_nulls())
    others = table.filter(pl.col("split") != "train")["artist_id"]
    report: dict[str, object] = {
        "artists_on_both_sides": len(artists & set(others.drop_nulls())),
        "held_out_tracks_of_training_artists": int(others.is_in(list(artists)).sum()),
    }
    if folder is not None and "audio" in table.columns:
        by_hash: dict[str, list[tuple[str, str]]] = {}
        for track, audio, side in table.select("track_id", "audio", "split").iter_rows():
            path = folder / (audio or "")
            if audio and not unusable(path):  # a missing file is reported by `shard`
                by_hash.setdefault(file_hash(path), []).append((track, side))
        report["duplicate_audio"] = [
            [track for track, _ in copies]
            for copies in by_hash.values()
            if len({side for _, side in copies}) > 1
        ]
    return report


def _summary(report: dict[str, Any]) -> str:
    counts, leaks = report["counts"], report["leaks"]
    lines = [
        f"split ({report['method']}): " + ", ".join(f"{n:,} {name}" for name, n in counts.items()),
        f"leaks: {leaks['artists_on_both_sides']:,} artists are on both sides of train and held-out"
        f" ({leaks['held_out_tracks_of_training_artists']:,} held-out tracks)",
    ]
    if "duplicate_audio" in leaks:
        lines.append(
            f"leaks: {len(leaks['duplicate_audio']):,} audio files stand on two sides with the "
            "same bytes"
        )
    return "\n".join(lines)
