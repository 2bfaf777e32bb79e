"""The verb `split`: tracks → train, val and test, and a report of what leaks between them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, get_args

from coldstart.errors import Broken, InputError, check_seed, one_of, without_passwords
from coldstart.files import StrPath, writable, write_json
from coldstart.spark.session import ComputeEngine, SparkOptions, spark_options

if TYPE_CHECKING:
    import polars as pl

    from coldstart.tables.leaks import Digester

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
    engine: ComputeEngine = "local",
    master: str | None = None,
    spark: dict[str, Any] | None = None,
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
        engine: what reads the audio files: `local`, this machine, or `spark`, a cluster.
        master: of Spark, such as `yarn` or `spark://host:7077`; without it, what spark-submit or
            Spark's own configuration says.
        spark: Spark's settings: `--spark.executor.memory=4g`.

    Returns:
        Table of track_id and split, in the order of the track table.
    """
    import polars as pl

    from coldstart.tables.leaks import leaks
    from coldstart.tables.parts import SAMPLE, folder_of_paths
    from coldstart.tables.splits import SPLITS
    from coldstart.tables.table import write_broken, write_table
    from coldstart.tables.tracks import read_tracks

    writable(out)
    check_seed(seed)
    cluster = spark_options(engine, master, spark)
    if cluster is not None and not hash_audio:
        raise InputError(
            "--engine spark spreads the reading of audio files, and with --hash-audio false none "
            "is read; leave one of the two out"
        )
    broken = Broken(skip_broken)
    table = _needed(read_tracks(tracks, broken, columns=columns))
    files = table["audio"].drop_nulls() if "audio" in table.columns else pl.Series([])
    folder = folder_of_paths(tracks, files[:SAMPLE].to_list()) if hash_audio else None
    sides = assign(table, method, fractions, seed)
    result = pl.DataFrame({"track_id": table["track_id"], "split": sides})
    with _digester(cluster if len(files) else None, out) as digester:
        leaking = leaks(table.with_columns(split=sides), folder, digester)
    report: dict[str, Any] = {
        "tracks": without_passwords(os.fspath(tracks)),
        "method": method,
        "fractions": list(fractions),
        "seed": seed,
        "counts": {name: int((result["split"] == name).sum()) for name in SPLITS},
        "leaks": leaking,
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


def _needed(table: pl.DataFrame) -> pl.DataFrame:
    """A track table without what a split doesn't look at: half of the memory."""
    wanted = ("track_id", "artist_id", "audio", "release_date")
    return table.select(name for name in wanted if name in table.columns)


@contextmanager
def _digester(cluster: SparkOptions | None, out: StrPath) -> Iterator[Digester]:
    """What reads the audio files: this machine, or a cluster."""
    from coldstart.tables.leaks import digests

    if cluster is None:
        yield digests
        return
    from coldstart.spark.digests import digester_on
    from coldstart.spark.exchange import exchange_folder
    from coldstart.spark.session import spark_session

    with spark_session(cluster) as session, exchange_folder(out) as folder:
        yield digester_on(session, folder)


def assign(table: pl.DataFrame, method: Method, fractions: Sequence[float], seed: int) -> pl.Series:
    """Give each row its side: train, val or test.

    The random split is `numpy.random.default_rng(seed).permutation(n)` cut at the rounded-down
    cumulated fractions, so that others can make the same one.

    >>> import polars as pl
    >>> table = pl.DataFrame({"track_id": list("abcdefghij"), "artist_id": list("xxxyyyzzzw")})
    >>> sides = assign(table, "random", (0.8, 0.1, 0.1), seed=0)
    >>> [(sides == side).sum() for side in ("train", "val", "test")]
    [8, 1, 1]
    """
    import numpy as np
    import polars as pl

    from coldstart.tables.splits import SPLITS

    if len(fractions) != 3 or min(fractions) < 0 or not abs(sum(fractions) - 1) < 1e-6:  # or NaN
        raise InputError(f"fractions: {tuple(fractions)} are not three shares that add up to 1")
    if seed < 0:
        raise InputError(f"seed is a whole number from 0 on, not {seed}")
    n, names = len(table), pl.Series("split", SPLITS)
    one_of("method", method, get_args(Method))
    generator = np.random.default_rng(seed)
    cuts = [int(n * fractions[0] + 1e-9), int(n * (fractions[0] + fractions[1]) + 1e-9)]
    if method == "artist":
        # Whole artists, in random order, until each side has its share of tracks.
        artist_of = table["artist_id"].fill_null("").rank("dense").to_numpy().astype(np.int64) - 1
        counts = np.bincount(artist_of)
        if len(counts) < 3:
            raise InputError(
                f"an artist split needs at least 3 artists; the table has {len(counts)}"
            )
        order = generator.permutation(len(counts))
        middle = np.cumsum(counts[order]) - counts[order] / 2
        artist_side = np.empty(len(counts), dtype=np.int8)
        artist_side[order] = np.searchsorted(cuts, middle, side="right")
        return names.gather(artist_side[artist_of])
    order = generator.permutation(n)
    if method == "temporal":
        dates = table["release_date"] if "release_date" in table.columns else None
        if dates is None or dates.null_count():
            where = "no such column" if dates is None else f"{dates.null_count():,} tracks lack it"
            raise InputError(f"a temporal split needs every track's release_date: {where}")
        days = dates.cast(pl.Int32).to_numpy()
        order = order[np.argsort(days[order], kind="stable")]
    side = np.empty(n, dtype=np.int8)
    side[order] = np.searchsorted(cuts, np.arange(n), side="right")
    return names.gather(side)


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
