"""A run that is loaded once and answers many queries."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import Fitted

import coldstart as cs
from coldstart.errors import InputError
from coldstart.files import write_json
from coldstart.retrieval import batch as batches
from coldstart.retrieval import recommender as engine
from coldstart.retrieval.batch import recommend_to_file
from coldstart.retrieval.export import export_vectors


@pytest.fixture(scope="module")
def recommender(mgp_genres: Fitted) -> cs.Recommender:
    return cs.Recommender(mgp_genres.run)


def ids_of(rows: list[cs.Recommendation]) -> list[str]:
    return [row.track_id for row in rows]


def test_it_answers_as_the_verb_does(recommender: cs.Recommender, mgp_genres: Fitted) -> None:
    run = mgp_genres.run
    user, tracks = (
        recommender.catalogue.known_factors().user_ids[0],
        recommender.catalogue.track_ids,
    )
    assert recommender.for_user(user, k=4) == cs.recommend(run=run, user=user, k=4)
    assert recommender.similar(tracks[0], why=True) == cs.recommend(
        run=run, like=tracks[0], why=True
    )
    several = recommender.similar(tracks[:2], candidates="all", k=3)
    assert several == cs.recommend(run=run, like=tracks[:2], candidates="all", k=3)
    assert recommender.for_liked(tracks[:3]) == cs.recommend(run=run, liked=tracks[:3])
    near = recommender.near(recommender.catalogue.vectors[0], candidates="all", k=1)
    assert (near[0].track_id, near[0].by) == (tracks[0], "plays")


def test_everything_is_read_once(mgp_genres: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            calls.append(name)
            return function(*args)

        return call

    for name in ("open_run", "predictions_of", "current_factors"):
        monkeypatch.setattr(engine, name, counted(name, getattr(engine, name)))
    recommender = cs.Recommender(mgp_genres.run)
    table = recommender.catalogue.table
    for user in recommender.catalogue.known_factors().user_ids[:3]:
        recommender.for_user(user)
        recommender.for_user(user, where="title <> ''")
    assert sorted(calls) == ["current_factors", "open_run", "predictions_of"]
    assert recommender.catalogue.table is table
    assert recommender.select("all") is recommender.select("all")


def test_threads_get_the_same_answers(recommender: cs.Recommender) -> None:
    users = recommender.catalogue.known_factors().user_ids[:8]
    alone = [recommender.for_user(user, candidates="all") for user in users]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda user: recommender.for_user(user, candidates="all"), users))
    assert together == alone


def test_choices_are_kept_to(recommender: cs.Recommender) -> None:
    track = recommender.catalogue.track_ids[0]
    rows = recommender.similar(track, candidates="all", k=60)
    without = recommender.similar(track, candidates="all", k=60, exclude=ids_of(rows)[:2])
    assert ids_of(without) == ids_of(rows)[2:]
    single = recommender.similar(track, candidates="all", k=20, per_artist=1)
    assert len({row.artist for row in single}) == len(single) > 3
    mixed = recommender.similar(track, candidates="all", k=10, new_share=0.5)
    assert [row.by for row in mixed].count("plays") == 5
    old = recommender.similar(track, candidates="all", where="release_date < 2010-01-01", k=60)
    table = recommender.catalogue.table.filter(pl.col("release_date") < "2010")
    assert set(ids_of(old)) == set(table["track_id"]) - {track}


class StopError(Exception):
    """Ends a job between two parts."""


def test_a_batch_that_was_interrupted_is_continued(
    recommender: cs.Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PIECE", 7)
    whole = recommend_to_file(recommender, tmp_path / "whole.parquet", k=3)
    out, parts = tmp_path / "recs.parquet", tmp_path / "recs.parquet.parts"
    for_users, calls = cs.Recommender.for_users, list[int]()

    def stopping(self: cs.Recommender, users: list[str], **choices: object) -> object:
        calls.append(len(users))
        if len(calls) == 3:
            raise StopError
        return for_users(self, users, **choices)  # type: ignore[arg-type]

    monkeypatch.setattr(cs.Recommender, "for_users", stopping)
    with pytest.raises(StopError):
        recommend_to_file(recommender, out, k=3)
    assert not out.exists()
    assert len(list(parts.glob("*.parquet"))) == 2
    again = recommend_to_file(recommender, out, k=3)
    assert sum(calls[3:]) == len(recommender.catalogue.known_factors().user_ids) - 14
    assert pl.read_parquet(out).equals(pl.read_parquet(tmp_path / "whole.parquet"))
    assert (again.rows, again.users) == (whole.rows, whole.users)
    assert not parts.exists()


def test_parts_of_another_job_are_not_used(
    recommender: cs.Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PIECE", 7)
    out, parts = tmp_path / "recs.parquet", tmp_path / "recs.parquet.parts"
    parts.mkdir()
    pl.DataFrame({"user_id": ["x"]}).write_parquet(parts / "000000.parquet")
    write_json(parts / "job.json", {"job": "another"})
    recommend_to_file(recommender, out, k=2)
    assert "x" not in pl.read_parquet(out)["user_id"]


def test_all_formats_say_the_same(recommender: cs.Recommender, tmp_path: Path) -> None:
    users = [*recommender.catalogue.known_factors().user_ids[:3], "nobody"]
    for name in ("a.parquet", "a.csv", "a.jsonl"):
        batch = recommend_to_file(recommender, tmp_path / name, users, k=2)
        assert (batch.users, batch.left_out) == (3, 1)
        assert batch.left_out_path == tmp_path / f"{name}.left_out.csv"
        left_out = pl.read_csv(batch.left_out_path)
        assert left_out.rows() == [("nobody", "not in the factors")]
    table = pl.read_parquet(tmp_path / "a.parquet")
    assert table.columns == ["user_id", "rank", "track_id", "score", "by", "taste"]
    assert table["rank"].to_list() == [1, 2] * 3
    for other in (pl.read_csv(tmp_path / "a.csv"), pl.read_ndjson(tmp_path / "a.jsonl")):
        assert other.drop("score").rows() == table.drop("score").rows()
        np.testing.assert_allclose(other["score"], table["score"], rtol=1e-5)


def test_files_are_not_replaced_unasked(recommender: cs.Recommender, tmp_path: Path) -> None:
    out = tmp_path / "recs.csv"
    out.write_text("mine")
    with pytest.raises(InputError, match="pass --overwrite"):
        recommend_to_file(recommender, out)
    with pytest.raises(InputError, match=r"are written as \.parquet, \.csv"):
        recommend_to_file(recommender, tmp_path / "recs.txt")
    with pytest.raises(InputError, match="none of the 2 users"):
        recommend_to_file(recommender, tmp_path / "b.csv", ["x", "y"])
    recommend_to_file(recommender, out, overwrite=True)
    assert out.read_text().startswith("user_id,rank,")


def test_exported_vectors_give_the_same_lists(recommender: cs.Recommender, tmp_path: Path) -> None:
    export = export_vectors(recommender, tmp_path / "vectors")
    catalogue = recommender.catalogue
    tracks = np.load(export.folder / "tracks.npy", allow_pickle=False)
    table = pl.read_parquet(export.folder / "tracks.parquet")
    users = pl.read_parquet(export.folder / "users.parquet")
    assert (export.tracks, export.warm, export.users) == (
        len(table),
        int(table["warm"].sum()),
        len(users),
    )
    np.testing.assert_array_equal(np.stack(table["vector"].to_list()), tracks)
    assert table["track_id"].to_list() == catalogue.track_ids
    user = users["user_id"][0]
    scores = tracks @ np.array(users["vector"][0])
    played = {catalogue.track_ids[i] for i in catalogue.played_by(catalogue.user_row[user])}
    order = [catalogue.track_ids[i] for i in np.argsort(-scores)]
    best = [track for track in order if track not in played][:5]
    assert ids_of(recommender.for_user(user, candidates="all", k=5)) == best
    with pytest.raises(InputError, match="exists already"):
        export_vectors(recommender, tmp_path / "vectors")
