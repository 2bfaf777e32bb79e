"""The demo's catalogue: an invented world of music, made from a known truth.

Every track has latent traits. From them come a real waveform (`coldstart.synth_audio`), attributes
graded by noisy annotators, genres, an artist and a release date; users whose tastes are directions
in the same trait space make the listening log. Since the truth is kept, any estimate made from the
catalogue has a right answer to be compared with. The constants below were chosen to be plausible,
not so that some result would come out.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.numpy import save
from tqdm import tqdm

from coldstart.datasets.synthetic_audio import SAMPLE_RATE, follow_parent, render_file
from coldstart.errors import InputError
from coldstart.files import atomic, write_json


class Trait(NamedTuple):
    """A latent trait: standard normal over the catalogue, from `low` (-) to `high` (+)."""

    name: str
    audible: bool
    low: str
    high: str


TRAITS = (
    Trait("tempo", True, "slow", "fast"),
    Trait("darkness", True, "major modes", "minor modes, down to phrygian"),
    Trait("brightness", True, "dull timbre", "harmonics up high"),
    Trait("density", True, "few notes", "many notes"),
    Trait("drums", True, "hardly any drums", "loud, busy drums"),
    Trait("swing", True, "straight", "swung"),
    Trait("register", True, "low pitches", "high pitches"),
    Trait("distortion", True, "clean", "distorted"),
    Trait("sustain", True, "plucked, short notes", "slow, long notes"),
    Trait("loudness", True, "wide dynamics", "compressed and loud"),
    Trait("lyric_joy", False, "bitter lyrics", "joyful lyrics"),
    Trait("language", False, "sung in another language", "sung in English"),
    Trait("nostalgia", False, "of its day", "belongs to the past"),
    Trait("scene", False, "mainstream", "underground"),
)

# Where a genre sits in trait space (what isn't named is 0). Some pairs sound alike and differ only
# in what can't be heard: rock and indie, soul and gospel, pop and latin_pop.
GENRES: dict[str, dict[str, float]] = {
    "rock": {"distortion": 1.2, "drums": 0.8, "brightness": 0.4, "loudness": 0.6},
    "indie": {"distortion": 1.0, "drums": 0.6, "brightness": 0.4, "loudness": 0.3, "scene": 1.6},
    "metal": {"distortion": 2.2, "darkness": 1.4, "tempo": 1.2, "density": 0.8, "lyric_joy": -1.2},
    "pop": {"darkness": -0.8, "brightness": 0.6, "loudness": 1.0, "language": 0.8, "scene": -1.4},
    "latin_pop": {"darkness": -0.6, "brightness": 0.6, "loudness": 0.9, "language": -1.9},
    "hip_hop": {"tempo": -0.6, "drums": 1.3, "register": -1.2, "density": -0.4, "lyric_joy": -0.6},
    "house": {"tempo": 0.7, "drums": 1.5, "density": 0.7, "swing": -1.0, "sustain": -0.8},
    "ambient": {"tempo": -1.3, "drums": -1.9, "density": -1.4, "sustain": 2.0, "loudness": -1.0},
    "jazz": {"swing": 2.0, "distortion": -0.9, "density": 0.9, "loudness": -0.8, "scene": 0.6},
    "classical": {"drums": -1.9, "distortion": -1.2, "loudness": -1.4, "nostalgia": 1.6},
    "folk": {"drums": -1.2, "sustain": -0.9, "brightness": -0.5, "nostalgia": 0.7, "scene": 0.5},
    "soul": {"swing": 1.0, "brightness": -0.6, "register": -0.5, "nostalgia": 0.9},
    "gospel": {"swing": 0.9, "brightness": -0.5, "register": -0.3, "lyric_joy": 2.0},
    "reggae": {"tempo": -0.7, "swing": 1.1, "register": -1.0, "darkness": -0.5, "language": -0.6},
}

# An attribute's commonness (log-odds of its middle grade) and its loadings on the traits. Squared
# loadings sum to less than 1; the rest of the attribute is the track's own and in no trait.
ATTRIBUTES: dict[str, tuple[float, dict[str, float]]] = {
    "fast_tempo": (0.0, {"tempo": 0.95}),
    "danceable_beat": (0.2, {"tempo": 0.4, "drums": 0.7, "swing": -0.2}),
    "minor_mode": (-0.2, {"darkness": 0.95}),
    "gloomy_harmony": (-0.6, {"darkness": 0.7, "tempo": -0.3, "lyric_joy": -0.3}),
    "bright_timbre": (0.0, {"brightness": 0.9}),
    "mellow_timbre": (0.2, {"brightness": -0.7, "distortion": -0.4, "sustain": 0.3}),
    "busy_texture": (-0.1, {"density": 0.9}),
    "sparse_texture": (-0.3, {"density": -0.8, "drums": -0.3}),
    "busy_drums": (0.0, {"drums": 0.9}),
    "no_percussion": (-1.0, {"drums": -0.9}),
    "driving_rhythm": (0.1, {"drums": 0.5, "tempo": 0.5, "density": 0.4}),
    "swing_feel": (-0.5, {"swing": 0.95}),
    "straight_rhythm": (0.4, {"swing": -0.8}),
    "low_register": (0.0, {"register": -0.9}),
    "high_melody": (-0.2, {"register": 0.8, "brightness": 0.2}),
    "heavy_bass": (0.0, {"register": -0.6, "drums": 0.4, "loudness": 0.3}),
    "distorted": (-0.6, {"distortion": 0.95}),
    "acoustic_sound": (0.0, {"distortion": -0.6, "loudness": -0.4, "drums": -0.3}),
    "staccato_playing": (-0.2, {"sustain": -0.9}),
    "lush_sustained_chords": (-0.4, {"sustain": 0.8, "density": 0.2}),
    "wide_dynamics": (-0.3, {"loudness": -0.9}),
    "compressed_mix": (0.2, {"loudness": 0.8, "distortion": 0.2}),
    "aggressive_mood": (-0.5, {"distortion": 0.6, "tempo": 0.3, "lyric_joy": -0.4}),
    "calming_mood": (0.0, {"tempo": -0.5, "drums": -0.4, "density": -0.3, "brightness": -0.3}),
    "joyful_lyrics": (0.0, {"lyric_joy": 0.9}),
    "heartbreak_lyrics": (0.0, {"lyric_joy": -0.6, "scene": -0.3}),
    "explicit_lyrics": (-1.0, {"lyric_joy": -0.5, "scene": 0.3, "nostalgia": -0.4}),
    "political_lyrics": (-1.1, {"scene": 0.6, "lyric_joy": -0.3}),
    "religious_lyrics": (-1.2, {"lyric_joy": 0.5, "nostalgia": 0.4}),
    "english_vocals": (0.6, {"language": 0.95}),
    "breathy_voice": (-0.5, {"scene": 0.4, "lyric_joy": -0.2}),
    "vocal_harmonies": (-0.3, {"nostalgia": 0.5, "lyric_joy": 0.3}),
    "vintage_production": (-0.4, {"nostalgia": 0.9}),
    "live_recording_feel": (-0.9, {"scene": 0.4, "nostalgia": 0.3}),
    "lo_fi_production": (-0.8, {"scene": 0.7, "loudness": -0.3}),
    "anthemic_chorus": (-0.2, {"scene": -0.5, "loudness": 0.4, "lyric_joy": 0.3}),
}

TASTE = 1.5  # how far a user's taste moves the log-odds of a track one standard deviation away


COMMUNITIES = 8  # of users with similar tastes


ANNOTATORS = 3  # per track and attribute


LAST_RELEASE = np.datetime64("2025-12-31", "D")


WORLD = 1  # raise it when the same options no longer make the same world

ADJECTIVES = (
    "Amber Bitter Borrowed Broken Careless Crooked Distant Electric Empty Endless Faded Frozen "
    "Gentle Golden Hidden Hollow Idle Little Lonely Lucky Midnight Paper Patient Quiet Restless "
    "Scarlet Second Silver Sleepless Slow Velvet Wild"
)


NOUNS = (
    "Anchor Avenue Bridge Canary Carnival Comet Echo Ember Engine Fever Garden Ghost Harbour "
    "Horizon Lantern Letter Mirror Mountain Ocean Orchard Parade Radio River Rocket Shadow Signal "
    "Station Stranger Summer Thunder Tiger Winter"
)


SYLLABLES = "ba da el fe go ha il jo ka len mi nor o pe ra sa ti ul ven wyn xa yo zek"


class World(NamedTuple):
    """The truth. `home`: each track's artist's own genre [tracks]; `years`: since its release."""

    traits: NDArray[np.float32]  # [tracks, T]
    tastes: NDArray[np.float32]  # [users, T]; traits @ taste + log_popularity are choice log-odds
    log_popularity: NDArray[np.float32]  # [tracks]
    artist: NDArray[np.int64]  # [tracks]
    home: NDArray[np.int64]  # [tracks]
    years: NDArray[np.float64]  # [tracks]


def _loadings(rows: list[dict[str, float]]) -> NDArray[np.float64]:
    """The rows of a table above as a matrix [rows, T]."""
    return np.array([[row.get(trait.name, 0.0) for trait in TRAITS] for row in rows])


def _truth(rng: np.random.Generator, tracks: int, users: int) -> World:
    """Draw the world. Tracks are independent given the artists: their order says nothing."""
    artists = max(tracks // 6, 5)
    share = rng.lognormal(0, 1, artists)  # a few artists have many tracks
    artist = rng.choice(artists, tracks, p=share / share.sum())
    home = rng.integers(len(GENRES), size=artists)
    style = _loadings(list(GENRES.values()))[home] + rng.normal(0, 0.7, (artists, len(TRAITS)))
    traits = style[artist] + rng.normal(0, 0.6, (tracks, len(TRAITS)))

    years = rng.gamma(2.0, 8.0, artists).clip(0.5, 60)[artist] * rng.random(tracks)
    traits[:, [trait.name for trait in TRAITS].index("nostalgia")] += 0.5 * np.log1p(years)
    traits = (traits - traits.mean(0)) / traits.std(0)

    quality, fame = rng.normal(0, 1.0, tracks), rng.normal(0, 0.8, artists)
    age = 0.5 * np.log1p(years) - years / 20  # new tracks aren't known yet, old ones fade
    popularity = quality + fame[artist] + age

    community = rng.normal(size=(COMMUNITIES, len(TRAITS)))[rng.integers(COMMUNITIES, size=users)]
    tastes = 0.8 * community + 0.6 * rng.normal(size=(users, len(TRAITS)))
    tastes *= TASTE / np.sqrt(len(TRAITS))
    return World(
        traits.astype(np.float32),
        tastes.astype(np.float32),
        (popularity - popularity.mean()).astype(np.float32),
        artist,
        home[artist],
        years,
    )


def _genres(rng: np.random.Generator, world: World) -> list[list[str]]:
    """One to three genres a track: by its traits, by where its artist comes from, by whim."""
    names, prototypes = np.array(list(GENRES)), _loadings(list(GENRES.values()))
    match = world.traits @ (prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)).T
    match[np.arange(len(match)), world.home] += 1.0
    best = np.argsort(-(match + rng.normal(0, 0.4, match.shape)), axis=1)
    many = rng.choice([1, 2, 3], len(match), p=[0.4, 0.4, 0.2])
    return [names[row[:n]].tolist() for row, n in zip(best, many, strict=True)]


def _attributes(rng: np.random.Generator, world: World) -> dict[str, NDArray[np.float32]]:
    """Grades 0, 0.2, ... 1 [tracks] by attribute: annotators' 0 to 5, averaged and rounded."""
    loadings = _loadings([weights for _, weights in ATTRIBUTES.values()])
    own = np.sqrt(1 - (loadings**2).sum(1))
    shape = (len(world.traits), len(ATTRIBUTES))
    strength = world.traits @ loadings.T + own * rng.normal(size=shape)
    middle = np.array([commonness for commonness, _ in ATTRIBUTES.values()])
    true_grade = 5 / (1 + np.exp(-(middle + 1.7 * strength)))
    heard = true_grade + rng.normal(0, 0.8, (ANNOTATORS, *shape))
    graded = np.rint(np.rint(heard).clip(0, 5).mean(0)) / 5
    return dict(zip(ATTRIBUTES, graded.T.astype(np.float32), strict=True))


