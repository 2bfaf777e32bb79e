"""MSD-A, in its original format."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from originals import Made, write

from coldstart.errors import InputError
from coldstart.tables.vectors import read_vectors


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
