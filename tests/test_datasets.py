"""Public data sets: tiny samples in the original formats → tables; downloads from a real server."""

import bz2
import hashlib
import http.server
import io
import json
import re
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import coldstart as cs
from coldstart.cli import main
from coldstart.datasets import LOADERS, jamendo, music4all, yambda
from coldstart.datasets.fetching import HuggingFace, Remote, Zenodo, download
from coldstart.datasets.originals import About, Original, Originals
from coldstart.datasets.reading import pieces
from coldstart.errors import Broken, InputError
from coldstart.tables import read_attributes, read_listens, read_splits, read_tracks, read_vectors

Made = Callable[..., dict[str, pl.DataFrame]]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Run a loader; give its tables by name."""

    def make(name: str, source: object, **options: object) -> dict[str, pl.DataFrame]:
        out = tmp_path / "tables"
        cs.dataset(name, out=out, source=source, **options)
        assert not [path for path in out.iterdir() if path.name.startswith(".")], "leftovers"
        return {path.stem: pl.read_parquet(path) for path in out.glob("*.parquet")}

    return make


def table(**columns: object) -> pl.DataFrame:
    return pl.DataFrame(columns)


def same(got: pl.DataFrame, want: pl.DataFrame) -> None:
    assert_frame_equal(got, want, check_dtypes=False)


def zipped(path: Path, members: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            item = tarfile.TarInfo(name)
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
    return path


# ---- HetRec Last.fm


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


def test_hetrec_from_a_folder_or_its_zip(made: Made, tmp_path: Path) -> None:
    files = {**hetrec(), "artist_genres.tsv": "artistID\tgenre\n1\tSka\n1\tPunk\n"}
    folder = write(tmp_path / "hetrec", files)
    archive = zipped(tmp_path / "hetrec2011-lastfm-2k.zip", files)
    for source in (folder, archive, [str(archive)]):
        got = made("hetrec-lastfm", source, tags=2)
        want = [(str(u), str(a), 10 * u + a) for u in range(1, 6) for a in (1, 2)]
        assert got["listens"].rows() == want
        assert got["tracks"].rows() == [
            ("1", 'Art"ist 1', 'Art"ist 1', ["Ska", "Punk"]),
            ("2", 'Art"ist 2', 'Art"ist 2', None),
        ]
        # Of two tags equally often given, the one with the smaller number comes first.
        mgp = got["mgp"]
        assert mgp.columns == ["track_id", "rock", "indie pop"]
        assert mgp.row(0) == ("1", pytest.approx(np.log(3)), pytest.approx(np.log(2)))
        assert mgp.row(1) == ("2", 0.0, pytest.approx(np.log(2)))
    binary = made("hetrec-lastfm", folder, binary=True, min_listeners=4)
    assert binary["tracks"]["track_id"].to_list() == ["1", "2", "90"]
    assert binary["mgp"].rows()[0] == ("1", 1.0, 1.0, 0.0)
    assert binary["mgp"].columns == ["track_id", "indie pop", "rock", "sk\u00e4"]


def test_the_real_hetrec_gives_the_tables_that_the_figures_come_from(
    shared_data: Path, made: Made
) -> None:
    """Sums over the tables that the example's script made before the loader took its place."""
    got = made("hetrec-lastfm", shared_data / "lastfm")
    assert (len(got["listens"]), got["listens"]["plays"].sum()) == (71_365, 60_218_777)
    assert got["tracks"].row(0)[:2] == ("2", "Diary of Dreams")
    assert (len(got["tracks"]), got["tracks"]["genres"].list.len().sum()) == (2818, 7746)
    assert got["mgp"].columns[:5] == ["track_id", "rock", "alternative", "pop", "indie"]
    grades = got["mgp"].drop("track_id").to_numpy()
    assert grades.shape == (2818, 400)
    assert grades.sum(dtype=float) == pytest.approx(40407.121, abs=0.01)


