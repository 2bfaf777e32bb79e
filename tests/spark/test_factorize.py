"""`factorize --engine spark` beside the same verb on one machine, in real worker processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import torch
from helpers import cosines, made_from
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from spark_processes import LINUX, executor_killed

from coldstart.cli import main
from coldstart.commands.factorize import factorize
from coldstart.datasets.loaders import hetrec_lastfm
from coldstart.errors import InputError
from coldstart.evaluation.metrics import ndcg_at_k
from coldstart.factors.als import explicit_als, fold_in
from coldstart.factors.factorization import confidence_of
from coldstart.factors.factors import Factors
from coldstart.factors.folding import settings_of
from coldstart.spark.factorization import BLOCKS, WAY, spark_als
from coldstart.spark.half_steps import block_bounds, fold_in_on

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def block_log(folder: Path, users: int = 60, tracks: int = 40, blocks: int = 4) -> pl.DataFrame:
    """Listeners of one block play its tracks: two fifths of these plays are missing, few others."""
    generator = np.random.default_rng(0)
    same = np.arange(users)[:, None] % blocks == np.arange(tracks) % blocks
    heard = generator.random(same.shape) < np.where(same, 0.6, 0.05)
    rows = [(f"u{u:02}", f"t{t:02}", 5 if same[u, t] else 1) for u, t in np.argwhere(heard)]
    sides = ["train"] * (tracks // 2) + ["test"] * (tracks // 2)
    names = {"track_id": [f"t{t:02}" for t in range(tracks)], "split": sides}
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(names).write_csv(folder / "splits.csv")
    return pl.DataFrame(rows, ["user_id", "track_id", "plays"], orient="row")


@contextmanager
def setting(spark: "SparkSession", key: str, value: str) -> Iterator[None]:
    spark.conf.set(key, value)
    try:
        yield
    finally:
        spark.conf.unset(key)


def strength_of(made: Factors) -> csr_matrix:
    warm = int((~made.folded).sum())
    active = np.flatnonzero(made.users.any(axis=1))
    return confidence_of(made.listens[:, :warm], settings_of(made.about))[active]


def test_a_planted_answer_is_found_with_the_same_protocol(
    spark: "SparkSession", tmp_path: Path
) -> None:
    log = block_log(tmp_path)
    options: dict[str, Any] = {"factors": 4, "iterations": 8}
    here = made_from(tmp_path, log, tmp_path / "splits.csv", **options)
    flags = ["--engine=spark", "--factors=4", "--iterations=8", f"--out={tmp_path / 'there'}"]
    splits = f"--splits={tmp_path / 'splits.csv'}"
    assert main(["factorize", str(tmp_path / "listens.parquet"), splits, *flags]) == 0
    there = Factors.load(tmp_path / "there")
    block = np.array([int(track[1:]) % 4 for track in there.track_ids])
    near = cosines(there.tracks, there.tracks)
    np.fill_diagonal(near, -2)
    assert (block[near.argmax(1)] == block).mean() > 0.95  # held-out tracks', too
    assert there.track_ids == here.track_ids
    assert there.folded.tolist() == here.folded.tolist()
    different = {"id", "mean", "spread"}
    own = {key: value for key, value in here.about.items() if key not in different}
    assert own | {"engine": "spark", "als": "rows"} == {
        k: v for k, v in there.about.items() if k not in different
    }
    assert [path.name for path in tmp_path.glob(".*")] == []
    # What it ends with solves our equations, with the same λ for every track.
    warm, active = int((~there.folded).sum()), there.users.any(axis=1)
    again = fold_in(strength_of(there).T.tocsr(), there.users[active], 0.05, "implicit")
    np.testing.assert_allclose(there.tracks[:warm], again, atol=1e-5)


def test_held_out_plays_never_reach_the_factorised_vectors(
    spark: "SparkSession", tmp_path: Path
) -> None:
    log = block_log(tmp_path)
    is_held = pl.col("track_id") >= "t20"
    more = log.with_columns(plays=pl.when(is_held).then(pl.col("plays") * 9).otherwise("plays"))
    options: dict[str, Any] = {"engine": "spark", "shrinkage": 0.1, "axes": "scores", "factors": 3}
    before, after = (
        made_from(tmp_path / name, table, tmp_path / "splits.csv", **options)
        for name, table in (("a", log), ("b", more))
    )
    warm = int((~before.folded).sum())
    np.testing.assert_allclose(before.tracks[:warm], after.tracks[:warm], atol=1e-5)
    np.testing.assert_allclose(before.users, after.users, atol=1e-5)
    assert np.abs(before.tracks[warm:] - after.tracks[warm:]).max() > 0.01
    np.testing.assert_allclose(before.users.T @ before.users / 60, np.eye(3), atol=1e-4)


def test_vectors_that_others_made_are_completed_on_executors(
    spark: "SparkSession", tmp_path: Path
) -> None:
    log, splits = block_log(tmp_path), tmp_path / "splits.csv"
    ours = made_from(tmp_path, log, splits)
    ids = {"id": ours.track_ids, "features": ours.tracks.tolist()}
    pl.DataFrame(ids).write_parquet(tmp_path / "tracks.parquet")
    options: dict[str, Any] = {"vectors": {"tracks": str(tmp_path / "tracks.parquet")}}
    here = made_from(tmp_path / "here", log, splits, **options)
    there = made_from(tmp_path / "there", log, splits, engine="spark", **options)
    np.testing.assert_allclose(there.users, here.users, atol=1e-5)
    np.testing.assert_allclose(there.tracks, here.tracks, atol=1e-5)
    assert there.about["protocol"] == here.about["protocol"]


@pytest.mark.parametrize("by_ml", [True, False])
def test_explicit_als_recovers_a_low_rank_matrix_from_a_part_of_it(
    spark: "SparkSession", tmp_path: Path, by_ml: bool
) -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(80, 3)) @ generator.normal(size=(60, 3)).T
    seen = generator.random(truth.shape) < 0.4
    ratings = csr_matrix(np.where(seen, truth, 0).astype(np.float32))
    options: dict[str, Any] = {"factors": 3, "regularization": 1e-4, "iterations": 15, "seed": 0}
    tracks, users = spark_als(spark, tmp_path, "explicit", by_ml, ratings, **options)
    error = (users @ tracks.T - truth)[~seen]
    assert np.sqrt((error**2).mean()) < 0.02 * truth.std()
    assert list(tmp_path.iterdir()) == []
    if not by_ml:
        for got, expected in zip((tracks, users), explicit_als(ratings, **options), strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize("algorithm", ["implicit", "explicit"])
def test_rows_solved_in_blocks_are_those_of_one_process(
    spark: "SparkSession", tmp_path: Path, algorithm: Any
) -> None:
    generator = np.random.default_rng(0)
    dense = np.where(generator.random((300, 90)) < 0.1, 1 + 4 * generator.random((300, 90)), 0)
    dense[5] = 2.0  # a track that everybody plays is a block of its own
    dense[7] = 0.0
    rows = csr_matrix(dense.astype(np.float32))
    other = generator.normal(size=(90, 8)).astype(np.float32)
    assert len(block_bounds(rows.indptr, 60)) > 30
    got = fold_in_on(spark, tmp_path, rows, other, 0.3, algorithm, entries=60)
    np.testing.assert_allclose(got, fold_in(rows, other, 0.3, algorithm), atol=1e-5)
    assert list(tmp_path.iterdir()) == []


def test_what_spark_cannot_solve_is_said(spark: "SparkSession", tmp_path: Path) -> None:
    log = block_log(tmp_path)
    with (
        setting(spark, WAY, "ml"),
        pytest.raises(InputError, match=r"needs confidences above 1, .* least is 0\.16"),
    ):
        made_from(tmp_path, log, None, engine="spark", alpha=0.1)
    rows, other = csr_matrix(np.eye(3, dtype=np.float32)), np.ones((3, 2), np.float32)
    with pytest.raises(InputError, match="raise --regularization, or take fewer --factors"):
        fold_in_on(spark, tmp_path, rows, other, 0.0, "implicit")
    for key, message in ((BLOCKS, "a whole number from 1 on"), (WAY, "is neither `ml` nor `rows`")):
        with (
            setting(spark, WAY, "ml"),
            setting(spark, key, "several"),
            pytest.raises(InputError, match=f"--{key}: .*{message}"),
        ):
            made_from(tmp_path, log, None, engine="spark")


@LINUX
@pytest.mark.parametrize(
    ("way", "begun"), [("ml", "checkpoints/*/rdd-*"), ("rows", "by_track/other.npy")]
)
def test_the_result_is_the_same_if_an_executor_is_killed_in_the_middle(
    spark: "SparkSession", tmp_path: Path, way: str, begun: str
) -> None:
    log = block_log(tmp_path, users=200, tracks=120)
    options: dict[str, Any] = {"engine": "spark", "factors": 4, "iterations": 7}
    with setting(spark, WAY, way), setting(spark, BLOCKS, "2"):
        calm = made_from(tmp_path / "calm", log, tmp_path / "splits.csv", **options)
    rough = tmp_path / "rough"
    with (
        executor_killed(
            lambda: any(rough.glob(f".out.spark-*/{begun}")),
            lambda: (rough / "out" / "factors.json").exists(),
        ),
        setting(spark, WAY, way),
        setting(spark, BLOCKS, "2"),
    ):
        made = made_from(rough, log, tmp_path / "splits.csv", **options)
    # Spark ML may add up in the order in which parts arrive; rows are each solved alone.
    tolerance = 1e-4 if way == "ml" else 0.0
    np.testing.assert_allclose(made.tracks, calm.tracks, rtol=0, atol=tolerance)
    np.testing.assert_allclose(made.users, calm.users, rtol=0, atol=tolerance)


def lists_and_figures(made: Factors) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The best 20 unheard tracks of each listener who has withheld ones, and their NDCG@20."""
    assert made.withheld is not None
    relevant = torch.from_numpy(made.withheld.toarray() > 0)
    scores = torch.from_numpy(made.users @ made.tracks.T)
    scores[torch.from_numpy(made.listens.toarray() > 0)] = -torch.inf
    best = scores.topk(20, dim=1).indices[relevant.any(1)]
    relevant = relevant[relevant.any(1)]
    figures = ndcg_at_k(relevant.gather(1, best), relevant.sum(1), 20)
    return best.numpy(), figures.double().numpy()


