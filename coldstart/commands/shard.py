"""The verb `shard`: tables and audio files → shards."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from coldstart.errors import Broken, InputError, check_seed, without_passwords
from coldstart.files import StrPath, absolute, is_remote, writable
from coldstart.processes import MERGE, JobPart, chosen_part
from coldstart.reporting.progress import Progress
from coldstart.spark.session import ComputeEngine, SparkOptions, spark_options

if TYPE_CHECKING:
    from coldstart.extractors.base import Extractor
    from coldstart.shards.jobs import TarRunner
    from coldstart.shards.reading import Shards
    from coldstart.shards.sources import Source


def shard(
    tracks: StrPath,
    *,
    out: StrPath,
    splits: StrPath | None = None,
    attributes: dict[str, str] | None = None,
    embeddings: dict[str, str] | None = None,
    texts: dict[str, str] | None = None,
    files: dict[str, str] | None = None,
    extract: str | None = None,
    extractor: dict[str, Any] | None = None,
    drop_columns: str | list[str] | None = None,
    keep_columns: str | list[str] | None = None,
    modalities: list[str] | None = None,
    genre_separator: str | None = None,
    columns: str | dict[str, str] | None = None,
    sample_rate: int | None = None,
    store: Literal["flac", "cqt", "mel"] = "flac",
    bits: Literal[8, 16] = 8,
    bins: int = 96,
    fmin: float = 32.7,
    frame_hop: int = 1024,
    shard_size: int | None = None,
    workers: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    skip_broken: bool = False,
    part: str | None = None,
    merge: bool = False,
    engine: ComputeEngine = "local",
    master: str | None = None,
    spark: dict[str, Any] | None = None,
) -> Shards:
    """Write a dataset of shards, or add modalities to one; an interrupted job is continued.

    Reads the track table, the audio files it names, and the attribute tables. Writes one folder a
    modality into `out`; existing folders that were made from the same source stay untouched.

    Args:
        tracks: Parquet, CSV, TSV or JSON lines, also .gz, or a folder or a pattern of such files:
            track_id, title, artist[, artist_id, audio, genres, release_date].
        out: folder of the dataset, new or to be extended; or an address in an object store, such
            as s3://bucket/shards: written in the cache, and uploaded when it is whole.
        splits: table of track_id and split. Without it, a new dataset's tracks are all `test`:
            music to be recommended, not to be learnt from.
        attributes: tables of attributes by modality: `--attributes.mgp mgp.parquet`.
        embeddings: vectors that something else has computed: `--embeddings.mert mert.parquet` with
            track_id and a list (or columns) of numbers, or an .npy [tracks, width] whose rows are
            the track table's.
        texts: tables of track_id and text: `--texts.lyrics lyrics.parquet`.
        files: tables of track_id and path, relative to the table's folder, whose files are stored
            as they are: `--files.cover covers.csv`.
        extract: an extractor that hears the sound: `--extract MusiCNN` writes its vectors as the
            modality `musicnn`, and its tags, if it has any, as attributes `musicnn_tags`; of tracks
            that are added later, too. See `coldstart plugins`.
        extractor: its settings: `--extractor.layer penultimate`.
        drop_columns: columns of attributes or embeddings that are no attributes, such as ids:
            `--drop-columns NAME,NAME`, or a list of names.
        keep_columns: columns that are attributes although they look like ids, row numbers or times.
        modalities: which of the table's columns to shard; by default `audio` and `genres` where
            it has them.
        genre_separator: what separates genres in a text, such as ";". By default `|`; a semicolon,
            comma or slash where the column shows that it does; and the texts of lists are read.
        columns: what the track table calls its columns: `track_id=song,title=name`; `track_id`
            holds for the other tables too, where they have that column. Also `text` and `path`, of
            texts and files.
        sample_rate: Hz of the stored audio; by default what the dataset has, else 22,050.
        store: how audio is kept: `flac`, in the folder `audio`; or `cqt` or `mel`, spectrograms in
            a folder of that name, with which training needs no decoding and no transform.
        bits: of a spectrogram's values: 8, in steps of half a decibel, or 16.
        bins: a spectrogram's frequency bins; constant-Q has 12 an octave.
        fmin: Hz of its lowest bin.
        frame_hop: samples between its frames.
        shard_size: tracks in a shard; by default 16 to 256, so that there are about 64 shards for
            all cores to work at. Training needs at least as many as GPUs × loader workers.
        workers: processes; by default one a core.
        seed: of the tracks' order within a split. Streams shuffle only what lies near together,
            so tracks are shuffled once, here.
        overwrite: write the named modalities anew where they come from another source.
        skip_broken: leave broken items out and list them in `out`/broken.csv.
        part: `I/N`: write the I-th of N parts of the tars, for a job scheduler that spreads N of
            them over machines with shared storage; then the same with `merge`.
        merge: list what all parts have written; an error if a tar is missing.
        engine: what writes the tars: `local`, this machine, or `spark`, a cluster.
        master: of Spark, such as `yarn` or `spark://host:7077`; without it, what spark-submit or
            Spark's own configuration says.
        spark: Spark's settings: `--spark.executor.memory=4g`.

    Returns:
        The dataset; after a part, without the modalities that it is a part of.
    """
    from coldstart.audio.storage import store_facts
    from coldstart.runs.extracted import clear, extractor_sources, modality_names
    from coldstart.shards.build import place_tracks
    from coldstart.shards.sources import sources_of
    from coldstart.shards.upload import staging, upload
    from coldstart.tables.column_names import column_names
    from coldstart.tables.columns import column_choice
    from coldstart.tables.table import write_broken
    from coldstart.tables.tracks import TRACK_COLUMNS, read_tracks

    check_seed(seed)
    cluster = spark_options(engine, master, spark)
    share = chosen_part(part, merge, cluster is not None)
    address = os.fspath(out) if is_remote(out) else None
    if address and (cluster or merge or share):
        raise InputError(
            f"{address}: is uploaded by one machine; with --part, --merge or --engine spark write "
            "to storage that all machines share, and upload that"
        )
    out = staging(address) if address else writable(out)
    if extract is not None and (cluster or merge or share):
        raise InputError(
            "--extract hears all files on this machine; give each machine a share of the track "
            "table by `coldstart extract`, and the tables that it writes as --embeddings.NAME"
        )
    if cluster is not None:  # executors run elsewhere
        out, tracks = out.absolute(), absolute(tracks)
    hearing = _extractor(extract, extractor)
    sample_rate = sample_rate or _sample_rate_of(out)
    if (shard_size is not None and shard_size < 1) or not 1000 <= sample_rate <= 192_000:
        raise InputError("shard_size is at least 1, sample_rate 1,000 to 192,000 Hz")
    audio = store_facts(store, sample_rate, frame_hop, bins, fmin, bits)
    broken = Broken(skip_broken)
    names = column_names(columns, (*TRACK_COLUMNS, "text", "path"))
    of_tracks = {column: name for column, name in names.items() if column in TRACK_COLUMNS}
    common = ("track_id", "text", "path")
    of_others = {column: name for column, name in names.items() if column in common}
    for column, flag, named in (("text", "texts", texts), ("path", "files", files)):
        if column in names and not named:
            raise InputError(f"columns: '{column}' is of --{flag}.NAME, which isn't given")
    table = read_tracks(tracks, broken, genre_separator, of_tracks)
    kinds = {
        "attributes": attributes,
        "embeddings": embeddings,
        "texts": texts,
        "files": files,
    }
    tables = {
        kind: {name: absolute(file) if cluster else file for name, file in (named or {}).items()}
        for kind, named in kinds.items()
    }
    files_with_columns = [*tables["attributes"].values(), *tables["embeddings"].values()]
    with Progress("reading what belongs to the tracks"):
        choice = column_choice(drop_columns, keep_columns, files_with_columns, of_others)
        sources = sources_of(
            table, Path(tracks), modalities, tables, audio, broken, choice, of_others
        )
    if hearing is not None and (twice := sources.keys() & modality_names(hearing).values()):
        raise InputError(f"--extract {extract}: there are two sources for '{min(twice)}'")
    shard_size = shard_size or min(256, max(16, len(table) // 64))
    dataset = place_tracks(table, splits, out, shard_size, seed)
    if hearing is not None:
        heard = extractor_sources(
            hearing, extractor or {}, dataset, table, Path(tracks), broken, workers
        )
        if not heard:
            print(f"{extract}: already there, from the same source")
        sources |= heard
    with _runner(cluster) as runner:
        way = _Way(overwrite, workers, share, merge, runner)
        dataset = _write_modalities(dataset, sources, len(table), way, broken)
    clear(dataset)
    if share is not None:
        print(MERGE)
        return dataset
    if skipped := write_broken(out / "broken.csv", broken):
        print(skipped)
    if address:
        done = upload(out, address)
        print(
            f"uploaded {done.files:,} files, {done.bytes / 1e6:,.1f} MB; {done.skipped:,} are "
            "there already"
        )
    place = without_passwords(address or str(out))
    print(f"wrote {place}")
    config = _config_for(dataset.modalities)
    flags = f"--data.shards {place} --data.factors factors"
    print(f"next: coldstart fit --config {config}.yaml {flags}")
    return dataset


class _Way(NamedTuple):
    """How modalities are written: the verb's arguments of these names, and what spreads tars."""

    overwrite: bool
    workers: int | None
    part: JobPart | None
    merge: bool
    runner: TarRunner | None


