"""Folding in: the other side as factorised, all plays of the one that is solved."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import made_from, random_log
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from coldstart.errors import InputError
from coldstart.factors.als import turned
from coldstart.factors.factors import Factors
from coldstart.factors.folding import check_foldable, fold_listens

SPLITS = "track_id,split\n" + "".join(
    f"t{i:02},{'train' if i < 14 else 'test'}\n" for i in range(18)
)


@pytest.fixture
def splits(tmp_path: Path) -> Path:
    (tmp_path / "s.csv").write_text(SPLITS)
    return tmp_path / "s.csv"


def new_pairs(value: str = "plays") -> pl.DataFrame:
    """Known and new users (u20 to u27) and tracks (t16 to t21), known and new pairs."""
    log = pl.concat([random_log(5, 6, 18, 0.2), random_log(6, 8, 6, 0.6, first=16)])
    log = log.with_columns(pl.col("plays").cast(pl.Float64)).rename({"plays": value})
    return log.group_by("user_id", "track_id").agg(pl.col(value).sum()).sort("user_id", "track_id")


def dense(factors: Factors) -> NDArray[np.float32]:
    """[U, N] plays of the users and tracks, in the order of their ids."""
    order = np.argsort(factors.user_ids), np.argsort(factors.track_ids)
    values: NDArray[np.float32] = factors.listens.toarray()[order[0]][:, order[1]]
    return values


def library(base: Factors) -> AlternatingLeastSquares:
    """`implicit`'s own model with these factors."""
    model = AlternatingLeastSquares(
        factors=base.dim, regularization=base.about["regularization"], random_state=0
    )
    tracks, users = base.tracks[~base.folded], base.users
    if base.axes is not None:
        tracks, users = turned(tracks, base.axes.users.T), turned(users, base.axes.tracks.T)
    model.item_factors, model.user_factors = tracks, users
    return model


def confidence(plays: csr_matrix, about: dict[str, Any]) -> csr_matrix:
    """By the paper's formulas, anew."""
    result = plays.copy()
    alpha, linear = about["alpha"], about["weighting"] == "linear"
    result.data = 1 + alpha * result.data if linear else alpha * (1 + np.log(1 + result.data))
    return result


