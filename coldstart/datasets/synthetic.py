"""The demo's catalogue: an invented world of music and listeners, as tables and sound.

From each track's latent traits come a real waveform (`synthetic_audio.py`), attributes graded by
noisy annotators, genres, an artist and a release date; users whose tastes are directions in the
same trait space make the listening log (`synthetic_world.py`). Since the truth is stored, too, any
estimate made from the catalogue has a right answer to be compared with.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
from safetensors.numpy import save

from coldstart.datasets.synthetic_audio import SAMPLE_RATE, render_file
from coldstart.datasets.synthetic_world import (
    ANNOTATORS,
    ATTRIBUTES,
    COMMUNITIES,
    TRAITS,
    World,
    artist_names,
    draw_world,
    genres_of,
    grades_of,
    listens_of,
    titles,
)
from coldstart.errors import InputError
from coldstart.files import StrPath, atomic, local, write_json
from coldstart.forms.content import json_in
from coldstart.processes import OwnContext
from coldstart.reporting.progress import Progress

LAST_RELEASE = np.datetime64("2025-12-31", "D")

VERSION = 1  # of the world; to be raised when the same options no longer make the same world

ABOUT = """# An invented catalogue

Nothing in this folder is real: the tracks, artists and listeners were made up by
`coldstart.make_catalogue` with seed {seed}: {tracks:,} tracks, {users:,} users, {audio}.
What was found here says something about a method, nothing about music or people.

