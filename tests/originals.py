"""Tiny samples of public data sets in their original formats."""

import bz2
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

from coldstart.datasets.jamendo import META_COLUMNS
from coldstart.datasets.yambda import ARTISTS, DAY, EMBEDDINGS, LAST

Made = Callable[..., dict[str, pl.DataFrame]]


def table(**columns: object) -> pl.DataFrame:
    return pl.DataFrame(columns)


def same(got: pl.DataFrame, want: pl.DataFrame) -> None:
    assert_frame_equal(got, want, check_dtypes=False)


def zipped(path: Path, members: Mapping[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def hetrec(artists: int = 3) -> dict[str, str]:
    """The original's files; artist 1 has 5 listeners, 2 has one too few tags, and so on."""
    listens = [f"{u}\t{a}\t{10 * u + a}" for u in range(1, 6) for a in range(1, artists + 1)]
    listens += [f"{u}\t90\t7" for u in range(1, 5)]  # four listeners: too few
    files = {
        "artists.dat": [
            "id\tname\turl\tpictureURL",
            *[f'{a}\tArt"ist {a}\tu\tp' for a in range(1, artists + 1)],
            "90\tRare\tu\tp",
        ],
        "user_artists.dat": ["userID\tartistID\tweight", *listens],
        "user_taggedartists.dat": [
            "userID\tartistID\ttagID\tday\tmonth\tyear",
            *["1\t1\t5\t1\t4\t2009", "2\t1\t5\t1\t4\t2009", "1\t1\t6\t1\t4\t2009"],
            *["1\t2\t6\t1\t4\t2009", "3\t90\t6\t1\t4\t2009", "2\t2\t7\t1\t4\t2009"],
        ],
        "tags.dat": ["tagID\ttagValue", "5\trock", "6\tindie pop", "7\tsk\u00e4"],
    }
    return {name: "\r\n".join(lines) + "\r\n" for name, lines in files.items()}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder


def fma() -> dict[str, str]:
    groups = [",set,set,track,track,track,track,artist,artist,album,album"]
    names = [",split,subset,title,genres,listens,favorites,name,id,date_released,information"]
    rows = [
        '2,training,small,Food,"[21, 38]",1293,2,AWOL,1,2009-01-05 00:00:00,"<p>a,\nb</p>"',
        "3,test,medium,,[],0,0,AWOL,1,,",
        "5,validation,large,This World,[21],514,4,AWOL,1,2009-01-06 00:00:00,x",
    ]
    chroma = [
        "feature,chroma,chroma",
        "statistics,mean,mean",
        "number,01,02",
        *["track_id,,", "2,0.5,1", "5,3,4"],
    ]
    echonest = [
        ",echonest,echonest,echonest",
        ",audio_features,audio_features,metadata",
        ",energy,tempo,artist_name",
        *["track_id,,,", "2,0.6,165.9,AWOL", "3,0.1,90,AWOL"],
    ]
    tables = {
        "tracks.csv": [*groups, *names, "track_id,,,,,,,,,,", *rows],
        "genres.csv": [
            "genre_id,#tracks,parent,title,top_level",
            "21,9,0,Hip-Hop,21",
            "38,9,0,Folk,38",
        ],
        "features.csv": chroma,
        "echonest.csv": echonest,
    }
    return {f"fma_metadata/{name}": "\n".join(lines) + "\n" for name, lines in tables.items()}


def jamendo() -> dict[str, str]:
    head = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"
    one = "track_0000214\tartist_000014\talbum_000031\t14/214.mp3\t124.6\tgenre---punkrock\t"
    name = "data/splits/split-0/autotagging-{}.tsv".format
    return {
        name("train"): head + one + "mood/theme---dark\n",
        name("validation"): head + "track_2\tartist_2\talbum_2\t02/2.mp3\t90.0\tgenre---pop\n",
        name("test"): head + "track_3\tartist_3\talbum_3\t03/3.mp3\t90.0\tinstrument---piano\n",
        "data/raw.meta.tsv": "\t".join(META_COLUMNS)
        + '\ntrack_0000214\tartist_000014\talbum_000031\tA "quote\tThe Band\tX\t2004-12-28\tu\n'
        + "track_2\tartist_2\talbum_2\tTwo\t\tBand 2\tX\t0000-00-00\tu\n",
    }


def movielens() -> dict[str, str]:
    """Film 1 has three users who like it, 2 two, 3 one who doesn't, 4 nobody."""
    files = {
        "movies.csv": [
            "movieId,title,genres",
            '1,"Kettle, The (1995)",Comedy|Drama',
            '2,"""Quoted"" Film (1899–1901) ",(no genres listed)',
            "3,No Year,Drama",
            "4,Unrated (2001),War",
        ],
        "ratings.csv": [
            "userId,movieId,rating,timestamp",
            *["1,1,4.0,1000000000", "1,2,5.0,1000000001", "2,1,4.5,1000000002"],
            *["2,2,4.0,1000000003", "2,3,0.5,1000000004", "3,1,5.0,1000000005"],
        ],
        "tags.csv": [
            "userId,movieId,tag,timestamp",
            *["1,1,quiet,1000000000", '2,1,"slow, but ""good""",1000000000'],
            *["3,1,quiet,1000000000", "3,2,,1000000000", "1,4,loud,1000000000"],
        ],
        "genome-tags.csv": ["tagId,tag", "1,007", '2,"a, b"'],
        "genome-scores.csv": [
            "movieId,tagId,relevance",
            *["1,1,0.025", "1,2,0.5", "2,2,1", "2,1,0.75", "4,1,0.1", "4,2,0.1"],
        ],
    }
    return {f"ml-25m/{name}": "\n".join(lines) + "\n" for name, lines in files.items()}


def amazon() -> dict[str, str]:
    """Products A, B and C were rated; C has no metadata, D no rating."""
    ratings = [("u1", "A", 5.0), ("u2", "A", 4.0), ("u2", "B", 5.0), ("u2", "A", 5.0)]
    ratings += [("u3", "B", 2.0), ("u3", "C", 4.0)]
    times = [1600000000000 + 500 * i for i in range(len(ratings))]
    reviews = [
        {"rating": stars, "title": "x", "text": "y\n", "images": [], "asin": f"{product}1"}
        | {"parent_asin": product, "user_id": user, "timestamp": time, "helpful_vote": 0}
        for (user, product, stars), time in zip(ratings, times, strict=True)
    ]
    products = [
        {"main_category": "Digital Music", "title": "Tëa", "average_rating": 4.5, "price": None}
        | {
            "features": ["warm"],
            "description": ["Of leaves.", ""],
            "store": "Ann  Format: MP3 Music",
        }
        | {"categories": ["Digital Music", "Pop"], "details": {"a": 1}, "parent_asin": "A"},
        {"title": "", "features": [], "description": "cold", "store": None, "parent_asin": "B"},
        {"title": "Unrated", "store": "Bo", "categories": [], "parent_asin": "D"},
        {"title": "Tea again", "parent_asin": "A"},
    ]
    table = [
        f"{user},{product},{stars},{time}"
        for (user, product, stars), time in zip(ratings, times, strict=True)
    ]
    return {
        "Digital_Music.csv": "\n".join(["user_id,parent_asin,rating,timestamp", *table]) + "\n",
        "Digital_Music.jsonl": "".join(json.dumps(review) + "\n" for review in reviews),
        "meta_Digital_Music.jsonl": "".join(json.dumps(each) + "\n" for each in products),
    }


def music4all_onion(folder: Path) -> Path:
    files = {
        "userid_trackid_count.tsv": "user_id\ttrack_id\tcount\n"
        "u1\tAA\t3\nu2\tAA\t1\nu1\tBB\t1\nu2\tCC\t9\n",
        "userid_trackid_timestamp.tsv": "user_id\ttrack_id\ttimestamp\n"
        "u1\tAA\t2019-02-20 12:28:01\nu1\tAA\t2019-02-20 12:30\nu2\tCC\t1550665681\n",
        "id_genres_tf-idf.tsv": "id\trock\tindie pop\nAA\t0.5\t0.1\nBB\t0\t0.0\nZZ\t1\t1\n",
        "id_musicnn.tsv": "id\t0\t1\nAA\t0.5\t-1e-3\nCC\t2\t3\nZZ\t1\t1\n",
        "id_lyrics_sentiment.tsv": "id\tjoy\nBB\t0.25\n",
    }
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.bz2").write_bytes(bz2.compress(text.encode()))
    return folder


def yambda(folder: Path) -> Path:
    (folder / "flat" / "50m").mkdir(parents=True)
    day, end = DAY, LAST
    log = table(
        uid=[10, 10, 10, 20, 20, 30],
        timestamp=[5, 10, end - day // 2, 15, end - 2 * day + 5, end - 3],
        item_id=[7, 7, 8, 7, 9, 7],
        is_organic=[1, 0, 1, 1, 1, 1],
        played_ratio_pct=[100, 50, 120, 49, 90, 100],
        track_length_seconds=[200] * 6,
    )
    log.cast({"uid": pl.UInt32, "item_id": pl.UInt32, "timestamp": pl.UInt32}).write_parquet(
        folder / "flat" / "50m" / "listens.parquet"
    )
    table(artist_id=[4, 3, 5], item_id=[7, 7, 8]).write_parquet(folder / ARTISTS)
    vectors = [[0.5, 1.0], [2.0, 3.0], [4.0, 5.0], None]
    table(item_id=[7, 9, 1, 8], embed=vectors, normalized_embed=vectors).write_parquet(
        folder / EMBEDDINGS
    )
    return folder


def tarred(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            item = tarfile.TarInfo(name)
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
    return path


UNIQUE = (
    "TRA<SEP>SOA<SEP>Faster Pussy cat<SEP>Silent Night\n"
    "TRB<SEP>SOB<SEP>Beyoncé<SEP>\n"
    "TRC<SEP>SOA<SEP>Faster Pussy cat<SEP>Silent Night (live)\n"
    "TRD<SEP>SOD<SEP>Wrong<SEP>Match\n"
)


def msd_a(folder: Path) -> Path:
    train = [f"TR{i}" for i in range(5)]
    write(
        folder / "dlrs-data" / "splits",
        {
            "items_index_train_MSD-A-songs.tsv": "\n".join(train) + "\n",
            "items_index_test_MSD-A-songs.tsv": "TRA\nTRB\n",
        },
    )
    (folder / "dlrs-data" / "train_data").mkdir()
    for side, rows in (("train", 5), ("test", 2)):
        stem = folder / "dlrs-data" / "train_data" / f"X_{side}_{{}}_MSD-A-songs"
        np.save(str(stem).format("audio-emb"), np.full((rows, 2), rows, np.float32))
        np.savez(  # the authors' way to store a sparse matrix: here the identity's first rows
            str(stem).format("sem-bio"),
            data=np.ones(rows),
            indices=np.arange(rows),
            indptr=np.arange(rows + 1),
            shape=np.array([rows, 6]),
        )
    plays = {
        "triplets/msd-triplets_songs.tsv": b"u1\tTR0\t2\nu1\tTRA\t1\nu2\tTRX\t4\n",
        "triplets/msd-triplets_artists.tsv": b"u1\tAR0\t2\n",
    }
    tarred(folder / "triplets_msd-a.tar.gz", plays)
    (folder / "unique_tracks.txt").write_text(UNIQUE)
    return folder
