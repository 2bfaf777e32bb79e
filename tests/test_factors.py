import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import World
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.sparse import csr_matrix, random_array
from threadpoolctl import threadpool_limits

from coldstart.commands.factorize import factorize
from coldstart.errors import InputError
from coldstart.factors.als import explicit_als, fold_in, implicit_als
from coldstart.factors.factors import Factors
from coldstart.tables import read_listens, read_splits

Matrix = NDArray[np.float32]
Log = tuple[pl.DataFrame, Path, list[str]]
ALGORITHMS = ["implicit", "explicit"]
CHANGES = ["deleted", "multiplied", "given to everybody", "played by new listeners too"]
plays = pl.col("plays")


def made_from(folder: Path, log: pl.DataFrame, splits: Path | None, **options: Any) -> Factors:
    """Factorise a log given as a table of user_id, track_id, plays."""
    folder.mkdir(parents=True, exist_ok=True)
    if options.get("algorithm") == "explicit":
        log = log.rename({"plays": "rating"})
    log.write_parquet(folder / "listens.parquet")
    options = {"factors": 6, "iterations": 5, **options}
    return factorize(folder / "listens.parquet", out=folder / "out", splits=splits, **options)


def vectors(made: Factors) -> dict[str, dict[str, bytes]]:
    """Bytes of each vector by id: factorised tracks, folded tracks, users heard in training."""
    tracks = [(t, v.tobytes()) for t, v in zip(made.track_ids, made.tracks, strict=True)]
    users = zip(made.user_ids, made.users, strict=True)
    return {
        "tracks": {t: v for (t, v), f in zip(tracks, made.folded, strict=True) if not f},
        "folded": {t: v for (t, v), f in zip(tracks, made.folded, strict=True) if f},
        "users": {u: v.tobytes() for u, v in users if v.any()},
    }


def cosines(a: Matrix, b: Matrix) -> Matrix:
    a, b = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (a, b))
    return a @ b.T


@pytest.fixture
def world(tiny_world: World) -> Log:
    """The tiny world's log, its splits, and the ids of its held-out tracks."""
    sides = read_splits(tiny_world.splits)
    held = sides.filter(pl.col("split") != "train")["track_id"].to_list()
    return pl.read_parquet(tiny_world.catalogue / "listens.parquet"), tiny_world.splits, held


def change(log: pl.DataFrame, held: list[str], how: str) -> pl.DataFrame:
    is_held = pl.col("track_id").is_in(held)
    first_user, rest = log["user_id"].min(), log.filter(~is_held)
    if how == "deleted":
        return rest
    if how == "multiplied":
        return log.with_columns(pl.when(is_held).then(plays * 9).otherwise(plays))
    if how == "given to everybody":
        everybody = (
            log.select("user_id").unique().join(pl.DataFrame({"track_id": held}), how="cross")
        )
        return pl.concat([rest, everybody.with_columns(plays=pl.lit(5, log.schema["plays"]))])
    new = log.filter(is_held).with_columns(user_id=pl.concat_str(pl.lit("0"), "user_id"))
    assert new["user_id"].max() < first_user  # they come first in the matrix
    return pl.concat([log, new])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("how", CHANGES)
