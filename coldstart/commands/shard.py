"""The verb `shard`: tables and audio files → shards."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from coldstart.audio.codec import SAMPLE_RATE
from coldstart.audio.storage import Store, store_facts
from coldstart.errors import Broken, InputError
from coldstart.files import StrPath, is_remote
from coldstart.shards.build import _plan, _write_modality, statistics
from coldstart.shards.reading import Shards
from coldstart.shards.sources import sources_of
from coldstart.tables import read_tracks

CONFIGS = {
    ("mgp", "genres"): "mgp_genres",
    ("mgp",): "mgp",
    ("cqt",): "audio_cqt",
    ("audio",): "audio",
    ("genres",): "genres",
}
"""Modalities → the shipped config to begin with, the quickest first."""


def shard(
    tracks: StrPath,
    *,
    out: StrPath,
    splits: StrPath | None = None,
    attributes: dict[str, str] | None = None,
    embeddings: dict[str, str] | None = None,
    texts: dict[str, str] | None = None,
    files: dict[str, str] | None = None,
    modalities: list[str] | None = None,
    sample_rate: int | None = None,
    store: Store = "flac",
    bits: Literal[8, 16] = 8,
    bins: int = 96,
    fmin: float = 32.7,
    frame_hop: int = 1024,
    shard_size: int | None = None,
    workers: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    skip_broken: bool = False,
) -> Shards:
    """Write a dataset of shards, or add modalities to one; an interrupted job goes on.

    Reads the track table, the audio files it names, and the attribute tables. Writes one folder a
    modality into `out`; folders that are already there from the same source stay untouched.

    Args:
        tracks: Parquet or CSV: track_id, title, artist[, artist_id, audio, genres, release_date].
        out: folder of the dataset, new or to be extended.
        splits: table of track_id and split. Without it, a new dataset's tracks are all `test`:
            music to be recommended, not to be learnt from.
        attributes: tables of attributes by modality: `--attributes.mgp mgp.parquet`.
        embeddings: vectors that something else has computed: `--embeddings.mert mert.parquet` with
            track_id and a list (or columns) of numbers, or an .npy [tracks, width] whose rows are
            the track table's.
        texts: tables of track_id and text: `--texts.lyrics lyrics.parquet`.
        files: tables of track_id and path, relative to the table's folder, whose files are stored
            as they are: `--files.cover covers.csv`.
        modalities: which of the table's columns to shard; by default `audio` and `genres` where
            it has them.
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

    Returns:
        The dataset.
    """
    out = Path(out)
    if is_remote(out):
        raise InputError(f"{out}: shards are written to a folder; copy them to an address then")
    sample_rate = sample_rate or _sample_rate_of(out)
    if (shard_size is not None and shard_size < 1) or not 1000 <= sample_rate <= 192_000:
        raise InputError("shard_size is at least 1, sample_rate 1,000 to 192,000 Hz")
    audio = store_facts(store, sample_rate, frame_hop, bins, fmin, bits)
    broken = Broken(skip_broken)
    table = read_tracks(tracks, broken)
    named = {
        "attributes": attributes or {},
        "embeddings": embeddings or {},
        "texts": texts or {},
        "files": files or {},
    }
    sources = sources_of(table, Path(tracks), modalities, named, audio, broken)
    shard_size = shard_size or min(256, max(16, len(table) // 64))
    dataset = _plan(table, splits, out, shard_size, seed, overwrite)
    training = {track["track_id"] for track in dataset.all_tracks(["train"])}
    for name, source in sources.items():
        there = dataset.modalities.get(name)
        if there and there["source"] == source.fingerprint:
            print(f"{name}: already there, from the same source")
            continue
        if there and not overwrite:
            raise InputError(
                f"{out}: modality '{name}' is already there, made from something else; pass "
                "--overwrite to write it anew"
            )
        facts = {**source.facts, **statistics(source, training)}
        _write_modality(dataset, name, source, facts, workers, broken)
        dataset = Shards(out)
        counts = dataset.modalities[name]["shards"]
        print(f"{name}: {sum(map(sum, counts.values())):,} of {len(table):,} tracks have it")
    if skipped := broken.write(out / "broken.csv"):
        print(skipped)
    print(f"wrote {out}")
    have = dataset.modalities.keys()
    config = next((config for names, config in CONFIGS.items() if set(names) <= have), "YOURS")
    print(f"next: coldstart fit --config {config}.yaml --data.shards {out} --data.factors factors")
    return dataset


def _sample_rate_of(out: Path) -> int:
    """Of the audio that is there already, so that one more modality needs no flag of the first."""
    there = Shards(out).modalities if (out / "dataset.json").is_file() else {}
    rate: int = there.get("audio", {}).get("sample_rate", SAMPLE_RATE)
    return rate
