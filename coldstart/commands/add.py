"""The verb `add`: this week's tracks join a dataset, and are candidates at once."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from coldstart.errors import Broken, InputError
from coldstart.files import StrPath

if TYPE_CHECKING:
    from coldstart.shards.extension import Extension
    from coldstart.shards.reading import Shards
    from coldstart.shards.sources import Source


FEW = 64
"""Below so many files of sound, starting processes takes longer than decoding."""

SPECTROGRAM = 5
"""A spectrogram takes so many times as long as decoding."""


class Addition(NamedTuple):
    """What `add` did.

    Attributes:
        tracks: how many there are in the table.
        replaced: how many of them were in the dataset already.
        already: the same tracks with the same content were there: nothing was written.
        lacks: modality of the dataset → how many of the tracks lack it, if any do.
        skipped: broken items that were left out.
        seconds: how long it took.
    """

    tracks: int
    replaced: int
    already: bool
    lacks: dict[str, int]
    skipped: int
    seconds: float


def add(
    tracks: StrPath,
    *,
    shards: StrPath,
    run: StrPath | None = None,
    attributes: dict[str, str] | None = None,
    embeddings: dict[str, str] | None = None,
    texts: dict[str, str] | None = None,
    files: dict[str, str] | None = None,
    drop_columns: str | list[str] | None = None,
    keep_columns: str | list[str] | None = None,
    modalities: list[str] | None = None,
    genre_separator: str | None = None,
    columns: str | dict[str, str] | None = None,
    replace: bool = False,
    workers: int | None = None,
    skip_broken: bool = False,
) -> Addition:
    """Add new tracks to an existing dataset; an interrupted job is continued.

    Only these tracks are read and decoded, and stored as the dataset stores its own: with its
    sample rate, its attributes, its vocabulary. They are recommended, predicted and exported like
    all others, and neither learnt from nor measured: no model changes.

    Args:
        tracks: table of the new tracks, as `shard` reads it: track_id, title, artist[, artist_id,
            audio, genres, release_date], and any other columns.
        shards: folder of the dataset.
        run: a run fitted on these shards: predict the new tracks now, and compute what its nets
            compute; without it, the next `recommend` does so.
        attributes: tables of attributes by modality, as in `shard`: `--attributes.mgp mgp.parquet`;
            the columns must be those that the dataset has, in any order.
        embeddings: vectors that something else has computed: `--embeddings.mert mert.parquet`.
        texts: tables of track_id and text: `--texts.lyrics lyrics.parquet`.
        files: tables of track_id and path: `--files.cover covers.csv`.
        drop_columns: columns of attributes or embeddings that are no attributes.
        keep_columns: columns of embeddings that look like ids, and are numbers of the vectors.
        modalities: which of the table's columns `audio` and `genres` to read; by default those
            that it has, and the dataset has.
        genre_separator: what separates genres in a text, such as ";".
        columns: what the track table calls its columns, as in `shard`.
        replace: tracks that are in the dataset already are from now on recommended as they are
            here; their old content stays for training and tests. A removed track comes back.
        workers: processes; by default one a core, or this one alone for a few files, which are
            decoded sooner than other processes have started.
        skip_broken: leave broken items out and list them in `shards`/broken.csv.

    Returns:
        What was added.
    """
    from coldstart.runs.extracted import clear, tables_of_new
    from coldstart.shards.extension import extend
    from coldstart.shards.matching import must_be_given, sources_like
    from coldstart.shards.reading import Shards
    from coldstart.shards.writing import must_be_writable
    from coldstart.tables.column_names import column_names
    from coldstart.tables.columns import column_choice
    from coldstart.tables.table import write_broken
    from coldstart.tables.tracks import TRACK_COLUMNS, read_tracks

    start = time.monotonic()
    dataset = Shards(shards)
    must_be_writable(dataset, "take new tracks")
    if run is not None:
        _must_read(run, dataset)
    broken = Broken(skip_broken)
    names = column_names(columns, (*TRACK_COLUMNS, "text", "path"))
    of_tracks = {column: name for column, name in names.items() if column in TRACK_COLUMNS}
    of_others = {key: name for key, name in names.items() if key in ("track_id", "text", "path")}
    table = read_tracks(tracks, broken, genre_separator, of_tracks)
    given: Mapping[str, Mapping[str, str]] = {
        "attributes": attributes or {},
        "embeddings": embeddings or {},
        "texts": texts or {},
        "files": files or {},
    }
    must_be_given(dataset, given)
    tables = tables_of_new(dataset, table, Path(tracks), given, broken, workers)
    files_with_columns = [*given["attributes"].values(), *given["embeddings"].values()]
    choice = column_choice(drop_columns, keep_columns, files_with_columns, of_others)
    sources = sources_like(
        dataset, table, Path(tracks), modalities, tables, broken, choice, of_others
    )
    extension = extend(
        dataset,
        table,
        sources,
        file=Path(tracks).name,
        replace=replace,
        workers=workers or _processes(sources.values()),
        broken=broken,
    )
    clear(dataset)
    if skipped := write_broken(dataset.folder / "broken.csv", broken):
        print(skipped)
    _show(extension, dataset, run)
    if run is not None:
        _predict(run)
    seconds = time.monotonic() - start
    track = shlex.quote(table["track_id"][0])
    print(f"{seconds:.1f} s")
    if run is not None:
        print(f"next: coldstart recommend --run {shlex.quote(str(run))} --like={track}")
    return Addition(
        extension.tracks,
        extension.replaced,
        extension.already,
        extension.lacks,
        len(broken.faults),
        seconds,
    )


def _processes(sources: Iterable[Source]) -> int | None:
    """This process alone for a few files of sound; None: one a core."""
    costs = [
        len(source.items) * (SPECTROGRAM if source.reader == "frames" else 1)
        for source in sources
        if source.costly
    ]
    return 1 if sum(costs) < FEW else None


def _must_read(run: StrPath, dataset: Shards) -> None:
    """Raise InputError, before anything is written, if the run was fitted on another dataset."""
    from coldstart.runs.places import data_places
    from coldstart.shards.reading import Shards

    place = data_places(run)["shards"]
    if place is None or not (Path(place) / "dataset.json").is_file():
        return  # `open_run` says that they aren't there
    if Shards(place).folder.resolve() != dataset.folder.resolve():
        raise InputError(
            f"{run}: was fitted on {place}, not on {dataset.folder}; add the tracks to the run's "
            "own shards, or leave --run out"
        )


def _show(extension: Extension, dataset: Shards, run: StrPath | None) -> None:
    count = f"{extension.tracks:,} tracks"
    if extension.already:
        print(f"{dataset.folder}: {count}, already there, with the same content")
    else:
        again = f", {extension.replaced:,} of them in the place of what was there"
        print(f"added {count} to {dataset.folder}{again if extension.replaced else ''}")
    for name, lacking in extension.lacks.items():
        print(f"{name}: {lacking:,} of the {count} lack it")
    if extension.computed and run is None:
        print(f"computed when a run that reads it is used: {', '.join(extension.computed)}")


def _predict(run: StrPath) -> None:
    """Compute what nets compute for the new tracks, and the run's own vectors of them."""
    from coldstart.runs.predictions import predictions_of
    from coldstart.runs.run import open_run
    from coldstart.targets.track_factors import TrackFactors

    opened = open_run(run)
    if isinstance(opened.model.target, TrackFactors):
        predictions = predictions_of(opened)
        print(f"{run}: has the vectors of {len(predictions.track_ids):,} tracks")