def test_held_out_plays_never_reach_the_factorised_vectors(
    world: Log, tmp_path: Path, algorithm: str, how: str
) -> None:
    log, splits, held = world
    options = {"splits": splits, "algorithm": algorithm}
    before = vectors(made_from(tmp_path / "a", log, **options))
    after = vectors(made_from(tmp_path / "b", change(log, held, how), **options))
    assert len(before["tracks"]) > 30
    assert before["tracks"] == after["tracks"]
    assert before["users"] == after["users"]
    assert set(before["folded"]) <= set(held)
    if how in ("multiplied", "given to everybody"):
        # Explicit ratings that are all multiplied are other ratings, too.
        assert all(after["folded"][t] != v for t, v in before["folded"].items())
    if how == "deleted":
        assert not after["folded"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_threads_do_not_change_a_bit(tmp_path: Path, algorithm: str) -> None:
    generator = np.random.default_rng(0)
    matrix = random_array((300, 400), density=0.05, format="csr", dtype=np.float32, rng=generator)
    options = {"factors": 16, "regularization": 0.1, "iterations": 3, "seed": 0}
    als = implicit_als if algorithm == "implicit" else explicit_als
    made = []
    for threads in (1, 2, None):
        with threadpool_limits(threads):
            made.append([part.tobytes() for part in als(csr_matrix(matrix), **options)])
    assert made[0] == made[1] == made[2]


def test_a_listener_of_held_out_tracks_alone_has_no_vector(world: Log, tmp_path: Path) -> None:
    log, splits, held = world
    alone = pl.DataFrame({"user_id": ["alone"], "track_id": held[:1], "plays": [3]}, log.schema)
    made = made_from(tmp_path, pl.concat([log, alone]), splits)
    assert not made.users[made.user_ids.index("alone")].any()
    assert made.about["users_without_training_listens"] == 1


@pytest.mark.parametrize(("strict", "protocol"), [(True, "strict cold start"), (False, "talk: ")])
def test_the_protocol_is_marked(world: Log, tmp_path: Path, strict: bool, protocol: str) -> None:
    log, splits, held = world
    made = made_from(tmp_path, log, splits, strict=strict)
    assert made.about["protocol"].startswith(protocol)
    assert {t for t, folded in zip(made.track_ids, made.folded, strict=True) if folded} == (
        set(held) & set(log["track_id"]) if strict else set()
    )
    sides = dict(read_splits(splits).iter_rows())
    assert made.split.tolist() == [sides[track] for track in made.track_ids]


def test_without_strictness_held_out_plays_shape_the_users(world: Log, tmp_path: Path) -> None:
    log, splits, held = world
    before = made_from(tmp_path / "a", log, splits, strict=False)
    after = made_from(tmp_path / "b", change(log, held, "multiplied"), splits, strict=False)
    assert not np.allclose(before.users, after.users)


def test_without_splits_everything_is_factorised(world: Log, tmp_path: Path) -> None:
    made = made_from(tmp_path, world[0], None)
    assert made.about["protocol"] == "everything factorised, no split given"
    assert set(made.split) == {""}
    assert not made.folded.any()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_folding_in_a_training_track_gives_its_factorised_vector(
    world: Log, tmp_path: Path, algorithm: str
) -> None:
    log, splits, _ = world
    made = made_from(
        tmp_path, log, splits, algorithm=algorithm, iterations=50, regularization=0.5, alpha=1.0
    )
    rows = made.listens[:, ~made.folded].T.tocsr()
    if algorithm == "implicit":
        rows.data = 1 + np.log1p(rows.data)
    again = fold_in(rows, made.users, 0.5, algorithm)
    assert (np.diag(cosines(again, made.tracks[~made.folded])) > 0.99).all()


@pytest.mark.parametrize("weighting", ["log", "linear"])
def test_a_folded_vector_solves_the_paper_s_normal_equations(
    world: Log, tmp_path: Path, weighting: str
) -> None:
    log, splits, _ = world
    made = made_from(tmp_path, log, splits, weighting=weighting, alpha=3.0, regularization=0.2)
    y = made.users.astype(np.float64)
    for row in np.flatnonzero(made.folded):
        r = made.listens[:, [row]].toarray().ravel().astype(np.float64)
        weight = 3.0 * (1 + np.log1p(r)) if weighting == "log" else 1 + 3.0 * r
        c, p = np.where(r > 0, weight, 1.0), (r > 0).astype(float)
        expected = np.linalg.solve((y.T * c) @ y + 0.2 * np.eye(made.dim), y.T @ (c * p))
        np.testing.assert_allclose(made.tracks[row], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_tracks_of_one_block_of_listeners_lie_together(tmp_path: Path, algorithm: str) -> None:
    # Two fifths of the plays inside a block are missing; half the tracks of each are held out.
    generator = np.random.default_rng(0)
    users, tracks, blocks = 60, 40, 4
    same = np.arange(users)[:, None] % blocks == np.arange(tracks) % blocks
    rows = [
        (f"u{u:02}", f"t{t:02}", 5 if same[u, t] else 1)
        for u, t in np.argwhere(generator.random(same.shape) < np.where(same, 0.6, 0.05))
    ]
    log = pl.DataFrame(rows, ["user_id", "track_id", "plays"], orient="row")
    sides = pl.DataFrame({"track_id": [f"t{t:02}" for t in range(tracks)]}).with_columns(
        split=pl.Series(["train"] * (tracks // 2) + ["test"] * (tracks // 2))
    )
    sides.write_csv(tmp_path / "splits.csv")
    made = made_from(
        tmp_path, log, tmp_path / "splits.csv", algorithm=algorithm, factors=4, iterations=20
    )
    block = np.array([int(track[1:]) % blocks for track in made.track_ids])
    near = cosines(made.tracks, made.tracks)
    np.fill_diagonal(near, -2)
    assert near.shape == (40, 40)
    assert (block[near.argmax(1)] == block).mean() > 0.95


def test_explicit_als_recovers_a_low_rank_matrix_from_a_part_of_it() -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(80, 3)) @ generator.normal(size=(60, 3)).T
    seen = generator.random(truth.shape) < 0.4
    assert (truth[seen] < 0).any()
    ratings = csr_matrix((truth[seen].astype(np.float32), np.nonzero(seen)), truth.shape)
    tracks, users = explicit_als(ratings, factors=3, regularization=1e-4, iterations=60, seed=0)
    error = (users @ tracks.T - truth)[~seen]
    assert np.sqrt((error**2).mean()) < 0.02 * truth.std()


def test_a_rating_of_zero_was_observed(tmp_path: Path) -> None:
    log = pl.DataFrame({"user_id": list("aabb"), "track_id": list("xyxy"), "plays": [0, 1, 2, -1]})
    made = made_from(tmp_path, log, None, algorithm="explicit", factors=2, regularization=1e-6)
    assert made.listens.nnz == 4
    np.testing.assert_allclose(made.users @ made.tracks.T, [[0, 1], [2, -1]], atol=0.02)


def test_explicit_regularisation_counts_once_for_every_rating() -> None:
    # One user, one factor, tracks fixed: p = Σ q r / (Σ q² + n λ).
    users = np.array([[1.0], [2.0], [3.0]], dtype=np.float32)
    ratings = csr_matrix(np.array([[2.0, 0.0, -1.0]], dtype=np.float32))
    (vector,) = fold_in(ratings, users, 0.5, "explicit")
    assert vector == pytest.approx((1 * 2 - 3 * 1) / (1 + 9 + 2 * 0.5))


def test_saving_and_loading_changes_nothing(world: Log, tmp_path: Path) -> None:
    log, splits, _ = world
    made = made_from(tmp_path, log, splits)
    back = Factors.load(tmp_path / "out")
    assert (back.track_ids, back.user_ids) == (made.track_ids, made.user_ids)
    for name in ("tracks", "users", "folded", "split", "plays"):
        np.testing.assert_array_equal(getattr(back, name), getattr(made, name))
    assert (back.listens != made.listens).nnz == 0
    assert back.about == made.about
    assert back.rows([made.track_ids[3], "nobody played it"]).tolist() == [3, -1]


def test_the_log_is_kept_whole(world: Log, tmp_path: Path) -> None:
    log, splits, _ = world
    made = made_from(tmp_path, log, splits)
    total = log.group_by("track_id").agg(plays.sum())
    assert dict(zip(made.track_ids, made.plays, strict=True)) == dict(total.iter_rows())


def test_the_folder_holds_no_pickle_and_keeps_folded_vectors_apart(
    world: Log, tmp_path: Path
) -> None:
    log, splits, _ = world
    made = made_from(tmp_path, log, splits)
    out = tmp_path / "out"
    assert {p.suffix for p in out.rglob("*")} == {".json", ".parquet", ".safetensors"}
    for path in out.glob("*.safetensors"):
        assert load_file(path)
    for path in out.glob("*.parquet"):
        assert len(pl.read_parquet(path))
    assert json.loads((out / "factors.json").read_text())["factors"] == 6
    assert len(load_file(out / "factors.safetensors")["tracks"]) == (~made.folded).sum()
    assert len(load_file(out / "folded.safetensors")["tracks"]) == made.folded.sum() > 0


def test_listens_of_unlisted_tracks_are_counted_and_left_out(
    world: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, splits, _ = world
    user = log["user_id"][0]
    extra = pl.DataFrame(
        {"user_id": [user, "new"], "track_id": ["new", "new"], "plays": [3, 4]}, log.schema
    )
    before = made_from(tmp_path / "a", log, splits)
    after = made_from(tmp_path / "b", pl.concat([log, extra]), splits)
    assert after.about["listens_of_unknown_tracks"] == 2
    assert "left out 2 listens of tracks that the splits don't list" in capsys.readouterr().out
    assert vectors(before) == vectors(after)


def test_splits_of_other_tracks_are_refused(world: Log, tmp_path: Path) -> None:
    log, _, _ = world
    (tmp_path / "s.csv").write_text("track_id,split\nx,train\n")
    with pytest.raises(InputError, match="no listen is of a track that"):
        made_from(tmp_path, log, tmp_path / "s.csv")
    (tmp_path / "s.csv").write_text(f"track_id,split\n{log['track_id'][0]},test\n")
    with pytest.raises(InputError, match="no training track was played"):
        made_from(tmp_path, log, tmp_path / "s.csv")


@pytest.mark.parametrize(
    "option", [{"factors": 0}, {"iterations": 0}, {"regularization": -1.0}, {"alpha": 0.0}]
)
def test_options_out_of_range_are_refused(
    world: Log, tmp_path: Path, option: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="at least 1"):
        made_from(tmp_path, world[0], None, **option)


FILES = ["factors.json", "factors.safetensors", "folded.safetensors", "listens.safetensors"]
FILES += ["tracks.parquet", "users.parquet"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["gone", "cut", "garbage"])
def test_an_incomplete_or_damaged_folder_says_so(
    tiny_world: World, tmp_path: Path, name: str, damage: str
) -> None:
    folder = tmp_path / "factors"
    shutil.copytree(tiny_world.factors, folder)
    content = (folder / name).read_bytes()
    if damage == "gone":
        (folder / name).unlink()
    else:
        wrong = content[: len(content) // 2] if damage == "cut" else b"\xff\x00 garbage"
        (folder / name).write_bytes(wrong)
    with pytest.raises(InputError) as error:
        Factors.load(folder)
    assert str(folder) in str(error.value)


def test_factors_of_another_version_or_number_are_refused(
    tiny_world: World, tmp_path: Path
) -> None:
    folder = tmp_path / "factors"
    shutil.copytree(tiny_world.factors, folder)
    pl.read_parquet(folder / "tracks.parquet")[1:].write_parquet(folder / "tracks.parquet")
    with pytest.raises(InputError, match="don't match in number"):
        Factors.load(folder)
    about = json.loads((folder / "factors.json").read_text())
    (folder / "factors.json").write_text(json.dumps({**about, "version": 99}))
    with pytest.raises(InputError, match="version 99"):
        Factors.load(folder)
    with pytest.raises(InputError, match="coldstart factorize"):
        Factors.load(tmp_path)


def test_an_interrupted_save_leaves_no_loadable_factors(
    tiny_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    made = Factors.load(tiny_world.factors)
    made.save(tmp_path)
    monkeypatch.setattr("coldstart.factors.factors.write_table", stop)
    with pytest.raises(KeyboardInterrupt):
        made.save(tmp_path)
    with pytest.raises(InputError, match="no factors here"):
        Factors.load(tmp_path)


def test_real_listeners_of_one_genre_lie_together(shared_data: Path, tmp_path: Path) -> None:
    # Last.fm artists stand for tracks. Neighbours share a genre more often than chance has it.
    table = pl.read_csv(shared_data / "lastfm" / "user_artists.dat", separator="\t")
    table.columns = ["user_id", "track_id", "plays"]
    table.write_csv(tmp_path / "listens.csv")
    made = factorize(tmp_path / "listens.csv", out=tmp_path / "out", factors=16, iterations=5)
    assert made.listens.shape == (1892, 17632)
    assert made.listens.sum() == read_listens(tmp_path / "listens.csv")["plays"].sum()
    genres: dict[str, set[str]] = {}
    for line in (shared_data / "lastfm" / "artist_genres.tsv").read_text().splitlines()[1:]:
        artist, genre = line.split("\t")[:2]
        genres.setdefault(artist, set()).add(genre)
    order = np.argsort(-made.plays)[:2000]
    popular = np.array([row for row in order if made.track_ids[row] in genres])
    near = cosines(made.tracks[popular], made.tracks[popular])
    np.fill_diagonal(near, -2)
    names = [genres[made.track_ids[row]] for row in popular]
    alike = np.mean([bool(names[i] & names[j]) for i, j in enumerate(near.argmax(1))])
    shuffled = np.random.default_rng(0).permutation(len(names))
    chance = np.mean([bool(a & names[j]) for a, j in zip(names, shuffled, strict=True)])
    assert alike > 2 * chance
