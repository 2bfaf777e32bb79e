"""The loaders of public data sets: their arguments are the flags of `coldstart dataset NAME`.

What a loader does is in the data set's own file, which is imported when it is called: so that
`coldstart dataset --help` is quick.
"""

from __future__ import annotations

from typing import Literal

from coldstart.datasets.originals import OriginalPaths
from coldstart.datasets.summary import Summary
from coldstart.files import StrPath


def amazon_reviews(
    *,
    out: StrPath,
    source: OriginalPaths = None,
    category: str = "Digital_Music",
    min_rating: float = 4,
    ratings: bool = False,
    min_listeners: int = 1,
    skip_broken: bool = False,
) -> Summary:
    """Amazon Reviews 2023: 33 categories, 571.54 million ratings; titles, features, descriptions.

    Writes listens.parquet, tracks.parquet (a product is a track, its store the artist, its
    categories the genres) and description.parquet (title, features and description, as a text).

    Args:
        out: folder for the tables.
        source: folder with CATEGORY.csv (user_id, parent_asin, rating, timestamp) or CATEGORY.jsonl
            (the reviews), and meta_CATEGORY.jsonl; without it the .csv and the last are downloaded.
        category: one of the authors', with underscores.
        min_rating: from how many of 5 stars on a rating counts as one play.
        ratings: all ratings as they are, for `factorize --algorithm explicit`.
        min_listeners: of a product: users who gave it such a rating.
        skip_broken: leave broken rows out and list them in `<out>/broken.csv`.

    Returns:
        What was written.

    Raises:
        InputError: a file or column is missing or damaged, or a row is broken.
    """
    from coldstart.datasets.amazon import make_tables

    return make_tables(
        out=out,
        source=source,
        category=category,
        min_rating=None if ratings else min_rating,
        min_listeners=min_listeners,
        skip_broken=skip_broken,
    )


def fma(
    *,
    out: StrPath,
    source: OriginalPaths = None,
    size: Literal["small", "medium", "large", "full"] = "medium",
    features: bool = False,
    audio: str | None = None,
    skip_broken: bool = False,
) -> Summary:
    """FMA: 106,574 tracks with genres, freely licensed sound, and the authors' split. No listens.

    Writes tracks.parquet, splits.parquet, popularity.parquet (how often a track was played and
    favoured by everybody together, as log(1 + n): nobody knows by whom) and echonest.parquet (eight
    attributes such as energy, of some of the tracks): for nets that hear attributes, for embeddings
    and for `predict`; not for `factorize`.

    Args:
        out: folder for the tables.
        source: fma_metadata.zip or the unpacked folder; without it the .zip is downloaded.
        size: the authors' subset; each holds the smaller ones. `full` has the tracks of `large`.
        features: also features.parquet, librosa's 518 numbers a track, as an embedding.
        audio: the unpacked folder of fma_small.zip or a larger one (000/000002.mp3, …).
        skip_broken: leave broken rows out and list them in `<out>/broken.csv`.

    Returns:
        What was written.

    Raises:
        InputError: a file or column is missing, or a row is broken.
    """
    from coldstart.datasets.fma import make_tables

    return make_tables(
        out=out, source=source, size=size, features=features, audio=audio, skip_broken=skip_broken
    )


def hetrec_lastfm(
    *,
    out: StrPath,
    source: OriginalPaths = None,
    binary: bool = False,
    min_listeners: int = 5,
    tags: int = 400,
    skip_broken: bool = False,
) -> Summary:
    """HetRec 2011 Last.fm 2k: 1,892 users, 17,632 artists, listening counts and tags.

    Writes listens.parquet, tracks.parquet and mgp.parquet: artists with enough listeners and a tag,
    and the most used tags as attributes, graded by log(1 + times assigned). Genres come along where
    a file artist_genres.tsv (artistID, genre) lies beside the others.

    Args:
        out: folder for the tables.
        source: the unpacked folder or the .zip; without it the .zip is downloaded.
        binary: attributes say whether a tag was given, not how often.
        min_listeners: of an artist.
        tags: how many of the most used tags.
        skip_broken: leave broken rows out and list them in `<out>/broken.csv`.

    Returns:
        What was written.

    Raises:
        InputError: a file or column is missing, or a row is broken.
    """
    from coldstart.datasets.hetrec import make_tables

    return make_tables(
        out=out,
        source=source,
        binary=binary,
        min_listeners=min_listeners,
        tags=tags,
        skip_broken=skip_broken,
    )


