"""The invented world of the demo's catalogue: traits, genres, attributes, names, tastes, listening.

Every track has latent traits; artists, genres, attributes and listening follow from them. The
constants were chosen to be plausible, not to give a certain result.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldstart.reporting.progress import Progress


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


def draw_world(rng: np.random.Generator, tracks: int, users: int) -> World:
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


def genres_of(rng: np.random.Generator, world: World) -> list[list[str]]:
    """One to three genres a track: by its traits, by its artist's own genre, by chance."""
    names, prototypes = np.array(list(GENRES)), _loadings(list(GENRES.values()))
    match = world.traits @ (prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)).T
    match[np.arange(len(match)), world.home] += 1.0
    best = np.argsort(-(match + rng.normal(0, 0.4, match.shape)), axis=1)
    counts = rng.choice([1, 2, 3], len(match), p=[0.4, 0.4, 0.2])
    return [names[row[:n]].tolist() for row, n in zip(best, counts, strict=True)]


def grades_of(rng: np.random.Generator, world: World) -> dict[str, NDArray[np.float32]]:
    """Grades 0, 0.2, ... 1 [tracks] by attribute: annotators' 0 to 5, averaged and rounded."""
    loadings = _loadings([weights for _, weights in ATTRIBUTES.values()])
    own = np.sqrt(1 - (loadings**2).sum(1))
    shape = (len(world.traits), len(ATTRIBUTES))
    strength = world.traits @ loadings.T + own * rng.normal(size=shape)
    middle = np.array([commonness for commonness, _ in ATTRIBUTES.values()])
    true_grade = 5 / (1 + np.exp(-(middle + 1.7 * strength)))
    opinions = true_grade + rng.normal(0, 0.8, (ANNOTATORS, *shape))
    grades = np.rint(np.rint(opinions).clip(0, 5).mean(0)) / 5
    return dict(zip(ATTRIBUTES, grades.T.astype(np.float32), strict=True))


def artist_names(rng: np.random.Generator, count: int) -> list[str]:
    """Different made-up names; the syllables leave room for any number of them."""
    adjectives, nouns, syllables = ADJECTIVES.split(), NOUNS.split(), SYLLABLES.split()
    names: dict[str, None] = {}
    while len(names) < count:
        first, family = ("".join(rng.choice(syllables, size)).title() for size in (2, 3))
        band = f"The {rng.choice(adjectives)} {rng.choice(nouns)}s"
        names[band if rng.random() < 0.4 else f"{first} {family}"] = None
    return list(names)


def titles(rng: np.random.Generator, count: int) -> list[str]:
    """Made-up titles; as with real ones, several tracks may have the same."""
    patterns = np.array(["{} {}", "{1} and {2}", "The {} {}", "{1} in the {2}", "{}", "My {} {}"])
    adjectives = rng.choice(ADJECTIVES.split(), count)
    nouns, other_nouns = rng.choice(NOUNS.split(), (2, count))
    rows = zip(rng.choice(patterns, count), adjectives, nouns, other_nouns, strict=True)
    return [pattern.format(*words) for pattern, *words in rows]


def listens_of(world: World, seed: int) -> tuple[NDArray[np.int32], ...]:
    """The log as (user, track, plays), each [pairs].

    A user picks tracks one after another, never the same twice, with probability proportional to
    exp(traits @ taste + log_popularity). That is the order in which exponential clocks of these
    rates ring (the Gumbel top-k trick without its logarithms), so one draw a track is enough.
    """
    tracks, users = len(world.traits), len(world.tastes)
    median = 30 * (tracks / 600) ** 0.2  # distinct tracks; a little more in a larger catalogue
    maximum = tracks // 4
    block = max(1, 2**22 // tracks)  # users at once: bounds the memory
    parts: list[tuple[NDArray[np.int32], ...]] = []
    with Progress("listening", users, "users") as display:
        for first in range(0, users, block):
            affinities = world.tastes[first : first + block] @ world.traits.T
            for user, affinity in enumerate(affinities, first):
                rng = np.random.default_rng([seed, 2, user])
                count = int(np.clip(median * rng.lognormal(0, 1), 1, maximum))
                rate = np.exp(affinity + world.log_popularity)
                time = rng.standard_exponential(tracks) / rate
                picks = np.sort(np.argpartition(time, count - 1)[:count])
                liking = affinity[picks] / TASTE
                plays = np.ceil(np.exp(0.5 + 0.5 * liking + rng.normal(size=count)))
                columns = np.full(count, user), picks, plays
                parts.append(tuple(column.astype(np.int32) for column in columns))
                display.add()
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))