def test_a_hetrec_sample_goes_through_split_factorize_and_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the commands that the verb names at its end."""
    files = hetrec(artists=12)
    tagged = "".join(f"1\t{a}\t{5 + a % 3}\t1\t4\t2009\n" for a in range(1, 13))
    files["user_taggedartists.dat"] = "userID\tartistID\ttagID\tday\tmonth\tyear\n" + tagged
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "hetrec", files)
    assert (
        main(["dataset", "hetrec-lastfm", "--binary", "--out", "tables", "--source", "hetrec"]) == 0
    )
    said = capsys.readouterr().out
    assert "non-commercial" in said
    assert "Cite: Cantador" in said
    commands = re.findall("^next: coldstart (.*)$", said, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["split", "factorize", "shard"]
    for command in commands:
        more = ["--factors", "4"] if command.startswith("factorize") else []
        assert main([*command.split(), *more]) == 0, command
    assert "mgp" in cs.Shards("tables/shards").modalities


def test_missing_files_columns_and_broken_rows_are_named(made: Made, tmp_path: Path) -> None:
    folder = write(tmp_path / "hetrec", hetrec())
    (folder / "tags.dat").unlink()
    with pytest.raises(
        InputError, match=r"hetrec: there is no file tags\.dat \(it is in hetrec2011"
    ):
        made("hetrec-lastfm", folder)
    with pytest.raises(InputError, match="nowhere: there is no such file or folder"):
        made("hetrec-lastfm", tmp_path / "nowhere")
    write(folder, {"tags.dat": "tagID\ttagName\n5\trock\n"})
    with pytest.raises(
        InputError, match=r"tags\.dat: there is no column 'tagValue'.*tagID, tagName"
    ):
        made("hetrec-lastfm", folder)
    files = hetrec()
    lines = files["user_artists.dat"].splitlines()
    lines[2:2] = ["1\t1", "7\t1\tmany", "8\t\t3"]
    write(folder, {**files, "user_artists.dat": "\n".join(lines)})
    with pytest.raises(InputError, match=r"user_artists\.dat, row 2, .*has 2 cells instead of 3"):
        made("hetrec-lastfm", folder)
    assert len(made("hetrec-lastfm", folder, skip_broken=True)["listens"]) == 10
    faults = pl.read_csv(tmp_path / "tables" / "broken.csv")
    assert faults.select("file", "row", "field").rows() == [
        ("user_artists.dat", 2, "line"),
        ("user_artists.dat", 4, "artistID"),
        ("user_artists.dat", 3, "weight"),
    ]
    with pytest.raises(InputError, match=r"there is no data set 'fmaa'\. Is it 'fma'\?"):
        made("fmaa", folder)


def test_a_damaged_archive_is_named(made: Made, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "hetrec2011-lastfm-2k.zip", hetrec())
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"2k\.zip: damaged archive.*fetch it again"):
        made("hetrec-lastfm", archive)
    packed = tmp_path / "userid_trackid_count.tsv.bz2"
    packed.write_bytes(bz2.compress(b"user_id\ttrack_id\tcount\n" * 1000)[:-20])
    with pytest.raises(InputError, match=r"count\.tsv\.bz2: damaged"):
        made("music4all-onion", tmp_path)


# ---- Music4All-Onion


def onion(folder: Path) -> Path:
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


def test_music4all_onion(made: Made, tmp_path: Path) -> None:
    folder = onion(tmp_path / "onion")
    got = made("music4all-onion", folder, embeddings=["musicnn"], attributes=["lyrics_sentiment"])
    assert got["listens"].rows() == [
        *[("u1", "AA", 3), ("u2", "AA", 1), ("u1", "BB", 1), ("u2", "CC", 9)]
    ]
    assert got["tracks"].rows() == [
        ("AA", "AA", "AA", ["rock", "indie pop"]),
        *[("BB", "BB", "BB", None), ("CC", "CC", "CC", None)],
    ]
    vectors = read_vectors(tmp_path / "tables" / "musicnn.parquet", [])
    assert {track: v.round(4).tolist() for track, v in vectors.items()} == {
        "AA": [0.5, pytest.approx(-0.001)],
        "CC": [2.0, 3.0],
    }
    same(got["lyrics_sentiment"], table(track_id=["BB"], joy=[0.25]))
    (folder / "id_information.csv").write_text('id\tartist\tsong\talbum_name\nAA\tCher\tOne "\tX\n')
    got = made("music4all-onion", folder, min_listeners=2)
    assert got["tracks"].rows() == [("AA", 'One "', "Cher", ["rock", "indie pop"])]
    assert len(made("music4all-onion", folder, min_plays=3)["listens"]) == 2


def test_features_that_are_no_numbers_are_named(made: Made, tmp_path: Path) -> None:
    folder = onion(tmp_path / "onion")
    text = "id\t0\t1\nAA\t0.5\tnan\nBB\t1\t1\nCC\t\t1e300\nZZ\tx\t1\n"
    (folder / "id_musicnn.tsv.bz2").write_bytes(bz2.compress(text.encode()))
    with pytest.raises(InputError, match=r"id_musicnn\.tsv, row 3, id 'CC', field '0': None is no"):
        made("music4all-onion", folder, embeddings=["musicnn"])
    got = made("music4all-onion", folder, embeddings=["musicnn"], skip_broken=True)
    assert got["musicnn"].rows() == [("BB", [1.0, 1.0])]
    faults = pl.read_csv(tmp_path / "tables" / "broken.csv").select("row", "field").rows()
    assert faults == [(3, 0), (1, 1), (3, 1)]  # nobody hears ZZ


def test_music4all_onion_with_times(made: Made, tmp_path: Path) -> None:
    got = made("music4all-onion", onion(tmp_path / "onion"), timestamps=True)["listens"]
    assert got["plays"].to_list() == [1, 1, 1]
    assert [str(time) for time in got["timestamp"]] == [
        *["2019-02-20 12:28:01", "2019-02-20 12:30:00", "2019-02-20 12:28:01"]
    ]
    pairs = read_listens(tmp_path / "tables" / "listens.parquet")
    assert pairs.rows() == [("u1", "AA", 2.0), ("u2", "CC", 1.0)]


# ---- Yambda


def yandex(folder: Path) -> Path:
    (folder / "flat" / "50m").mkdir(parents=True)
    day, end = yambda.DAY, yambda.LAST
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
    table(artist_id=[4, 3, 5], item_id=[7, 7, 8]).write_parquet(folder / yambda.ARTISTS)
    vectors = [[0.5, 1.0], [2.0, 3.0], [4.0, 5.0], None]
    table(item_id=[7, 9, 1, 8], embed=vectors, normalized_embed=vectors).write_parquet(
        folder / yambda.EMBEDDINGS
    )
    return folder


@pytest.mark.parametrize("group", [yambda.GROUP, 1])
def test_yambda(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int) -> None:
    monkeypatch.setattr(yambda, "GROUP", group)  # all at once, or user by user
    got = made("yambda", yandex(tmp_path / "yambda"), vectors=True, cold_days=1)
    assert got["listens"].rows() == [
        *[("10", "7", 2), ("10", "8", 1), ("20", "9", 1), ("30", "7", 1)]
    ]
    assert got["tracks"].select("track_id", "title", "artist", "artist_id").rows() == [
        ("7", "7", "3", "3"),
        ("8", "8", "5", "5"),
        ("9", "9", "unknown", None),
    ]
    assert got["splits"].rows() == [("7", "train"), ("8", "test"), ("9", "val")]
    vectors = read_vectors(tmp_path / "tables" / "audio.parquet", [])
    assert {track: v.tolist() for track, v in vectors.items()} == {"7": [0.5, 1], "9": [2, 3]}
    read_tracks(tmp_path / "tables" / "tracks.parquet")


def test_yambda_with_times_and_what_is_wrong(made: Made, tmp_path: Path) -> None:
    folder = yandex(tmp_path / "yambda")
    got = made("yambda", folder, timestamps=True, min_listeners=2, min_played=0)
    assert got["listens"].rows() == [
        *[("10", "7", 1, 5), ("10", "7", 1, 10), ("20", "7", 1, 15)],
        ("30", "7", 1, yambda.LAST - 3),
    ]
    path = folder / "flat" / "50m" / "listens.parquet"
    log = pl.read_parquet(path)
    log.with_columns(item_id=pl.col("item_id").replace(9, None)).write_parquet(path)
    with pytest.raises(InputError, match=r"listens\.parquet, row 5, .*'item_id': is empty"):
        made("yambda", folder)
    assert len(made("yambda", folder, skip_broken=True)["listens"]) == 3
    log.rename({"item_id": "item_ids"}).write_parquet(path)
    with pytest.raises(InputError, match=r"no column 'item_id'; .*`flat` is needed"):
        made("yambda", folder)
    with pytest.raises(InputError, match=r"there is no file flat/500m/listens\.parquet"):
        made("yambda", folder, size="500m")


# ---- Taste Profile and MSD-A

UNIQUE = (
    "TRA<SEP>SOA<SEP>Faster Pussy cat<SEP>Silent Night\n"
    "TRB<SEP>SOB<SEP>Beyoncé<SEP>\n"
    "TRC<SEP>SOA<SEP>Faster Pussy cat<SEP>Silent Night (live)\n"
    "TRD<SEP>SOD<SEP>Wrong<SEP>Match\n"
)


def test_taste_profile(made: Made, tmp_path: Path) -> None:
    triplets = "u1\tSOA\t1\nu1\tSOB\t3\nu2\tSOA\t2\nu2\tSOD\t5\n"
    folder = tmp_path / "msd"
    folder.mkdir()
    zipped(folder / "train_triplets.txt.zip", {"train_triplets.txt": triplets})
    (folder / "unique_tracks.txt").write_text(UNIQUE)
    (folder / "sid_mismatches.txt").write_text("ERROR: <SODXX TRX> a  -  b  !=  c  -  d\n")
    got = made("taste-profile", folder)
    assert got["listens"].rows() == [
        *[("u1", "SOA", 1), ("u1", "SOB", 3), ("u2", "SOA", 2), ("u2", "SOD", 5)]
    ]
    assert got["tracks"].rows() == [
        ("SOA", "Silent Night", "Faster Pussy cat", "TRA"),
        ("SOB", "SOB", "Beyoncé", "TRB"),
        ("SOD", "Match", "Wrong", "TRD"),
    ]
    (folder / "sid_mismatches.txt").write_text("ERROR: <SOD TRD> Wrong  -  Match  !=  c  -  d\n")
    assert made("taste-profile", folder)["tracks"]["track_id"].to_list() == ["SOA", "SOB"]
    assert len(made("taste-profile", folder, mismatches=True)["tracks"]) == 3
    assert made("taste-profile", folder, min_listeners=2)["listens"].rows() == [
        *[("u1", "SOA", 1), ("u2", "SOA", 2)]
    ]


def test_msd_a_has_the_authors_split_and_vectors(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "msd-a"
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
    got = made("msd-a", folder, embeddings=["audio-emb", "sem-bio"])
    assert got["listens"].rows() == [("u1", "TR0", 2), ("u1", "TRA", 1)]
    assert got["splits"].rows() == [
        *[(track, "train") for track in train[:4]],
        *[("TR4", "val"), ("TRA", "test"), ("TRB", "test")],
    ]
    assert got["tracks"].rows()[4:6] == [
        *[("TR4", "TR4", "TR4"), ("TRA", "Silent Night", "Faster Pussy cat")]
    ]
    vectors = read_vectors(tmp_path / "tables" / "audio_emb.parquet", [])
    assert vectors["TR4"].tolist() == [5, 5]
    assert vectors["TRB"].tolist() == [2, 2]
    sparse = read_vectors(tmp_path / "tables" / "sem_bio.parquet", [])
    assert sparse["TRB"].tolist() == [0, 1, 0, 0, 0, 0]
    with pytest.raises(InputError, match=r"no file X_train_bio_MSD-A-songs\.npy"):
        made("msd-a", folder, embeddings=["bio"])
    tarred(folder / "triplets_msd-a.tar.gz", {"a.tsv": b"u\tt\t1\n", "b.tsv": b"u\tt\t1\n"})
    with pytest.raises(InputError, match=r"there are: a\.tsv, b\.tsv\. Name it with --triplets"):
        made("msd-a", folder)


def test_a_pickle_among_the_matrices_is_refused(made: Made, tmp_path: Path) -> None:
    index = "items_index_{}_MSD-A-songs.tsv"
    folder = write(tmp_path / "m", {index.format("train"): "a\nb\n", index.format("test"): "c\n"})
    np.save(folder / "X_train_x_MSD-A-songs.npy", np.array([{}, {}], object), allow_pickle=True)
    (folder / "triplets.tsv").write_text("u\ta\t1\n")
    with pytest.raises(InputError, match=r"X_train_x_MSD-A-songs\.npy: not a readable matrix"):
        made("msd-a", folder, embeddings=["x"])


# ---- MTG-Jamendo and FMA


def jam(folder: Path) -> dict[str, str]:
    head = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"
    one = "track_0000214\tartist_000014\talbum_000031\t14/214.mp3\t124.6\tgenre---punkrock\t"
    name = "data/splits/split-0/autotagging-{}.tsv".format
    return {
        name("train"): head + one + "mood/theme---dark\n",
        name("validation"): head + "track_2\tartist_2\talbum_2\t02/2.mp3\t90.0\tgenre---pop\n",
        name("test"): head + "track_3\tartist_3\talbum_3\t03/3.mp3\t90.0\tinstrument---piano\n",
        "data/raw.meta.tsv": "\t".join(jamendo.META_COLUMNS)
        + '\ntrack_0000214\tartist_000014\talbum_000031\tA "quote\tThe Band\tX\t2004-12-28\tu\n'
        + "track_2\tartist_2\talbum_2\tTwo\t\tBand 2\tX\t0000-00-00\tu\n",
    }


def test_mtg_jamendo(made: Made, tmp_path: Path) -> None:
    archive = zipped(
        tmp_path / "clone.zip", {f"repo-master/{k}": v for k, v in jam(tmp_path).items()}
    )
    sound = tmp_path / "sound" / "14"
    sound.mkdir(parents=True)
    (sound / "214.low.mp3").write_bytes(b"")
    got = made("mtg-jamendo", archive, audio=str(tmp_path / "sound"))
    assert got["tracks"].select("track_id", "title", "artist", "artist_id", "genres").rows() == [
        ("track_0000214", 'A "quote', "The Band", "artist_000014", ["punkrock"]),
        ("track_2", "Two", "Band 2", "artist_2", ["pop"]),
        ("track_3", "track_3", "artist_3", "artist_3", []),
    ]
    assert [str(day) for day in got["tracks"]["release_date"]] == ["2004-12-28", "None", "None"]
    assert got["tracks"]["audio"].to_list() == [str(sound / "214.low.mp3"), None, None]
    names = ["genre---pop", "genre---punkrock", "instrument---piano", "mood/theme---dark"]
    assert got["tags"].columns == ["track_id", *names]
    assert [row[1:] for row in got["tags"].rows()] == [(0, 1, 0, 1), (1, 0, 0, 0), (0, 0, 1, 0)]
    assert got["splits"].rows() == [
        *[("track_0000214", "train"), ("track_2", "val"), ("track_3", "test")]
    ]
    assert "listens" not in got
    read_tracks(tmp_path / "tables" / "tracks.parquet")
    read_attributes(tmp_path / "tables" / "tags.parquet")
    read_splits(tmp_path / "tables" / "splits.parquet")
    with pytest.raises(InputError, match=r"no file data/splits/split-1/autotagging-train\.tsv"):
        made("mtg-jamendo", archive, split=1)


def fma_files() -> dict[str, str]:
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


def test_fma(made: Made, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "fma_metadata.zip", fma_files())
    sound = tmp_path / "fma_medium" / "000" / "000003.mp3"
    sound.parent.mkdir(parents=True)
    sound.write_bytes(b"")
    got = made("fma", archive, features=True, audio=str(tmp_path / "fma_medium"))
    assert got["tracks"].select("track_id", "title", "artist", "artist_id", "genres").rows() == [
        ("2", "Food", "AWOL", "1", ["Hip-Hop", "Folk"]),
        ("3", "3", "AWOL", "1", []),
    ]
    assert [str(day) for day in got["tracks"]["release_date"]] == ["2009-01-05", "None"]
    assert got["tracks"]["audio"].to_list() == [None, str(sound)]
    assert got["splits"].rows() == [("2", "train"), ("3", "test")]
    popularity = table(
        track_id=["2", "3"], log_listens=[np.log(1294), 0.0], log_favorites=[np.log(3), 0.0]
    )
    same(got["popularity"], popularity)
    same(got["echonest"], table(track_id=["2", "3"], energy=[0.6, 0.1], tempo=[165.9, 90.0]))
    vectors = read_vectors(tmp_path / "tables" / "features.parquet", [])
    assert {track: v.tolist() for track, v in vectors.items()} == {"2": [0.5, 1.0]}
    assert len(made("fma", archive, size="full")["tracks"]) == 3
    assert len(made("fma", archive, size="small")["tracks"]) == 1
    files = fma_files()
    files["fma_metadata/tracks.csv"] = files["fma_metadata/tracks.csv"].replace("title", "name", 1)
    with pytest.raises(InputError, match=r"tracks\.csv: there is no column 'track\.title'"):
        made("fma", write(tmp_path / "renamed", files))


# ---- what all of them share


def test_pieces_are_the_whole_file_whatever_their_size(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    lines = [f"{i}\t{'é' * (i % 7)}x" for i in range(50)]
    path.write_text("a\tb\n" + "\n".join(lines), encoding="utf-8")
    whole = pl.concat(pieces(Original(path), ["a"], Broken()))
    assert whole["__row"].to_list() == list(range(1, 51))
    for size in (1, 7, 64, 1000):
        assert pl.concat(pieces(Original(path), ["a"], Broken(), size=size)).equals(whole)
    path.write_text("x\ny\na\tb\n1\t2\n\n3\t4\n\n")
    for size in (1, 100):
        some = pl.concat(pieces(Original(path), ["a"], Broken(), skip=2, size=size))
        assert some.rows() == [("1", "2", 1), ("3", "4", 3)]
    path.write_text("a\tb\n")
    with pytest.raises(InputError, match="the file has no rows"):
        list(pieces(Original(path), ["a"], Broken()))


def test_a_name_in_an_archive_leads_nowhere(tmp_path: Path, made: Made) -> None:
    files = {f"../../{name}": text for name, text in hetrec().items()}
    before = {path for path in tmp_path.parent.rglob("*") if path.is_file()}
    assert len(made("hetrec-lastfm", zipped(tmp_path / "evil.zip", files))["tracks"]) == 2
    new = {path for path in tmp_path.parent.rglob("*") if path.is_file()} - before
    assert {path.parent.name for path in new} <= {"tables", tmp_path.name}


@pytest.mark.parametrize("name", LOADERS)
def test_every_data_set_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["dataset", name, "--help"])
    assert stop.value.code == 0
    assert "--source" in capsys.readouterr().out
    page = (Path(__file__).parents[1] / "docs" / "datasets.md").read_text(encoding="utf-8")
    assert f"coldstart dataset {name} " in page


# ---- downloads

BODY = bytes(range(256)) * 4096
MD5, SHA256 = hashlib.md5(BODY).hexdigest(), hashlib.sha256(BODY).hexdigest()


class Host:
    """Serves BODY in ranges, cut off when told to; and what Zenodo and Hugging Face would say."""

    def __init__(self) -> None:
        self.body, self.stop_after, self.ranges, self.asked = BODY, 0, True, list[str]()
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                host.asked.append(self.headers.get("Range", "all"))
                if self.path.startswith("/api/records/1"):
                    files = [{"key": "x.bin", "checksum": f"md5:{MD5}"}]
                    return self.answer(200, json.dumps({"files": files}).encode())
                if self.path.startswith("/raw/"):
                    return self.answer(200, f"version 1\noid sha256:{SHA256}\nsize 3\n".encode())
                if self.path == "/gone.bin":
                    return self.answer(404, b"")
                tag = f'"{hashlib.md5(host.body).hexdigest()}"'
                start = int((self.headers.get("Range") or "bytes=0-")[6:-1]) if host.ranges else 0
                if self.headers.get("If-Range", tag) != tag:
                    start = 0
                if start >= len(host.body):
                    return self.answer(416, b"", {"Content-Range": f"bytes */{len(host.body)}"})
                return self.answer(206 if start else 200, host.body[start:], {"ETag": tag})

            def answer(self, code: int, body: bytes, more: dict[str, str] | None = None) -> None:
                self.send_response(code)
                for key, value in {**(more or {}), "Content-Length": str(len(body))}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body[: host.stop_after] if host.stop_after else body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.server.shutdown()
    host.server.server_close()


def test_a_download_goes_on_where_it_broke_off(host: Host, tmp_path: Path) -> None:
    remote = Remote("x.bin", f"{host.address}/x.bin", f"sha256:{SHA256}")
    host.stop_after = 300_000
    with pytest.raises(InputError, match=r"300,000 of 1,048,576 bytes\. The same command goes on"):
        download(remote, tmp_path)
    assert not (tmp_path / "x.bin").exists()
    host.stop_after = 0
    assert download(remote, tmp_path).read_bytes() == BODY
    assert host.asked == ["all", "bytes=300000-"]
    assert download(remote, tmp_path).read_bytes() == BODY
    assert len(host.asked) == 2, "what is there is not fetched again"
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock") == [
        *["x.bin", "x.bin.checksum.json"]
    ]


def test_a_download_begins_anew_where_it_must(host: Host, tmp_path: Path) -> None:
    remote = Remote("x.bin", f"{host.address}/x.bin")
    for case in ("another version", "no ranges", "more than all", "all but the name"):
        folder = tmp_path / case
        host.body, host.ranges, host.stop_after = BODY, True, 1000
        with pytest.raises(InputError, match="broke off"):
            download(remote, folder)
        host.stop_after = 0
        if case == "another version":
            host.body = BODY[::-1]
        elif case == "no ranges":
            host.ranges = False
        else:
            longer = b"?" if case == "more than all" else b""
            (folder / "x.bin.part").write_bytes(BODY + longer)
        assert download(remote, folder).read_bytes() == host.body, case


def test_a_wrong_checksum_leaves_nothing_that_counts(host: Host, tmp_path: Path) -> None:
    remote = Remote("x.bin", f"{host.address}/x.bin", "md5:" + 32 * "0", by="a friend")
    with pytest.raises(InputError, match=rf"is md5:{MD5}, but should be md5:0+ \(says a friend\)"):
        download(remote, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []
    (tmp_path / "x.bin").write_bytes(b"by hand")
    with pytest.raises(InputError, match=r"Delete .*x\.bin\. Try again"):
        download(remote, tmp_path)
    assert (tmp_path / "x.bin").read_bytes() == b"by hand", "people's own files stay"


def test_without_a_published_checksum_the_first_one_is_recorded(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remote = Remote("x.bin", f"{host.address}/x.bin")
    path = download(remote, tmp_path)
    assert f"no checksum is published; sha256:{SHA256} is recorded" in capsys.readouterr().out
    about = json.loads((tmp_path / "x.bin.checksum.json").read_text())
    assert about["checksum"] == f"sha256:{SHA256}"
    assert about["published_by"] == ""
    path.unlink()
    host.body = BODY[1:]
    with pytest.raises(InputError, match=r"says the first one, in .*x\.bin\.checksum\.json"):
        download(remote, tmp_path)


def test_zenodo_and_hugging_face_are_asked_for_their_checksums(host: Host, tmp_path: Path) -> None:
    zenodo = Zenodo("a/x.bin", f"{host.address}/records/1/files/x.bin?download=1")
    assert zenodo.published() == f"md5:{MD5}"
    assert download(zenodo, tmp_path) == tmp_path / "a" / "x.bin"
    other = Zenodo("y.bin", f"{host.address}/records/1/files/y.bin?download=1")
    with pytest.raises(InputError, match=r"has no file 'y\.bin'; it has: x\.bin"):
        download(other, tmp_path)
    face = HuggingFace("z.bin", f"{host.address}/resolve/main/z.bin")
    assert face.published() == f"sha256:{SHA256}"
    assert download(face, tmp_path).read_bytes() == BODY


def test_what_cannot_be_fetched_is_named(host: Host, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.bin: can't be fetched .*404"):
        download(Remote("x", f"{host.address}/gone.bin"), tmp_path)
    with pytest.raises(InputError, match=r"127\.0\.0\.1:1/x: can't be fetched"):
        download(Remote("x", "http://127.0.0.1:1/x"), tmp_path)
    with pytest.raises(InputError, match=r"file:///etc/passwd: can't be fetched"):
        download(Remote("x", "file:///etc/passwd"), tmp_path)


def test_a_data_set_is_downloaded_where_nothing_is_brought(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLDSTART_CACHE", str(tmp_path / "cache"))
    host.body = zipped(tmp_path / "d.zip", {"x/y.tsv": "a\n1\n"}).read_bytes()
    about = About("d", "D", "page", "terms", "cite", (Remote("d.zip", f"{host.address}/d.zip"),))
    files = Originals(about)
    assert files.need("y.tsv", "d.zip").bytes() == b"a\n1\n"
    assert (tmp_path / "cache" / "datasets" / "d" / "d.zip").is_file()
    with pytest.raises(InputError, match="there is no file z"):
        files.need("z.tsv", "d.zip")


def test_addresses_are_addresses_and_checksums_checksums() -> None:
    for about in (jamendo.ABOUT, music4all.ABOUT, yambda.ABOUT):
        for remote in about.remotes:
            assert re.fullmatch(r"https?://\S+", remote.address)
            assert re.fullmatch(
                r"|md5:[0-9a-f]{32}|sha1:[0-9a-f]{40}|sha256:[0-9a-f]{64}", remote.checksum
            )