def movielens(
    *,
    out: StrPath,
    source: OriginalPaths = None,
    size: Literal["latest-small", "20m", "25m", "32m"] = "25m",
    min_rating: float = 4,
    ratings: bool = False,
    min_listeners: int = 1,
    skip_broken: bool = False,
) -> Summary:
    """MovieLens: up to 200,948 users, 87,585 films, 32,000,204 ratings; genres, tags, tag genome.

    Writes listens.parquet, tracks.parquet (a film is a track, and its own artist), tags.parquet
    (the tags that users gave, as a text) and, of 20m and 25m, genome.parquet (the relevance of
    1,128 tags, as attributes). Tags and genome are the users' words: nobody has them of a new film.

    Args:
        out: folder for the tables.
        source: the unpacked folder or the .zip; without it the .zip is downloaded.
        size: which .zip is downloaded; a source may be any of them.
        min_rating: from how many of 5 stars on a rating counts as one play.
        ratings: all ratings as they are, for `factorize --algorithm explicit`.
        min_listeners: of a film: users who gave it such a rating.
        skip_broken: leave broken rows out and list them in `<out>/broken.csv`.

    Returns:
        What was written.

    Raises:
        InputError: a file or column is missing or damaged, or a row is broken.
    """
    from coldstart.datasets.movielens import make_tables

    return make_tables(
        out=out,
        source=source,
        size=size,
        min_rating=None if ratings else min_rating,
        min_listeners=min_listeners,
        skip_broken=skip_broken,
    )


def mtg_jamendo(
    *,
    out: StrPath,
    source: OriginalPaths = None,
    tags: Literal["all", "genre", "instrument", "moodtheme", "top50tags"] = "all",
    split: int = 0,
    audio: str | None = None,
    skip_broken: bool = False,
) -> Summary:
    """MTG-Jamendo: 55,525 tracks with genre, instrument and mood tags, and five splits. No listens.

    Writes tracks.parquet, tags.parquet (1 where a tag was given, else 0) and splits.parquet: for
    nets that hear attributes, for embeddings and for `predict`; not for `factorize`.

    Args:
        out: folder for the tables.
        source: a clone of the authors' repository, or its .zip; without it the tables that are
            needed are downloaded.
        tags: which of the authors' sets of tags and tracks.
        split: which of their splits, 0 to 4.
        audio: folder with the unpacked sound (00/1376200.mp3 or 00/1376200.low.mp3, …).
        skip_broken: leave broken rows out and list them in `<out>/broken.csv`.

    Returns:
        What was written.

    Raises:
        InputError: a file is missing, or a row is broken.
    """
    from coldstart.datasets.jamendo import make_tables

    return make_tables(
        out=out, source=source, tags=tags, split=split, audio=audio, skip_broken=skip_broken
    )


def msd_a(
    *,
    out: StrPath,
    source: OriginalPaths = None,
    items: str = "MSD-A-songs",
    triplets: str = "",
    embeddings: list[str] | None = None,
    skip_broken: bool = False,
) -> Summary:
    """MSD-A: artists' biographies, songs' sound, plays from the Taste Profile; the DLRS 2017 split.

    Writes listens.parquet, tracks.parquet, splits.parquet and a table for each embedding asked for.
    Titles and artists of songs come along if the Million Song Dataset's unique_tracks.txt is in the
    source, else the id stands in their place.

    Args:
        out: folder for the tables.
        source: folder with dlrs-data (splits, train_data) and triplets_msd-a.tar.gz, or these.
        items: `MSD-A-songs` or `MSD-A-artists`; artists stand where tracks would.
        triplets: file of user, item and plays, by a part of its name, where several fit.
        embeddings: the authors' vectors, `audio-emb` for train_data/X_train_audio-emb_ITEMS.npy.
        skip_broken: leave broken rows out and list them in `<out>/broken.csv`.

    Returns:
        What was written.

    Raises:
        InputError: a file is missing or damaged, or a row is broken.
    """
    from coldstart.datasets.msda import make_tables

    return make_tables(
        out=out,
        source=source,
        items=items,
        triplets=triplets,
        embeddings=embeddings,
        skip_broken=skip_broken,
    )


