"""The Echo Nest Taste Profile of the Million Song Dataset → tables. A song stands for a track.

No checksums are published by the host, as far as we know; the md5s are those that
MTLMusicRepresentation (eldrin, on GitHub) has recorded. The list of mismatches has none.
"""

from __future__ import annotations

import polars as pl

from coldstart.datasets.fetching import Remote
from coldstart.datasets.originals import About, Originals, Source
from coldstart.datasets.reading import Rows, Tables, often_heard, pieces, plays_of
from coldstart.errors import Broken
from coldstart.files import StrPath

HOST = "http://millionsongdataset.com/sites/default/files"
ZIP = "train_triplets.txt.zip"
RECORDED = "MTLMusicRepresentation on GitHub, not the host"
ABOUT = About(
    name="taste-profile",
    title="The Echo Nest Taste Profile Subset (Million Song Dataset)",
    page="http://millionsongdataset.com/tasteprofile/",
    terms="research only, non-commercial; see the page for The Echo Nest's terms",
    citation=(
        "Bertin-Mahieux, Ellis, Whitman, Lamere: The Million Song Dataset, ISMIR 2011; McFee, "
        "Bertin-Mahieux, Ellis, Lanckriet: The Million Song Dataset Challenge, AdMIRe 2012"
    ),
    remotes=(
        Remote(ZIP, f"{HOST}/challenge/{ZIP}", "md5:fadbc813c11881b3147af3c26006335f", RECORDED),
        Remote(
            "unique_tracks.txt",
            f"{HOST}/AdditionalFiles/unique_tracks.txt",
            "md5:a02eb8275b10286d678309a19e229bd0",
            RECORDED,
        ),
        Remote("sid_mismatches.txt", f"{HOST}/tasteprofile/sid_mismatches.txt"),
    ),
)


def taste_profile(
    *,
    out: StrPath,
    source: Source = None,
    mismatches: bool = False,
    min_listeners: int = 1,
    skip_broken: bool = False,
) -> None:
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

    Raises:
        InputError: a file is missing or damaged, or a row is broken.
    """
    files, broken = Originals(ABOUT, source), Broken(skip_broken)
    tables = Tables(out, ABOUT, broken)
    names = _songs(files, broken)
    if not mismatches:
        text = files.need("sid_mismatches.txt").bytes().decode("utf-8", "replace")
        # ERROR: <SOUMNSI12AB0182807 TRMMGKQ128F9325E10> what it is  !=  what it should be
        ids = pl.Series("track_id", text.splitlines(), pl.String).str.extract(r"<(SO\w+) ")
        names = names.join(ids.to_frame(), on="track_id", how="anti", maintain_order="left")
    tables.stream(
        "listens",
        plays_of(files.need("train_triplets.txt", ZIP), names.select("track_id"), broken),
        lambda log: often_heard(log, min_listeners),
    )
    heard = (
        pl.scan_parquet(tables.path("listens"))
        .select("track_id")
        .unique()
        .collect(engine="streaming")
    )
    tables.write("tracks", names.join(heard, on="track_id", how="semi", maintain_order="left"))
    tables.finish()


def _songs(files: Originals, broken: Broken) -> pl.DataFrame:
    """Id, title, artist and first track of each song."""
    columns = ["msd_track_id", "track_id", "artist", "title"]
    original = files.need("unique_tracks.txt")
    read = []
    for piece in pieces(original, columns, broken, separator="<SEP>", header=False):
        rows = Rows(original, piece, broken)
        rows.ids("track_id")
        read.append(rows.rest())
    songs = pl.concat(read).unique("track_id", keep="first", maintain_order=True)
    # Some titles are empty there; a track table's can't be.
    shown = pl.coalesce("title", "track_id").alias("title")
    return songs.select("track_id", shown, pl.col("artist").fill_null(""), "msd_track_id")
