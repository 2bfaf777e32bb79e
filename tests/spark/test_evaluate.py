"""`test` on a cluster: the figures of one machine, also where a worker is killed in the middle."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from helpers import Fitted, copy_of
from scipy.sparse import csr_matrix
from scipy.sparse import random as random_matrix
from spark_processes import LINUX, executor_killed

from coldstart import ranking
from coldstart.cli import main
from coldstart.commands.factorize import factorize
from coldstart.commands.split import split
from coldstart.datasets.loaders import hetrec_lastfm
from coldstart.errors import InputError
from coldstart.evaluation.metrics import Scored, means
from coldstart.evaluation.rankings import Ranking, joined
from coldstart.evaluation.rivals.by_content import matrix_scores
from coldstart.evaluation.tasks import ranking_task
from coldstart.ranking import dot_scores
from coldstart.spark.exchange import ArrayFiles, mapped
from coldstart.spark.rankings import ranker_on
from coldstart.training.lightning_cli import lightning_cli

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def must_be_equal(one: list[Scored], other: list[Scored]) -> None:
    for here, there in zip(one, other, strict=True):
        for figures, others in zip(here, there, strict=True):
            torch.testing.assert_close(others, figures, rtol=0, atol=0, equal_nan=True)


def small_blocks(patch: pytest.MonkeyPatch, users: int, candidates: int) -> None:
    """So many users are ranked at a time, for so many candidates."""
    patch.setattr(ranking, "BLOCK_MB", 4e-6 * users * candidates)
    assert ranking.block_users(candidates) == users


def invented(sparse: bool) -> Ranking:
    """Of 300 users and 90 tracks, many with equal scores; some are left out for some users."""
    generator = np.random.default_rng(0)
    users, tracks = (generator.integers(-1, 2, (count, 4)) for count in (300, 90))
    vectors: list[Any] = [torch.tensor(each, dtype=torch.float32) for each in (users, tracks)]
    if sparse:
        vectors = [csr_matrix(each.astype(np.float32)) for each in (users, tracks)]
    relevant, listens = (
        csr_matrix(random_matrix(300, 90, 0.1, rng=seed).astype(bool).astype(np.int8))
        for seed in (1, 2)
    )
    listens = csr_matrix(listens - listens.multiply(relevant))
    listens.eliminate_zeros()
    orders = [torch.arange(90), torch.from_numpy(generator.permutation(90))]
    part = torch.arange(90) % 3
    scores = matrix_scores(*vectors) if sparse else dot_scores(*vectors)
    return Ranking(scores, relevant, orders, part, 3, 5, listens)


@pytest.mark.parametrize("most", [1, 3, 1000])
@pytest.mark.parametrize("sparse", [False, True])
def test_pieces_of_a_ranking_are_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sparse: bool, most: int
) -> None:
    small_blocks(monkeypatch, 7, 90)
    whole = invented(sparse)
    pieces = whole.pieces(most)
    assert len(pieces) == min(most, 43)
    stored = ArrayFiles(tmp_path).stored(whole)
    must_be_equal(whole.scored(), joined(mapped(stored).of(rows).scored() for rows in pieces))


def test_an_array_is_written_once_and_removed_with_its_last_owner(tmp_path: Path) -> None:
    files, array = ArrayFiles(tmp_path), np.arange(5)
    assert files.stored([array]) == files.stored([array])
    assert mapped(files.stored([array]))[0].tolist() == list(range(5))
    assert len(list(tmp_path.iterdir())) == 1
    del array
    assert list(tmp_path.iterdir()) == []


def results_of(run: Path) -> dict[str, bytes]:
    """What a test has written into a run's folder, which is then as it was before."""
    names = ("results.json", "results.csv", "results_mixed.json", "results_mixed.csv")
    paths = [run / name for name in names if (run / name).exists()]
    paths += run.glob("*by_user.parquet")
    found = {path.name: path.read_bytes() for path in paths}
    for path in paths:
        path.unlink()
    return found


def same_results_by(run: Path, flags: list[str], during: AbstractContextManager[None]) -> None:
    """Test a run on one machine, and, with something going on, on the cluster."""
    results_of(run)
    assert main(["test", "--run", str(run), *flags]) == 0
    here = results_of(run)
    assert len(here) == 3
    with during:
        assert main(["test", "--run", str(run), *flags, "--engine=spark", "--spark.x.y=1"]) == 0
    assert results_of(run) == here
    assert list(run.glob(".results*")) == []


@pytest.mark.usefixtures("spark")
def test_a_run_has_the_same_results(
    mgp_genres: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_blocks(monkeypatch, 6, 6)
    same_results_by(copy_of(mgp_genres, tmp_path).run, [], nullcontext())


@LINUX
@pytest.mark.usefixtures("spark")
def test_mixed_candidates_have_the_same_results_though_a_worker_is_killed(
    mgp_genres: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_blocks(monkeypatch, 4, 54)
    run = copy_of(mgp_genres, tmp_path).run

    def exchanged(pattern: str = "") -> list[Path]:
        return list(run.glob(f".results*{pattern}"))

    killed = executor_killed(lambda: bool(exchanged("/scored-*.npz")), lambda: not exchanged())
    same_results_by(run, ["--candidates=mixed", "--no-rivals"], killed)


def test_real_listeners_have_the_same_figures_in_any_blocks(
    spark: "SparkSession", shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Last.fm: number by number in the same blocks, and to 1e-9 of the means in others."""
    hetrec_lastfm(out=tmp_path / "tables", source=shared_data / "lastfm")
    tables = tmp_path / "tables"
    split(tables / "tracks.parquet", out=tmp_path / "splits.parquet")
    made = factorize(
        tables / "listens.parquet",
        out=tmp_path / "factors",
        splits=tmp_path / "splits.parquet",
        factors=8,
        iterations=2,
    )
    cold = [made.track_ids[i] for i in np.flatnonzero(made.split == "test")]
    task = ranking_task(made, cold)
    vectors = torch.randn(len(cold), 8, generator=torch.Generator().manual_seed(0))
    orders = [torch.arange(len(cold)), torch.randperm(len(cold))]
    whole = task.scored(vectors, orders)
    small_blocks(monkeypatch, 150, len(cold))
    here = task.scored(vectors, orders)
    there = task._replace(ranker=ranker_on(spark, tmp_path)).scored(vectors, orders)
    must_be_equal(here, there)
    for one, other in zip(whole, there, strict=True):
        np.testing.assert_allclose(means(other.by_user), means(one.by_user), rtol=0, atol=1e-9)
    assert list(tmp_path.glob("scored-*")) == []


def test_what_isnt_spread_is_said(mgp_genres: Fitted, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["test", "--run", str(mgp_genres.run)]
    assert main([*flags, "--engine=spark", "--warm-up"]) == 2
    assert "--warm-up measures on this machine alone" in capsys.readouterr().err
    assert main([*flags, "--spark.executor.memory=4g"]) == 2
    assert "--spark.KEY is of --engine spark" in capsys.readouterr().err
    assert main(["fit", "--config=default", "--engine=spark"]) == 2
    assert "by --trainer.devices and --trainer.num_nodes" in capsys.readouterr().err
    with pytest.raises(InputError, match="is of `coldstart test` itself"):
        lightning_cli("test", [*flags[1:], "--engine=spark"])
