"""MSD-A, in its original format."""

from pathlib import Path

import numpy as np
import pytest
from originals import Made, msd_a, tarred, write

from coldstart.errors import InputError
from coldstart.tables.vectors import read_vectors


def test_msd_a_has_the_authors_split_and_vectors(made: Made, tmp_path: Path) -> None:
    folder = msd_a(tmp_path / "msd-a")
    got = made("msd-a", folder, embeddings=["audio-emb", "sem-bio"])
    assert got["listens"].rows() == [("u1", "TR0", 2), ("u1", "TRA", 1)]
    assert got["splits"].rows() == [
        *[(track, "train") for track in ("TR0", "TR1", "TR2", "TR3")],
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
