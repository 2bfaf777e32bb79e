"""Vectors, texts and files as modalities: any table people bring → shards."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldstart.cli import main
from coldstart.commands.shard import shard
from coldstart.errors import InputError
from coldstart.shards.reading import Shards
from coldstart.tables.attributes import read_column
from coldstart.tables.vectors import read_vectors

IDS = ["a", "b/ü", "c.d", "e"]


@pytest.fixture
def tracks(tmp_path: Path) -> Path:
    table = pl.DataFrame({"track_id": IDS, "title": IDS, "artist": "x"})
    table.write_parquet(tmp_path / "tracks.parquet")
    return tmp_path / "tracks.parquet"


def stored(folder: Path, field: str) -> dict[str, bytes]:
    dataset = Shards(folder)
    return {
        sample["track_id"]: sample[field]
        for number in range(len(dataset.shard_sizes("test")))
        for sample in dataset.samples("test", number, [field])
        if field in sample
    }


VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.mark.parametrize("form", ["lists", "columns", "csv", "npy"])
def test_vectors_come_from_lists_columns_or_npy(form: str, tracks: Path, tmp_path: Path) -> None:
    path = tmp_path / {"csv": "v.csv", "npy": "v.npy"}.get(form, "v.parquet")
    wide = pl.DataFrame(VECTORS, schema=["x", "y", "z"]).insert_column(
        0, pl.Series("track_id", IDS)
    )
    if form == "lists":
        pl.DataFrame({"track_id": IDS, "v": VECTORS.tolist()}).write_parquet(path)
    elif form == "columns":
        wide.write_parquet(path)
    elif form == "csv":
        wide.write_csv(path)
    else:
        np.save(path, VECTORS.astype(np.float16))
    args = ["shard", str(tracks), f"--embeddings.mert={path}", f"--out={tmp_path / 'out'}"]
    assert main(args) == 0
    got = stored(tmp_path / "out", "mert.npy")
    for track, row in zip(IDS, VECTORS, strict=True):
        assert np.load(io.BytesIO(got[track]), allow_pickle=False).tolist() == row.tolist()
    facts = Shards(tmp_path / "out").info("mert")
    assert facts["mean"] == VECTORS.mean(0).tolist()


def test_texts_and_files_are_stored_as_they_are(tracks: Path, tmp_path: Path) -> None:
    words = ["Ünder the bridge", "", "la la\nla", None]
    pl.DataFrame({"track_id": IDS, "text": words}).write_parquet(tmp_path / "lyrics.parquet")
    (tmp_path / "covers").mkdir()
    (tmp_path / "covers" / "a b.jpg").write_bytes(b"\xff\xd8 picture")
    covers = pl.DataFrame({"track_id": ["a", "gone"], "path": ["covers/a b.jpg", "covers/x.jpg"]})
    covers.write_csv(tmp_path / "covers.csv")
    shard(
        tracks,
        out=tmp_path / "out",
        texts={"lyrics": str(tmp_path / "lyrics.parquet")},
        files={"cover": str(tmp_path / "covers.csv")},
    )
    assert stored(tmp_path / "out", "lyrics.txt") == {
        "a": "Ünder the bridge".encode(),
        "c.d": b"la la\nla",
    }
    assert stored(tmp_path / "out", "cover.bin") == {"a": b"\xff\xd8 picture"}


def test_a_file_that_is_not_there_is_named_or_skipped(
    tracks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "empty.jpg").touch()
    paths = {"a": "a.jpg", "b/ü": "nowhere.jpg", "e": "empty.jpg"}
    pl.DataFrame({"track_id": list(paths), "path": list(paths.values())}).write_csv(
        tmp_path / "covers.csv"
    )
    args = ["shard", str(tracks), f"--files.cover={tmp_path / 'covers.csv'}"]
    assert main([*args, f"--out={tmp_path / 'x'}"]) == 2
    said = capsys.readouterr().err
    assert "field 'cover': " in said
    assert "nowhere.jpg: can't be read" in said or "empty.jpg: the file is empty" in said
    assert main([*args, f"--out={tmp_path / 'y'}", "--skip-broken"]) == 0
    assert stored(tmp_path / "y", "cover.bin") == {"a": b"x"}
    listed = pl.read_csv(tmp_path / "y" / "broken.csv")
    assert set(listed["item"]) == {"track 'b/ü'", "track 'e'"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0, 2.0], [1.0], [1.0, 2.0], [3.0, 4.0]], "row 2, track 'b/ü', field 'v': is not 2"),
        ([[1.0, 2.0], None, [1.0, 2.0], [3.0, 4.0]], "row 2"),
        ([[1.0, 2.0], [1.0, 2.0], [float("nan"), 2.0], [1.0, 2.0]], "row 3.*no finite number"),
    ],
)
def test_a_vector_that_does_not_fit_is_named(
    values: list[Any], message: str, tmp_path: Path
) -> None:
    pl.DataFrame({"track_id": IDS, "v": values}).write_parquet(tmp_path / "v.parquet")
    with pytest.raises(InputError, match=message):
        read_vectors(tmp_path / "v.parquet", IDS)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((3, 2)), r"needed are numbers \[4, width\]"),
        (np.ones(4), r"needed are numbers \[4, width\]"),
        (np.array([[1.0], [np.inf], [1.0], [1.0]]), "row 1 .*no finite number"),
        (np.array([{}] * 4, dtype=object), "not a readable"),
    ],
)
def test_a_matrix_that_does_not_fit_is_refused(
    array: np.ndarray, message: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "v.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=message):
        read_vectors(tmp_path / "v.npy", IDS)


def test_one_name_has_one_source(tracks: Path, tmp_path: Path) -> None:
    for form in ("x", "y"):
        table = pl.DataFrame({"track_id": IDS, "n": [1.0, 2, 3, 4], "text": IDS})
        table.write_parquet(tmp_path / f"{form}.parquet")
    x, y = str(tmp_path / "x.parquet"), str(tmp_path / "y.parquet")
    with pytest.raises(InputError, match="two sources for a modality 'a'"):
        shard(tracks, out=tmp_path / "out", texts={"a": x}, files={"a": y})
    with pytest.raises(InputError, match="'audio' can't be the name"):
        shard(tracks, out=tmp_path / "out", texts={"audio": x})
    with pytest.raises(InputError, match="there is no column 'path'"):
        shard(tracks, out=tmp_path / "out", files={"a": y})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=8)), min_size=1, max_size=6))
def test_empty_texts_are_missing(tmp_path_factory: pytest.TempPathFactory, texts: Any) -> None:
    path = tmp_path_factory.mktemp("texts") / "t.parquet"
    ids = [f"t{i}" for i in range(len(texts))]
    frame = pl.DataFrame(
        {"track_id": ids, "text": texts}, schema={"track_id": pl.String, "text": pl.String}
    )
    frame.write_parquet(path)
    there = {i: t for i, t in zip(ids, texts, strict=True) if t is not None and t.strip()}
    try:
        got = dict(read_column(path, "text").iter_rows())
    except InputError:
        got = {}
    # What is blank to one library and not to the other is a matter of Unicode's rarest spaces.
    assert {i for i in got if got[i].strip()} == set(there)
    assert all(got[i] == text for i, text in there.items())