def _artist_names(rng: np.random.Generator, count: int) -> list[str]:
    """Different made-up names; the syllables leave room for any number of them."""
    adjectives, nouns, syllables = ADJECTIVES.split(), NOUNS.split(), SYLLABLES.split()
    names: dict[str, None] = {}
    while len(names) < count:
        given, family = ("".join(rng.choice(syllables, size)).title() for size in (2, 3))
        band = f"The {rng.choice(adjectives)} {rng.choice(nouns)}s"
        names[band if rng.random() < 0.4 else f"{given} {family}"] = None
    return list(names)


def _titles(rng: np.random.Generator, count: int) -> list[str]:
    """Made-up titles; like real ones, some come twice."""
    forms = np.array(["{} {}", "{1} and {2}", "The {} {}", "{1} in the {2}", "{}", "My {} {}"])
    words = rng.choice(ADJECTIVES.split(), count), *rng.choice(NOUNS.split(), (2, count))
    return [
        form.format(*three) for form, *three in zip(rng.choice(forms, count), *words, strict=True)
    ]


def _listens(world: World, seed: int) -> tuple[NDArray[np.int32], ...]:
    """The log as (user, track, plays), each [pairs].

    A user picks tracks one after another, never the same twice, with probability proportional to
    exp(traits @ taste + log_popularity). That's the order in which exponential clocks of these
    rates ring (the Gumbel top-k trick without its logarithms), so one draw a track does.
    """
    tracks, users = len(world.traits), len(world.tastes)
    median = 30 * (tracks / 600) ** 0.2  # distinct tracks; a larger catalogue gets a little more
    most = tracks // 4
    block = max(1, 2**22 // tracks)  # users at once: bounds the memory
    parts: list[tuple[NDArray[np.int32], ...]] = []
    bar = tqdm(total=users, desc="listening", unit="user", file=sys.stderr)
    for first in range(0, users, block):
        affinities = world.tastes[first : first + block] @ world.traits.T
        for user, affinity in enumerate(affinities, first):
            rng = np.random.default_rng([seed, 2, user])
            many = int(np.clip(median * rng.lognormal(0, 1), 1, most))
            rate = np.exp(affinity + world.log_popularity)
            ring = rng.standard_exponential(tracks) / rate
            chosen = np.sort(np.argpartition(ring, many - 1)[:many])
            liking = affinity[chosen] / TASTE
            plays = np.ceil(np.exp(0.5 + 0.5 * liking + rng.normal(size=many)))
            columns = np.full(many, user), chosen, plays
            parts.append(tuple(column.astype(np.int32) for column in columns))
            bar.update()
    bar.close()
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


ABOUT = """# An invented catalogue

Nothing in this folder is real: the tracks, artists and listeners were made up by
`coldstart.synth` with seed {seed}: {tracks:,} tracks, {users:,} users, {audio}.
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
        found = json.loads(marker.read_text(encoding="utf-8"))
        if found != options:
            raise InputError(
                f"{out} holds a catalogue made with other options, {found}: these are {options}. "
                "Choose another folder, or delete that one"
            )
    elif taken := [name for name in FILES if (out / name).exists()]:
        raise InputError(f"{out} has a {taken[0]} of other origin: choose another folder")
    else:
        write_json(marker, options)


def _once(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file unless it's there: files are only ever there whole."""
    if not path.exists():
        with atomic(path) as temporary:
            write(temporary)


def _render(out: Path, world: World, ids: list[str], seed: int, workers: int) -> None:
    """Render the FLACs that are missing, each from the audible traits alone."""
    heard = [(column, trait.name) for column, trait in enumerate(TRAITS) if trait.audible]
    jobs = [
        (path, {name: float(row[column]) for column, name in heard}, seed, index)
        for index, (track, row) in enumerate(zip(ids, world.traits, strict=True))
        if not (path := out / "audio" / f"{track}.flac").exists()
    ]
    done = len(ids) - len(jobs)
    with tqdm(None, "rendering", len(ids), initial=done, unit="track", file=sys.stderr) as bar:
        if min(workers, len(jobs)) < 2:
            for job in jobs:
                render_file(job)
                bar.update()
            return
        with ProcessPoolExecutor(workers, get_context("spawn"), follow_parent) as pool:
            for _ in pool.map(render_file, jobs, chunksize=4):
                bar.update()


def make_catalogue(
    out: str | Path,
    *,
    tracks: int = 600,
    users: int = 500,
    seed: int = 0,
    audio: bool = True,
    workers: int | None = None,
) -> Path:
    """Make an invented catalogue with a known truth; a second call goes on where one stopped.

    On one machine the files depend on the options alone, byte by byte, not on `workers`. With
    several workers the caller's main module needs the usual `if __name__ == "__main__":`.

    Args:
        out: folder to write to; made if need be. Its ABOUT.md describes the files.
        tracks: how many, 20 or more.
        users: how many, 5 or more.
        seed: 0 or more.
        audio: render the tracks (`audio/<track_id>.flac`, about 2 MB a minute); without it
            tracks.parquet has no column `audio`.
        workers: processes that render, 1 or more; as many as there are cores if not given.

    Returns:
        The folder, as a path.

    Raises:
        InputError: an argument is out of range, or the folder holds another catalogue; a
            ValueError.
        OSError: the folder can't be written to.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = make_catalogue(folder, tracks=20, users=5, audio=False)
    ...     sorted(path.name for path in made.iterdir())
    ...     pl.read_parquet(made / "tracks.parquet").columns  # doctest: +NORMALIZE_WHITESPACE
    ['ABOUT.md', 'catalogue.json', 'listens.parquet', 'mgp.parquet', 'tracks.parquet',
     'truth.safetensors']
    ['track_id', 'title', 'artist', 'artist_id', 'genres', 'release_date']
    """
    workers = (os.cpu_count() or 1) if workers is None else workers
    given = {"tracks": tracks, "users": users, "seed": seed, "workers": workers}
    for name, least in {"tracks": 20, "users": 5, "seed": 0, "workers": 1}.items():
        if given[name] < least:
            raise InputError(f"{name} is {given[name]}: it has to be {least} or more")
    out = Path(out)
    _claim(out, {"world": WORLD, "tracks": tracks, "users": users, "seed": seed, "audio": audio})

    rng = np.random.default_rng([seed, 1])
    world = _truth(rng, tracks, users)
    ids = [f"t{index:06d}" for index in range(tracks)]
    names = np.array(_artist_names(rng, int(world.artist.max()) + 1))
    table = pl.DataFrame(
        {
            "track_id": ids,
            "title": _titles(rng, tracks),
            "artist": names[world.artist].tolist(),
            "artist_id": [f"a{artist:05d}" for artist in world.artist],
            **({"audio": [f"audio/{track}.flac" for track in ids]} if audio else {}),
            "genres": _genres(rng, world),
            "release_date": LAST_RELEASE - (world.years * 365.25).astype("timedelta64[D]"),
        }
    )
    _once(out / "tracks.parquet", table.write_parquet)
    grades = pl.DataFrame({"track_id": ids, **_attributes(rng, world)})
    _once(out / "mgp.parquet", grades.write_parquet)
    kept = ("traits", "tastes", "log_popularity")
    truth = {name: np.ascontiguousarray(getattr(world, name)) for name in kept}
    audible = json.dumps({trait.name: trait.audible for trait in TRAITS})
    _once(
        out / "truth.safetensors",
        lambda path: path.write_bytes(save(truth, {"traits": audible})),
    )

    def write_listens(path: Path) -> None:
        user, track, plays = _listens(world, seed)
        people = pl.Series("user_id", [f"u{index:05d}" for index in range(users)])
        log = [people.gather(user), pl.Series("track_id", ids).gather(track)]
        pl.DataFrame([*log, pl.Series("plays", plays)]).write_parquet(path)

    _once(out / "listens.parquet", write_listens)
    about = ABOUT.format(
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
    _once(out / "ABOUT.md", lambda path: path.write_text(about, encoding="utf-8"))
    if audio:
        _render(out, world, ids, seed, workers)
    return out