def overlap(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    pairs = zip(one, other, strict=True)
    return float(np.mean([len(set(a) & set(b)) / len(a) for a, b in pairs]))


@pytest.mark.parametrize(("way", "least", "seeds"), [("ml", 0.7, 1), ("rows", 0.95, 3)])
def test_real_listeners_get_as_good_lists(
    spark: "SparkSession", shared_data: Path, tmp_path: Path, way: str, least: float, seeds: int
) -> None:
    """On Last.fm: by Spark ML as near to `implicit` as another seed of it is. (Three seeds of both
    stand in docs/beyond-one-machine.md; Spark ML takes a quarter of a minute for each.)
    """
    hetrec_lastfm(out=tmp_path / "tables", source=shared_data / "lastfm")
    differences, overlaps = [], []
    for seed in range(seeds):
        options: dict[str, Any] = {"factors": 16, "iterations": 8, "hold_out": 0.2, "seed": seed}
        log = tmp_path / "tables" / "listens.parquet"
        here = factorize(log, out=tmp_path / "here", **options)
        with setting(spark, WAY, way), setting(spark, BLOCKS, "2"):
            there = factorize(log, out=tmp_path / "there", engine="spark", **options)
        (lists, figures), (others, other_figures) = map(lists_and_figures, (here, there))
        differences.append(float((other_figures - figures).mean()))
        overlaps.append(overlap(lists, others))
    assert float(np.mean(differences)) >= -0.005, differences
    assert min(overlaps) > least, overlaps