How it was made. Every track has {traits} latent traits, about standard normal. Artists have a style
(their genre's plus their own), and their tracks lie around it.

- `audio/`: rendered from the audible traits alone, mono FLAC at {rate:,} Hz, 12 to 60 s.
- `mgp.parquet`: {attributes} attributes; each mixes some traits with something of the track's own.
  {annotators} noisy annotators grade it from 0 to 5; their mean is rounded and divided by 5.
- `tracks.parquet`: titles and names mean nothing. One to three genres follow from the traits, from
  the artist's own genre and from chance. Release dates follow the artist's years of activity.
- `listens.parquet`: users belong to {communities} communities of taste. They pick tracks without
  repetition, with probability proportional to exp(traits . taste + log popularity), and play more
  often what they like more. Popularity is quality, the artist's fame and age. Some tracks end up
  without any listener.
- `truth.safetensors`: `traits` [tracks, {traits}] and `log_popularity` [tracks] in the order of
  `tracks.parquet`, `tastes` [users, {traits}] in the order of the user ids; all float32. The
  metadata's `traits` is a JSON object: each column's name, and whether it can be heard.
- `catalogue.json`: the options; the same ones continue an interrupted run.

| Trait | Audible | Low | High |
|---|---|---|---|
{table}
"""


FILES = ("tracks.parquet", "listens.parquet", "mgp.parquet", "truth.safetensors", "ABOUT.md")


def _claim(out: Path, options: dict[str, int | bool]) -> None:
    """Mark the folder as this catalogue's, or raise if it is another's."""
    marker = out / "catalogue.json"
    if marker.exists():
        existing = json_in(marker, "choose another folder, or delete that one")
        if existing != options:
            raise InputError(
                f"{out} holds a catalogue made with other options, {existing}: these are {options}."
                " Choose another folder, or delete that one"
            )
    elif strange := [name for name in FILES if (out / name).exists()]:
        raise InputError(f"{out} has a {strange[0]} of other origin: choose another folder")
    else:
        write_json(marker, options)


def _once(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file unless it exists: an existing one is whole."""
    if not path.exists():
        with atomic(path) as temporary:
            write(temporary)


def _render(out: Path, world: World, ids: list[str], seed: int, workers: int) -> None:
    """Render the FLACs that are missing, each from the audible traits alone."""
    audible = [(column, trait.name) for column, trait in enumerate(TRAITS) if trait.audible]
    jobs = []
    for index, (track, row) in enumerate(zip(ids, world.traits, strict=True)):
        path = out / "audio" / f"{track}.flac"
        if not path.exists():
            jobs.append((path, {name: float(row[column]) for column, name in audible}, seed, index))
    existing = len(ids) - len(jobs)
    with Progress("rendering", len(ids), "tracks", done=existing) as display:
        if min(workers, len(jobs)) < 2:
            for job in jobs:
                render_file(job)
                display.add()
            return
        with ProcessPoolExecutor(workers, OwnContext()) as pool:
            for _ in pool.map(render_file, jobs, chunksize=4):
                display.add()


def make_catalogue(
    out: StrPath,
    *,
    tracks: int = 600,
    users: int = 500,
    seed: int = 0,
    audio: bool = True,
    workers: int | None = None,
) -> Path:
    """Make an invented catalogue with a known truth; a second call continues an interrupted one.

    On one machine the files depend on the options alone, byte by byte, not on `workers`.

    Args:
        out: folder to write to. Its ABOUT.md describes the files.
        tracks: how many, 20 or more.
        users: how many, 5 or more.
        seed: 0 or more.
        audio: render the tracks (`audio/<track_id>.flac`, about 2 MB a minute); without it
            tracks.parquet has no column `audio`.
        workers: processes that render, 1 or more; by default one a core.

    Returns:
        The folder, as a path.

    Raises:
        InputError: an argument is out of range, or the folder holds another catalogue.
        OSError: the folder can't be written to.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     out = make_catalogue(folder, tracks=20, users=5, audio=False)
        ...     sorted(path.name for path in out.iterdir())
        ...     pl.read_parquet(out / "tracks.parquet").columns  # doctest: +NORMALIZE_WHITESPACE
        ['ABOUT.md', 'catalogue.json', 'listens.parquet', 'mgp.parquet', 'tracks.parquet',
         'truth.safetensors']
        ['track_id', 'title', 'artist', 'artist_id', 'genres', 'release_date']
    """
    workers = (os.cpu_count() or 1) if workers is None else workers
    values = {"tracks": tracks, "users": users, "seed": seed, "workers": workers}
    for name, least in {"tracks": 20, "users": 5, "seed": 0, "workers": 1}.items():
        if values[name] < least:
            raise InputError(f"{name} is {values[name]}: it has to be {least} or more")
    out = local(out)
    _claim(out, {"world": VERSION, "tracks": tracks, "users": users, "seed": seed, "audio": audio})

    rng = np.random.default_rng([seed, 1])
    world = draw_world(rng, tracks, users)
    ids = [f"t{index:06d}" for index in range(tracks)]
    _once(out / "tracks.parquet", _track_table(rng, world, ids, audio).write_parquet)
    grades = pl.DataFrame({"track_id": ids, **grades_of(rng, world)})
    _once(out / "mgp.parquet", grades.write_parquet)
    _once(out / "truth.safetensors", lambda path: path.write_bytes(_truth_bytes(world)))
    _once(out / "listens.parquet", lambda path: _log(world, ids, seed).write_parquet(path))
    about = _about(tracks, users, seed, audio)
    _once(out / "ABOUT.md", lambda path: path.write_text(about, encoding="utf-8"))
    if audio:
        _render(out, world, ids, seed, workers)
    return out


def _track_table(
    rng: np.random.Generator, world: World, ids: list[str], audio: bool
) -> pl.DataFrame:
    names = np.array(artist_names(rng, int(world.artist.max()) + 1))
    return pl.DataFrame(
        {
            "track_id": ids,
            "title": titles(rng, len(ids)),
            "artist": names[world.artist].tolist(),
            "artist_id": [f"a{artist:05d}" for artist in world.artist],
            **({"audio": [f"audio/{track}.flac" for track in ids]} if audio else {}),
            "genres": genres_of(rng, world),
            "release_date": LAST_RELEASE - (world.years * 365.25).astype("timedelta64[D]"),
        }
    )


def _truth_bytes(world: World) -> bytes:
    """The truth as safetensors."""
    names = ("traits", "tastes", "log_popularity")
    arrays = {name: np.ascontiguousarray(getattr(world, name)) for name in names}
    audible = json.dumps({trait.name: trait.audible for trait in TRAITS})
    return save(arrays, {"traits": audible})


def _log(world: World, ids: list[str], seed: int) -> pl.DataFrame:
    """The listening log as a table."""
    user, track, plays = listens_of(world, seed)
    users = pl.Series("user_id", [f"u{index:05d}" for index in range(len(world.tastes))])
    tracks = pl.Series("track_id", ids)
    return pl.DataFrame([users.gather(user), tracks.gather(track), pl.Series("plays", plays)])


def _about(tracks: int, users: int, seed: int, audio: bool) -> str:
    """The text of ABOUT.md."""
    return ABOUT.format(
        seed=seed,
        tracks=tracks,
        users=users,
        audio="with audio" if audio else "without audio",
        traits=len(TRAITS),
        attributes=len(ATTRIBUTES),
        rate=SAMPLE_RATE,
        annotators=ANNOTATORS,
        communities=COMMUNITIES,
        table="\n".join(
            f"| {t.name} | {'yes' if t.audible else 'no'} | {t.low} | {t.high} |" for t in TRAITS
        ),
    )
