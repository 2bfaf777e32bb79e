"""Vectors that were made elsewhere, as Spark and others write them; no Spark is needed."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import Log, made_from

from coldstart.cli import main
from coldstart.commands.factorize import factorize
from coldstart.errors import InputError
from coldstart.factors.als import fold_in
from coldstart.factors.factorization import confidence_of
from coldstart.factors.factors import Factors
from coldstart.factors.folding import settings_of
from coldstart.factors.foreign import read_vector_table

SPARK = pl.List(pl.Float32)
"""As Spark writes `features`; an Array is what others call a list of a fixed size."""


def written(folder: Path, ids: list[Any], vectors: Any, kind: Any = SPARK, parts: int = 2) -> Path:
    """A folder as Spark leaves it: parts, one of them without a row, and `_SUCCESS`."""
    folder.mkdir(parents=True)
    table = pl.DataFrame(
        {"id": ids, "features": pl.Series(np.asarray(vectors).tolist(), dtype=kind)}
    )
    for number in range(parts):
        table[number::parts].write_parquet(folder / f"part-{number:05}-c000.snappy.parquet")
    table.clear().write_parquet(folder / f"part-{parts:05}-c000.snappy.parquet")
    (folder / "_SUCCESS").touch()
    return folder


def tables_of(made: Factors, folder: Path, **options: Any) -> dict[str, str]:
    order = np.random.default_rng(0).permutation(len(made.track_ids))
    ids = [made.track_ids[i] for i in order]
    tracks = written(folder / "tracks", ids, made.tracks[order], **options)
    users = written(folder / "users", made.user_ids, made.users, **options)
    return {"tracks": str(tracks), "users": str(users)}


@pytest.mark.parametrize(
    "kind", [SPARK, pl.List(pl.Float64), pl.Array(pl.Float32, 6), pl.Array(pl.Float64, 6)]
)
@pytest.mark.parametrize("algorithm", ["implicit", "explicit"])
def test_vectors_of_our_own_come_back_as_they_were(
    tiny_log: Log, tmp_path: Path, kind: Any, algorithm: str
) -> None:
    log, splits, held = tiny_log
    ours = made_from(tmp_path, log, splits, algorithm=algorithm)
    again = factorize(
        tmp_path / "listens.parquet",
        out=tmp_path / "again",
        splits=splits,
        algorithm=algorithm,  # type: ignore[arg-type]
        vectors=tables_of(ours, tmp_path, kind=kind),
    )
    assert again.track_ids == ours.track_ids
    assert again.dim == 6
    np.testing.assert_array_equal(again.tracks[~again.folded], ours.tracks[~ours.folded])
    np.testing.assert_array_equal(again.users, ours.users)
    np.testing.assert_allclose(again.tracks, ours.tracks, atol=1e-5)
    assert set(held) >= {
        t for t, folded in zip(again.track_ids, again.folded, strict=True) if folded
    }
    assert "made elsewhere" in Factors.load(tmp_path / "again").about["protocol"]


def test_vectors_of_held_out_tracks_are_not_used(tiny_log: Log, tmp_path: Path) -> None:
    log, splits, _ = tiny_log
    ours = made_from(tmp_path, log, splits)
    spoiled = ours.tracks.copy()
    spoiled[ours.folded] = 7
    places = tables_of(ours, tmp_path / "right")
    places["tracks"] = str(written(tmp_path / "spoiled", ours.track_ids, spoiled))
    options: dict[str, Any] = {"splits": splits, "vectors": places}
    again = factorize(tmp_path / "listens.parquet", out=tmp_path / "again", **options)
    np.testing.assert_allclose(again.tracks, ours.tracks, atol=1e-5)
    talk = factorize(tmp_path / "listens.parquet", out=tmp_path / "t", strict=False, **options)
    is_held = [talk.row[track] for track in ours.track_ids[int((~ours.folded).sum()) :]]
    assert (talk.tracks[is_held] == 7).all()
    assert not talk.folded.any()


def test_what_has_no_vector_is_solved_from_its_plays(tiny_log: Log, tmp_path: Path) -> None:
    log, splits, _ = tiny_log
    ours = made_from(tmp_path, log, splits)
    lacking = ours.user_ids[3]
    places = tables_of(ours, tmp_path)
    keep = [i for i, user in enumerate(ours.user_ids) if user != lacking]
    users = written(tmp_path / "fewer", [ours.user_ids[i] for i in keep], ours.users[keep])
    few = written(tmp_path / "one_less", ours.track_ids[1:], ours.tracks[1:])
    settings, warm = settings_of(ours.about), int((~ours.folded).sum())
    strength = confidence_of(ours.listens[:, :warm], settings)

    def made(tracks: str | Path, users: str | Path | None, out: str) -> Factors:
        vectors = {"tracks": str(tracks), **({"users": str(users)} if users else {})}
        log = tmp_path / "listens.parquet"
        return factorize(log, out=tmp_path / out, splits=splits, vectors=vectors)

    without = made(places["tracks"], users, "a")
    expected = fold_in(strength[3], ours.tracks[:warm], 0.05, "implicit")
    np.testing.assert_allclose(without.users[3], expected[0], atol=1e-5)
    np.testing.assert_array_equal(without.users[keep], ours.users[keep])
    one_less = made(few, places["users"], "b")
    expected = fold_in(strength[:, 0].T.tocsr(), ours.users, 0.05, "implicit")
    np.testing.assert_allclose(one_less.tracks[0], expected[0], atol=1e-5)
    no_users = made(places["tracks"], None, "c")
    expected = fold_in(strength, ours.tracks[:warm], 0.05, "implicit")
    np.testing.assert_allclose(no_users.users, expected, atol=1e-5)


def test_whole_numbers_are_ids(tmp_path: Path) -> None:
    log = pl.DataFrame({"user_id": [1, 1, 2], "track_id": [10, 20, 20], "plays": [1, 2, 3]})
    log.write_parquet(tmp_path / "listens.parquet")
    tracks = written(tmp_path / "tracks", [20, 10], [[1, 2], [3, 4]])
    users = written(tmp_path / "users", [2, 1], [[5, 6], [7, 8]])
    flags = [f"--vectors.tracks={tracks}", f"--vectors.users={users}", f"--out={tmp_path / 'f'}"]
    assert main(["factorize", str(tmp_path / "listens.parquet"), *flags]) == 0
    made = Factors.load(tmp_path / "f")
    assert (made.track_ids, made.user_ids) == (["10", "20"], ["1", "2"])
    assert made.tracks.tolist() == [[3, 4], [1, 2]]
    assert made.users.tolist() == [[7, 8], [5, 6]]


@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        (["a", "b", "c"], [[1, 2], None, [3, 4]], "row 2, id 'b', field 'features': is empty"),
        (["a", "b", "c"], [[1, 2], [1, 2], []], "row 3, id 'c', field 'features': is empty"),
        (["a", "b"], [[1, 2], [3, float("nan")]], "row 2, id 'b', field 'features': holds what"),
        (["a", "b"], [[float("inf"), 2], [3, 4]], "row 1, id 'a', field 'features': holds what"),
        (["a", "b"], [[1, None], [3, 4]], "row 1, id 'a', field 'features': holds what"),
        (["a", "b", "c"], [[1, 2], [1, 2], [1, 2, 3]], "row 3, id 'c', field 'features': is not 2"),
        (
            ["a", "b", "a"],
            [[1, 2], [1, 2], [3, 4]],
            "row 3, id 'a', field 'id': 'a' is there twice",
        ),
        ([None, "b"], [[1, 2], [3, 4]], "row 1, id None, field 'id': None is no id"),
    ],
)
def test_a_broken_vector_is_named_by_its_file_and_row(
    tmp_path: Path, ids: list[Any], vectors: list[Any], message: str
) -> None:
    (tmp_path / "v").mkdir()
    table = pl.DataFrame({"id": ids, "features": pl.Series(vectors, dtype=SPARK)})
    pl.DataFrame({"id": ["z"], "features": [[1.0, 2.0]]}).write_parquet(tmp_path / "v/0.parquet")
    table.write_parquet(tmp_path / "v/1.parquet")
    with pytest.raises(InputError, match="Mend it where the vectors were made") as error:
        read_vector_table(tmp_path / "v")
    assert str(error.value).startswith(f"1.parquet, {message}")


def test_files_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    written(tmp_path / "twice", ["a", "a"], [[1, 2], [3, 4]])
    with pytest.raises(InputError, match=r"id 'a' is there twice: in .*part-00000.*part-00001"):
        read_vector_table(tmp_path / "twice")
    pl.DataFrame({"id": ["b"], "v": [[1.0]]}).write_parquet(tmp_path / "twice/part-9.parquet")
    with pytest.raises(InputError, match=r"part-9.parquet: vectors of 1 numbers, but .*part-00000"):
        read_vector_table(tmp_path / "twice")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"id": ["a"], "x": [1.0]}, "needed are a column of ids"),
        ({"name": ["a"], "title": ["b"], "v": [[1.0]]}, "needed are a column of ids"),
        ({"id": ["a"], "v": [["1"]]}, "not lists of numbers"),
        ({"id": [1.5], "v": [[1.0]]}, "ids are text or whole numbers"),
        ({"id": pl.Series([], dtype=pl.String), "v": pl.Series([], dtype=SPARK)}, "no vector"),
    ],
)
def test_tables_that_hold_no_vectors_are_refused(
    tmp_path: Path, table: dict[str, Any], message: str
) -> None:
    pl.DataFrame(table).write_parquet(tmp_path / "v.parquet")
    with pytest.raises(InputError, match=message):
        read_vector_table(tmp_path / "v.parquet")


def test_what_these_vectors_cannot_do_is_said(tiny_log: Log, tmp_path: Path) -> None:
    log, splits, _ = tiny_log
    made = made_from(tmp_path, log, splits)
    places = tables_of(made, tmp_path)
    other = written(tmp_path / "numbers", [1, 2], [[1] * 6] * 2)
    wide = written(tmp_path / "wide", made.user_ids, np.ones((len(made.user_ids), 5)))

    def refused(message: str, vectors: dict[str, str], **options: Any) -> None:
        with pytest.raises(InputError, match=message):
            factorize(
                tmp_path / "listens.parquet",
                out=tmp_path / "no",
                splits=splits,
                vectors=vectors,
                **options,
            )
        assert not (tmp_path / "no").exists()

    refused("may have seen them", places, hold_out=0.2)
    refused("is neither `tracks` nor `users`", {**places, "artists": "x"})
    refused("--vectors.tracks is missing", {"users": places["users"]})
    refused("of no track that is factorised; ids are such as '1' there", {"tracks": str(other)})
    refused("vectors of 6 numbers, but .*wide: of 5", {**places, "users": str(wide)})
    refused("there is no such file", {"tracks": str(tmp_path / "nowhere")})
