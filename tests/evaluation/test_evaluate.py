"""A test's table: what must win wins, what must not doesn't, and the counts are right."""

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from helpers import World, data_for

from coldstart.commands.factorize import factorize
from coldstart.encoders.attributes import MGP
from coldstart.errors import InputError
from coldstart.evaluation.evaluate import evaluate
from coldstart.evaluation.metrics import rank_and_score
from coldstart.evaluation.results import read_results, write_results
from coldstart.evaluation.tables import caption, spread_caption, spread_table, text_of
from coldstart.evaluation.tasks import ranking_task
from coldstart.factors.factors import Factors
from coldstart.model.predictions import Predictions
from coldstart.shards.reading import Shards


@pytest.fixture
def perfect(tiny_world: World) -> Predictions:
    """The folded-in vectors themselves; zeros for test tracks that nobody played."""
    made = Factors.load(tiny_world.factors)
    ids = [track["track_id"] for track in Shards(tiny_world.shards).all_tracks(["test"])]
    rows = made.rows(ids)
    vectors = np.where((rows >= 0)[:, None], made.tracks[rows], 0)
    return Predictions(ids, torch.from_numpy(vectors.astype(np.float32)))


def test_the_truth_beats_every_floor_and_rival(tiny_world: World, perfect: Predictions) -> None:
    data = data_for(tiny_world, {"mgp": MGP(hidden=(4,))})
    about, rows, _ = evaluate(
        perfect, None, lambda batch: batch.inputs["mgp"].values, data, "truth", seed=3
    )
    ours, *others = rows
    assert ours.cosine == pytest.approx(0, abs=1e-5)
    assert {row.method.split(" (")[0] for row in others} == {
        "random",
        "artist's popularity",
        "shuffled content",
        "content profile",
        "item neighbours",
        "20 nearest neighbours",
        "ridge",
    }
    for other in others:
        assert ours.map is not None
        assert other.map is not None
        assert ours.map > other.map
    assert about["protocol"] == "strict cold start"
    assert "seed 3" in caption(about)


