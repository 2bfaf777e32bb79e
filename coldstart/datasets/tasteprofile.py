"""The Echo Nest Taste Profile of the Million Song Dataset → tables. A song stands for a track.

No checksums are published by the host, as far as we know; the md5s are those that
MTLMusicRepresentation (eldrin, on GitHub) has recorded. The list of mismatches has none.
"""

from __future__ import annotations

import polars as pl

from coldstart.datasets.fetching import Remote
from coldstart.datasets.originals import About, OriginalPaths, Originals
from coldstart.datasets.reading import Rows, Tables, filter_by_listeners, pieces, plays_of
from coldstart.datasets.summary import Summary
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


def make_tables(
    *,
    out: StrPath,
    source: OriginalPaths,
    mismatches: bool,
    min_listeners: int,
    skip_broken: bool,
) -> Summary:
    """See `taste_profile` in `loaders.py`."""
    files, broken = Originals(ABOUT, source), Broken(skip_broken)
    tables = Tables(out, ABOUT, broken)
    songs = _songs(files, broken)
    if not mismatches:
        text = files.need("sid_mismatches.txt").bytes().decode("utf-8", "replace")
        # ERROR: <SOUMNSI12AB0182807 TRMMGKQ128F9325E10> what it is  !=  what it should be
        ids = pl.Series("track_id", text.splitlines(), pl.String).str.extract(r"<(SO\w+) ")
        songs = songs.join(ids.to_frame(), on="track_id", how="anti", maintain_order="left")
    tables.stream(
        "listens",
        plays_of(files.need("train_triplets.txt", ZIP), songs.select("track_id"), broken),
        lambda log: filter_by_listeners(log, min_listeners),
    )
    listened = tables.listened_tracks()
    tables.write("tracks", songs.join(listened, on="track_id", how="semi", maintain_order="left"))
    return tables.summary()


def _songs(files: Originals, broken: Broken) -> pl.DataFrame:
    """Id, title, artist and first track of each song."""
    columns = ["msd_track_id", "track_id", "artist", "title"]
    original = files.need("unique_tracks.txt")
    frames = []
    for piece in pieces(original, columns, broken, separator="<SEP>", header=False):
        rows = Rows(original, piece, broken)
        rows.ids("track_id")
        frames.append(rows.rest())
    songs = pl.concat(frames).unique("track_id", keep="first", maintain_order=True)
    # Some titles are empty; a track table's can't be.
    title = pl.coalesce("title", "track_id").alias("title")
    return songs.select("track_id", title, pl.col("artist").fill_null(""), "msd_track_id")