@contextmanager
def _runner(cluster: SparkOptions | None) -> Iterator[TarRunner | None]:
    """What writes tars on a cluster; None without one."""
    if cluster is None:
        yield None
        return
    from coldstart.spark.session import spark_session
    from coldstart.spark.tars import spread_tars

    with spark_session(cluster) as session:
        yield partial(spread_tars, session)


def _extractor(name: str | None, settings: Mapping[str, Any] | None) -> Extractor | None:
    """The extractor that is to hear the sound, with its weights."""
    if name is None:
        if settings:
            raise InputError("--extractor is of --extract NAME, which isn't given")
        return None
    from coldstart.extractors.base import open_extractor

    return open_extractor(name, settings or {})


def _sample_rate_of(out: Path) -> int:
    """Of the dataset's audio, if it has any: one more modality needs no flag of the first."""
    from coldstart.audio.codec import SAMPLE_RATE
    from coldstart.shards.reading import Shards

    modalities = Shards(out).modalities if (out / "dataset.json").is_file() else {}
    rate: int = modalities.get("audio", {}).get("sample_rate", SAMPLE_RATE)
    return rate


def _write_modalities(
    dataset: Shards,
    sources: Mapping[str, Source],
    tracks: int,
    way: _Way,
    broken: Broken,
) -> Shards:
    """Write each modality that the dataset lacks or has from another source; give it as it is now.

    Raises:
        InputError: it has one from another source, and isn't to be overwritten.
    """
    from coldstart.audio.report import lacked_decoder
    from coldstart.shards.build import statistics, write_modality, write_modality_part
    from coldstart.shards.reading import Shards
    from coldstart.shards.writing import list_modality

    training = {track["track_id"] for track in dataset.all_tracks(["train"])}
    for name, source in sources.items():
        existing = dataset.modalities.get(name)
        same = existing is not None and existing["source"] == source.fingerprint
        if same and not lacked_decoder(dataset.folder, name, source.items):
            if (
                existing and way.overwrite and "names" in source.facts
            ):  # facts of an earlier version
                facts = {**existing, **source.facts, **statistics(source, training)}
                list_modality(dataset, name, facts)
                dataset = Shards(dataset.folder)
            print(f"{name}: already there, from the same source")
            continue
        if same:
            print(f"{name}: written anew, for FFmpeg is installed now, which some files need")
        elif existing and not way.overwrite:
            raise InputError(
                f"{dataset.folder}: modality '{name}' is already there, made from something else; "
                "pass --overwrite to write it anew"
            )
        if way.part is not None:
            done = write_modality_part(dataset, name, source, way.part, way.workers, broken)
            print(f"{name}: {done}")
            continue
        facts = {**source.facts, **statistics(source, training)}
        write_modality(dataset, name, source, facts, way.workers, broken, way.merge, way.runner)
        dataset = Shards(dataset.folder)
        counts = dataset.modalities[name]["shards"]
        print(f"{name}: {sum(map(sum, counts.values())):,} of {tracks:,} tracks have it")
        if vocabulary := facts.get("vocabulary"):
            names = ", ".join(vocabulary[:8]) + (", …" if len(vocabulary) > 8 else "")
            print(f"{name}: {len(vocabulary):,} names in the training tracks: {names}")
    return dataset


def _config_for(modalities: Mapping[str, Mapping[str, Any]]) -> str:
    """The shipped config to begin with: of sound alone, nets; of anything else, the recipe.

    >>> _config_for({"audio": {}, "genres": {"vocabulary": ["jazz"]}}), _config_for({"audio": {}})
    ('default', 'audio')
    """
    if modalities.keys() - {"audio"} - {n for n, f in modalities.items() if "transform" in f}:
        return "default"
    return "audio_cqt" if "cqt" in modalities else "audio"