@pytest.mark.parametrize("strict", [True, False])
def test_popularity_of_artists_without_known_tracks_is_no_row_of_its_own(
    strict: bool,
    tiny_world: World,
    perfect: Predictions,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    log = tiny_world.catalogue / "listens.parquet"
    factorize(log, out=tmp_path / "f", splits=tiny_world.splits, factors=8, strict=strict)
    alone = [{**t, "artist_id": t["track_id"]} for t in Shards(tiny_world.shards).all_tracks()]
    monkeypatch.setattr(Shards, "all_tracks", lambda *_: alone)
    world = tiny_world._replace(factors=tmp_path / "f")
    data = data_for(world, {"mgp": MGP(hidden=(4,))})
    _, rows, _ = evaluate(perfect, None, lambda batch: batch.target.values, data, "truth", False)
    figures = {row.method: row.ndcg for row in rows}
    # Had the test tracks' own plays been counted, there would be something to rank by.
    assert "random" in figures
    assert "artist's popularity" not in figures


def test_test_tracks_of_which_none_was_played_are_refused(
    tiny_world: World, perfect: Predictions, tmp_path: Path
) -> None:
    log = pl.read_parquet(tiny_world.catalogue / "listens.parquet")
    log = log.filter(~pl.col("track_id").is_in(perfect.track_ids))
    log.write_parquet(tmp_path / "log.parquet")
    factorize(tmp_path / "log.parquet", out=tmp_path / "f", splits=tiny_world.splits, factors=8)
    data = data_for(tiny_world._replace(factors=tmp_path / "f"), {"mgp": MGP(hidden=(4,))})
    with pytest.raises(InputError, match=r"none of the .* test tracks was played"):
        evaluate(perfect, None, lambda batch: batch.target.values, data, "truth", False)


def test_users_are_counted_whether_or_not_they_can_be_ranked(tiny_world: World) -> None:
    made = Factors.load(tiny_world.factors)
    ids = [track["track_id"] for track in Shards(tiny_world.shards).all_tracks(["test"])]
    task = ranking_task(made, ids)
    log = pl.read_parquet(tiny_world.catalogue / "listens.parquet")
    heard = log.filter(pl.col("track_id").is_in(ids))
    assert task.counts["candidates"] == len(ids)
    assert task.relevant.nnz <= len(heard)
    counted = task.counts["users"] + task.counts["users_without_training_listens"]
    assert counted == heard["user_id"].n_unique()
    assert counted + task.counts["users_without_relevant"] == len(made.user_ids)


def test_a_candidate_that_nobody_played_is_ranked_but_never_relevant(tiny_world: World) -> None:
    made = Factors.load(tiny_world.factors)
    played = [
        track for track, side in zip(made.track_ids, made.split, strict=True) if side == "test"
    ]
    task = ranking_task(made, [*played, "nobody played this"])
    assert task.relevant.shape[1] == len(played) + 1
    assert task.relevant[:, -1].nnz == 0


def test_parts_and_users_of_a_test_say_what_its_table_says(
    tiny_world: World, perfect: Predictions, tmp_path: Path
) -> None:
    data = data_for(tiny_world, {"mgp": MGP(hidden=(4,))})
    about, rows, by_user = evaluate(
        perfect, None, lambda batch: batch.inputs["mgp"].values, data, "truth"
    )
    means = by_user.group_by("method").agg(pl.col("recall", "ndcg", "map").mean())
    assert len(by_user) == len(rows) * about["users"]
    assert "ridge" in means["method"].to_list()  # without its λ, to be found again in other runs
    for row in rows:
        (mean,) = means.filter(method=row.method.split(" (")[0]).iter_rows(named=True)
        for figure in ("recall", "ndcg", "map"):
            assert mean[figure] == pytest.approx(getattr(row, figure), abs=1e-5)
        assert row.coverage is not None
        assert 0 <= row.coverage <= 1
    assert sum(part["candidates"] for part in about["parts"].values()) == about["candidates"]
    ours = rows[0]
    task = ranking_task(Factors.load(tiny_world.factors), perfect.track_ids)
    for number, part in enumerate(task.parts):
        inside = task.relevant.multiply((task.part == number).numpy()).tocsr()
        inside.eliminate_zeros()
        has = np.diff(inside.indptr) > 0
        assert about["parts"][part]["users"] == has.sum()
        if has.any():
            scores = task.users[has] @ perfect.values.T
            apart = rank_and_score(scores.__getitem__, inside[has])
            assert getattr(ours, f"ndcg_{part}") == pytest.approx(apart.ndcg, abs=1e-5)
            assert getattr(ours, f"recall_{part}") == pytest.approx(apart.recall, abs=1e-5)
    assert "coverage@20" in spread_table(rows)
    assert "head" in spread_caption(about)
    write_results(tmp_path, about, rows, by_user=by_user)
    assert pl.read_parquet(tmp_path / "by_user.parquet").equals(by_user)
    assert "ndcg_tail" in pl.read_csv(tmp_path / "results.csv").columns


def test_a_handful_of_candidates_is_said_beside_the_figures(
    tiny_world: World, perfect: Predictions
) -> None:
    data = data_for(tiny_world, {"mgp": MGP(hidden=(4,))})
    about, rows, _ = evaluate(
        perfect, None, lambda batch: batch.inputs["mgp"].values, data, "truth", False
    )
    (random,) = (row for row in rows if row.method == "random")
    assert about["candidates"] <= about["k"]  # so that all are among the first k
    assert about["chance"]["recall"] == random.recall == pytest.approx(1)
    assert "note: chance alone" in caption(about)


def test_of_too_few_users_or_candidates_no_p_value_is_shown(
    tiny_world: World, perfect: Predictions
) -> None:
    data = data_for(tiny_world, {"mgp": MGP(hidden=(4,))})
    about, *_ = evaluate(perfect, None, lambda b: b.inputs["mgp"].values, data, "truth")
    many = about | {"users": 100, "chance": {}}
    assert ", p = " in caption(many)
    for few, words in (
        ({"users": 9}, "9 users are too few to say which is better"),
        ({"chance": {"recall": 0.6}, "candidates": 30}, "30 candidates are too few to say"),
    ):
        text = caption(many | few)
        assert words in text
        assert ", p = " not in text
        assert "95 %" not in text


def test_a_terminal_s_tables_are_narrow_and_those_of_markdown_whole(
    tiny_world: World, perfect: Predictions, tmp_path: Path
) -> None:
    data = data_for(tiny_world, {"mgp": MGP(hidden=(4,))})
    about, rows, _ = evaluate(perfect, None, lambda b: b.inputs["mgp"].values, data, "truth")
    shown, markdown = text_of(about, rows, "simple"), text_of(about, rows)
    assert max(len(line) for line in shown.splitlines()) <= 100
    for row in rows:
        assert shown.count(row.method) >= 3
        assert markdown.count(f"| {row.method} ") == 3
    for words in ("serendipity", "NDCG@20", "coverage", "seed 0"):
        assert words in shown
    write_results(tmp_path, about, rows)
    numbers = re.findall(r"\d+\.(\d+)", (tmp_path / "results.csv").read_text(encoding="utf-8"))
    assert max(map(len, numbers)) <= 6
    assert read_results(tmp_path / "results.json").rows == rows