def drawn_to_the_mean(
    base: Factors, strength: csr_matrix, items: NDArray[np.float32], users: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Users by the normal equations, in float64, one by one."""
    tracks = items.astype(float)
    mean = users[base.users.any(axis=1)].astype(float).mean(0)
    penalty, everything = base.about["regularization"], tracks.T @ tracks
    solved = []
    for row in range(strength.shape[0]):
        entries = strength[[row]]
        q, c = tracks[entries.indices], entries.data.astype(float)
        unseen = min(1.0, len(c) / 20)
        left = unseen * everything + penalty * np.eye(base.dim) + (q.T * (c - unseen)) @ q
        solved.append(np.linalg.solve(left, c @ q + penalty * mean))
    return np.array(solved, np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weighting": "linear", "alpha": 3.0},
        {"shrinkage": 0.2},
        {"axes": "scores"},
        {"axes": "scores", "shrinkage": 0.2, "hold_out": 0.2},
    ],
)
def test_tracks_are_those_of_the_library_s_own_folding_and_users_are_drawn_to_the_mean(
    options: dict[str, Any], splits: Path, tmp_path: Path
) -> None:
    made_from(tmp_path, random_log(), splits, **options)
    base = Factors.load(tmp_path / "out")
    pairs = new_pairs()
    folded, users, tracks = fold_listens(base, pairs)
    warm, known = int((~base.folded).sum()), len(base.user_ids)
    model = library(base)
    strength = confidence(folded.listens, base.about)
    row = {user: i for i, user in enumerate(folded.user_ids)}
    rows = sorted({row[u] for u, t, _ in pairs.iter_rows() if folded.track_ids.index(t) < warm})
    expected = drawn_to_the_mean(
        base,
        strength[rows][:, :warm],
        np.asarray(model.item_factors),
        np.asarray(model.user_factors),
    )
    if base.axes is not None:
        expected = turned(expected, base.axes.users)
    np.testing.assert_allclose(folded.users[rows], expected, atol=1e-4, rtol=1e-4)  # float32
    columns = sorted({folded.row[t] for u, t, _ in pairs.iter_rows() if row[u] < known})
    expected = model.recalculate_item(columns, strength[:known][:, columns].T.tocsr())
    if base.axes is not None:
        expected = turned(expected, base.axes.tracks)
    np.testing.assert_allclose(folded.tracks[columns], expected, atol=1e-5, rtol=1e-5)
    assert (users, tracks) == (len(rows), len(columns))
    # Whatever wasn't touched stays to the bit.
    others = np.setdiff1d(np.arange(known), rows)
    np.testing.assert_array_equal(folded.users[others], base.users[others])
    others = np.setdiff1d(np.arange(len(base.track_ids)), columns)
    np.testing.assert_array_equal(folded.tracks[others], base.tracks[others])
    assert len(others) < len(base.track_ids)


def test_all_listens_are_there_also_withheld_ones(splits: Path, tmp_path: Path) -> None:
    log = random_log()
    base = made_from(tmp_path, log, splits, hold_out=0.2)
    folded = fold_listens(base, new_pairs()).factors
    together = pl.concat(
        [log.select("user_id", "track_id", "plays").cast({"plays": pl.Float64}), new_pairs()]
    )
    total = together.group_by("user_id", "track_id").agg(pl.col("plays").sum())
    pivoted = total.pivot("track_id", index="user_id", values="plays").sort("user_id").fill_null(0)
    expected = pivoted.select(sorted(folded.track_ids)).to_numpy()
    np.testing.assert_array_equal(dense(folded), expected)
    assert folded.withheld is None
    assert "withheld" not in folded.about
    assert folded.about["id"] == base.about["id"]


def test_new_and_held_out_tracks_are_marked_and_listeners_are_counted(
    splits: Path, tmp_path: Path
) -> None:
    base = made_from(tmp_path, random_log(), splits)
    folded = fold_listens(base, new_pairs()).factors
    known = {user for user, vector in zip(base.user_ids, base.users, strict=True) if vector.any()}
    assert len(known) == len(base.user_ids) - 1  # one played held-out tracks alone
    for track in ("t00", "t16", "t20"):
        column = folded.row[track]
        assert folded.folded[column] == (track != "t00")
        players = [
            user
            for user, plays in zip(
                folded.user_ids, folded.listens[:, [column]].toarray()[:, 0], strict=True
            )
            if plays and user in known
        ]
        assert folded.listeners[column] == len(players) > 0
    assert folded.split[folded.row["t16"]] == "test"
    assert folded.split[folded.row["t20"]] == ""
    counts = base.listens.getnnz(axis=0)
    assert base.listeners[:14].tolist() == counts[:14].tolist()
    assert (counts[14:] - base.listeners[14:]).sum() == base.listens[:, 14:][4].nnz > 0


def test_who_cannot_be_folded_gets_zeros(tmp_path: Path) -> None:
    base = made_from(tmp_path, random_log(), None)
    rows = [("new", "also new", 1.0), ("u00", "from a known user", 1.0), ("new 2", "t00", 1.0)]
    folding = fold_listens(base, pl.DataFrame(rows, ["user_id", "track_id", "plays"], orient="row"))
    folded = folding.factors
    assert (folding.users, folding.tracks) == (1, 1)
    has_vector = np.asarray(folded.users.any(axis=1)).tolist()
    vector = dict(zip(folded.user_ids, has_vector, strict=True))
    assert (vector["new"], vector["new 2"]) == (False, True)
    has = {track: bool(folded.tracks[folded.row[track]].any()) for _, track, _ in rows}
    assert has == {"also new": False, "from a known user": True, "t00": True}
    assert folded.listeners[folded.row["also new"]] == 0
    np.testing.assert_array_equal(folded.users[0], base.users[0])  # no factorised track is new


@pytest.mark.parametrize("axes", ["als", "scores"])
def test_ratings_solve_the_normal_equations_and_newer_ones_replace_older(
    axes: str, splits: Path, tmp_path: Path
) -> None:
    log = random_log().with_columns(plays=pl.col("plays") - 4)
    base = made_from(tmp_path, log, splits, algorithm="explicit", axes=axes, regularization=0.3)
    pairs = new_pairs("rating").with_columns(pl.col("rating") - 4)
    again = log.filter(pl.col("user_id") == "u01").row(0)[1]
    pairs = pl.concat(
        [
            pairs.filter(pl.col("user_id") != "u01"),
            pl.DataFrame({"user_id": ["u01"], "track_id": [again], "rating": [0.0]}),
        ]
    )
    folded = fold_listens(base, pairs).factors
    row, column = folded.user_ids.index("u01"), folded.row[again]
    assert (folded.listens[row].indices == column).sum() == 1
    assert folded.listens[row, column] == 0
    tracks, users = base.tracks[~base.folded].astype(float), base.users.astype(float)
    if base.axes is not None:
        tracks, users = tracks @ base.axes.users.T, users @ base.axes.tracks.T
    entries = folded.listens[row]
    seen = entries.indices < len(tracks)
    q, r = tracks[entries.indices[seen]], entries.data[seen]
    a = q.T @ q + 0.3 * len(r) * np.eye(base.dim)
    mean = users[base.users.any(axis=1)].mean(0)
    expected = mean + np.linalg.solve(a, q.T @ (r - q @ mean))
    if base.axes is not None:
        expected = expected @ base.axes.users
    np.testing.assert_allclose(folded.users[row], expected, atol=1e-4)


def test_axes_of_scores_fold_to_the_same_scores(splits: Path, tmp_path: Path) -> None:
    folded = [
        fold_listens(made_from(tmp_path / axes, random_log(), splits, axes=axes), new_pairs())
        for axes in ("als", "scores")
    ]
    one, two = (each.factors.users @ each.factors.tracks.T for each in folded)
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_factors_that_lack_their_axes_are_refused(splits: Path, tmp_path: Path) -> None:
    made_from(tmp_path, random_log(), splits, axes="scores")
    check_foldable(Factors.load(tmp_path / "out"), "out")
    (tmp_path / "out" / "axes.safetensors").unlink()
    with pytest.raises(InputError, match=r"out: an earlier version .* factorise again"):
        check_foldable(Factors.load(tmp_path / "out"), "out")
    made_from(tmp_path, random_log(), splits)
    check_foldable(Factors.load(tmp_path / "out"), "out")


def test_listens_that_do_not_determine_a_vector_are_refused(splits: Path, tmp_path: Path) -> None:
    base = made_from(tmp_path, random_log(), splits)
    base.about["regularization"] = 0.0
    base.tracks[:] = 0
    with pytest.raises(InputError, match="larger --regularization"):
        fold_listens(base, new_pairs())