def music4all_onion(
    *,
    out: StrPath,
    source: OriginalPaths = None,
    timestamps: bool = False,
    embeddings: list[str] | None = None,
    attributes: list[str] | None = None,
    min_plays: int = 1,
    min_listeners: int = 1,
    skip_broken: bool = False,
) -> Summary:
    """Music4All-Onion: 119,140 users, 56,512 tracks, 252,984,396 listens; features of each track.

    Writes listens.parquet, tracks.parquet (with genres) and a table for each feature asked for.
    Titles and artists are in Music4All's id_information.csv, which its authors give on request; if
    it lies in the source, it is used, else the track's id stands in their place.

    Args:
        out: folder for the tables.
        source: folder with the .tsv.bz2 files; without it they are downloaded.
        timestamps: one row a listen, with its time, instead of one row a user and track.
        embeddings: features to write as vectors: `musicnn` for id_musicnn.tsv.bz2, and so on.
        attributes: features to write as named attributes: `lyrics_sentiment_functionals`, ….
        min_plays: of a user and track; not with timestamps.
        min_listeners: of a track.
        skip_broken: leave broken rows out and list them in `<out>/broken.csv`.

    Returns:
        What was written.

    Raises:
        InputError: a file or column is missing or damaged, or a row is broken.
    """
    from coldstart.datasets.music4all import make_tables

    return make_tables(
        out=out,
        source=source,
        timestamps=timestamps,
        embeddings=embeddings,
        attributes=attributes,
        min_plays=min_plays,
        min_listeners=min_listeners,
        skip_broken=skip_broken,
    )


def taste_profile(
    *,
    out: StrPath,
    source: OriginalPaths = None,
    mismatches: bool = False,
    min_listeners: int = 1,
    skip_broken: bool = False,
) -> Summary:
    """Taste Profile: 1,019,318 users, 384,546 songs, 48,373,586 play counts.

    Writes listens.parquet and tracks.parquet (track_id is the song's id; `msd_track_id` the first
    of its tracks). There is no content: bring attributes, embeddings or audio of your own.

    Args:
        out: folder for the tables.
        source: folder with train_triplets.txt.zip, unique_tracks.txt and sid_mismatches.txt, or
            these files; without it they are downloaded.
        mismatches: keep the songs that the authors found to be matched to wrong tracks.
        min_listeners: of a song.
        skip_broken: leave broken rows out and list them in `<out>/broken.csv`.

    Returns:
        What was written.

    Raises:
        InputError: a file is missing or damaged, or a row is broken.
    """
    from coldstart.datasets.tasteprofile import make_tables

    return make_tables(
        out=out,
        source=source,
        mismatches=mismatches,
        min_listeners=min_listeners,
        skip_broken=skip_broken,
    )


def yambda(
    *,
    out: StrPath,
    source: OriginalPaths = None,
    size: Literal["50m", "500m", "5b"] = "50m",
    min_played: int = 50,
    min_listeners: int = 1,
    timestamps: bool = False,
    vectors: bool = False,
    cold_days: float = 0,
    skip_broken: bool = False,
) -> Summary:
    """Yambda: up to 1 million users, 9.39 million tracks, 4.79 billion events; audio embeddings.

    Writes listens.parquet and tracks.parquet; audio.parquet with `--vectors`. Everything is
    a number there: the track's id stands for its title, the (first) artist's id for the artist.

    Args:
        out: folder for the tables.
        source: folder with flat/SIZE/listens.parquet, artist_item_mapping.parquet and
            embeddings.parquet; without it they are downloaded.
        size: `50m`, `500m` or `5b`.
        min_played: per cent of a track that must have been played for a listen to count; the
            authors' benchmark takes 50.
        min_listeners: of a track.
        timestamps: one row a listen, with its second, instead of one row a user and track.
        vectors: also the tracks' audio embeddings (14 GB to download).
        cold_days: if above 0, also splits.parquet: tracks that were first heard in the last so many
            days are the test, those of as many days before are validation. It is our split; the
            authors' divides listens, not tracks.
        skip_broken: leave broken rows out and list them in `<out>/broken.csv`.

    Returns:
        What was written.

    Raises:
        InputError: a file or column is missing, or a row is broken.
    """
    from coldstart.datasets.yambda import make_tables

    return make_tables(
        out=out,
        source=source,
        size=size,
        min_played=min_played,
        min_listeners=min_listeners,
        timestamps=timestamps,
        vectors=vectors,
        cold_days=cold_days,
        skip_broken=skip_broken,
    )
