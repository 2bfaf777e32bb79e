"""What is withheld never reaches the factorisation, and is kept for a test."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import World, made_from, vectors
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from coldstart.commands.split import split
from coldstart.errors import Broken, InputError
from coldstart.factors.factors import Factors
from coldstart.factors.withholding import cut_day, withhold
from coldstart.tables.listens import read_log
from coldstart.tables.splits import read_splits


def pairs(made: Factors, matrix: csr_matrix) -> set[tuple[str, str, float]]:
    found = matrix.tocoo()
    return {
        (made.user_ids[u], made.track_ids[t], float(v))
        for u, t, v in zip(found.row, found.col, found.data, strict=True)
    }


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.floats(0, 0.99),
    st.integers(0, 9),
    st.integers(0, 99),
)
def test_what_is_withheld_and_what_stays_are_all_and_nobody_loses_the_last(
    users: int, tracks: int, share: float, warm: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    matrix = csr_matrix(
        generator.integers(1, 9, (users, tracks)) * (generator.random((users, tracks)) < 0.4)
    )
    kept, withheld = withhold(matrix, share, seed, warm)
    assert abs(kept + withheld - matrix).nnz == 0
    assert kept.nnz + withheld.nnz == matrix.nnz
    assert withheld[:, warm:].nnz == 0
    before, after = matrix[:, :warm].toarray() > 0, kept[:, :warm].toarray() > 0
    for axis in (0, 1):
        assert (before.any(axis) == after.any(axis)).all()
    again = withhold(matrix, share, seed, warm)[1]
    assert abs(again - withheld).nnz == 0


def test_about_the_share_is_withheld_of_many() -> None:
    matrix = csr_matrix(np.ones((400, 50)))
    withheld = withhold(matrix, 0.13, 0)[1]
    assert withheld.nnz == pytest.approx(0.13 * matrix.nnz, rel=0.03)
    assert set(withheld.getnnz(axis=1)) == {6, 7}
    assert withhold(matrix, 0.0, 0)[1].nnz == 0


@pytest.mark.parametrize("algorithm", ["implicit", "explicit"])
def test_withheld_listens_reach_neither_vectors_nor_counts(
    tiny_world: World, tmp_path: Path, algorithm: str
) -> None:
    log = pl.read_parquet(tiny_world.catalogue / "listens.parquet")
    options: dict[str, Any] = {"splits": tiny_world.splits, "algorithm": algorithm}
    made = made_from(tmp_path / "a", log, hold_out=0.2, **options)
    assert made.withheld is not None
    assert made.about["withheld"] == made.withheld.nnz
    assert made.about["protocol"] == "strict cold start, 20% of the training listens withheld"
    taken = pairs(made, made.withheld)
    assert not {(u, t) for u, t, _ in taken} & {(u, t) for u, t, _ in pairs(made, made.listens)}
    assert {t for _, t, _ in taken} <= set(vectors(made)["tracks"])
    # As if the log had never had them.
    gone = pl.DataFrame(list(taken), ["user_id", "track_id", "plays"], orient="row")
    left = log.join(gone, on=["user_id", "track_id"], how="anti")
    without = made_from(tmp_path / "b", left, **options)
    assert vectors(without) == vectors(made)
    assert without.plays.tolist() == made.plays.tolist()
    back = Factors.load(tmp_path / "a" / "out")
    assert back.withheld is not None
    assert pairs(back, back.withheld) == taken
    again = made_from(tmp_path / "a", left, **options)
    assert again.withheld is None
    assert not (tmp_path / "a" / "out" / "withheld.safetensors").exists()
    assert Factors.load(tmp_path / "a" / "out").withheld is None


def test_a_folder_that_lost_what_was_withheld_is_refused(tiny_world: World, tmp_path: Path) -> None:
    log = pl.read_parquet(tiny_world.catalogue / "listens.parquet")
    made_from(tmp_path, log, tiny_world.splits, hold_out=0.2)
    (tmp_path / "out" / "withheld.safetensors").unlink()
    with pytest.raises(InputError, match="incomplete"):
        Factors.load(tmp_path / "out")


FIRST = date(2020, 1, 1)


@pytest.fixture
def timed(tiny_world: World, tmp_path: Path) -> tuple[pl.DataFrame, Path, date]:
    """A log with timestamps, a temporal split, and the day of the first held-out track."""
    log = pl.read_parquet(tiny_world.catalogue / "listens.parquet")
    tracks = log["track_id"].unique().sort()
    dates = [FIRST + timedelta(days=i) for i in range(len(tracks))]
    table = pl.DataFrame({"track_id": tracks, "title": tracks, "artist": tracks})
    table.with_columns(release_date=pl.Series(dates)).write_parquet(tmp_path / "tracks.parquet")
    split(tmp_path / "tracks.parquet", out=tmp_path / "s.parquet", method="temporal")
    days = np.random.default_rng(0).integers(0, 2 * len(tracks), len(log))
    when = pl.Series([FIRST + timedelta(days=int(day)) for day in days])
    held = read_splits(tmp_path / "s.parquet").filter(pl.col("split") != "train")["track_id"]
    first = min(day for track, day in zip(tracks, dates, strict=True) if track in set(held))
    return log.with_columns(timestamp=when), tmp_path / "s.parquet", first


def test_later_listens_to_old_tracks_never_reach_the_factorisation(
    timed: tuple[pl.DataFrame, Path, date], tmp_path: Path
) -> None:
    log, splits, first = timed
    made = made_from(tmp_path / "a", log, splits, until="auto")
    assert made.about["until"] == str(first)
    assert (
        made.about["protocol"] == f"strict cold start, training listens from before {first} alone"
    )
    train = set(read_splits(splits).filter(split="train")["track_id"])
    late = pl.col("track_id").is_in(list(train)) & (pl.col("timestamp") >= first)
    assert len(log.filter(late)) > 20
    multiplied = pl.when(late).then(pl.col("plays") * 9).otherwise(pl.col("plays"))
    new = log.filter(late).with_columns(user_id=pl.concat_str(pl.lit("0"), "user_id"))
    for name, changed in {
        "gone": log.filter(~late),
        "multiplied": log.with_columns(plays=multiplied),
        "by new listeners": pl.concat([log, new]),
    }.items():
        other = made_from(tmp_path / name, changed, splits, until=str(first))
        assert vectors(other) == vectors(made), name
        assert other.plays.tolist() == made.plays.tolist(), name
        # Nor is what the test looks for among cold tracks touched.
        assert abs(other.listens - made.listens).nnz == 0, name
    assert made.withheld is not None
    assert {t for _, t, _ in pairs(made, made.withheld)} <= set(vectors(made)["tracks"])
    assert not made.withheld.multiply(made.listens).nnz


def test_a_pair_before_and_after_the_cut_counts_before_alone(tmp_path: Path) -> None:
    rows = [("a", "x", 2, "2020-01-01"), ("a", "x", 5, "2020-03-01"), ("b", "x", 1, "2020-01-02")]
    rows += [("b", "y", 4, "2020-01-03T10:00:00"), ("a", "y", 3, "2020-02-01 00:00")]
    log = pl.DataFrame(rows, ["user_id", "track_id", "plays", "timestamp"], orient="row")
    made = made_from(tmp_path, log, None, until="2020-02-01", factors=2)
    assert pairs(made, made.listens) == {("a", "x", 2), ("b", "x", 1), ("b", "y", 4)}
    assert made.withheld is not None
    assert pairs(made, made.withheld) == {("a", "y", 3)}


@pytest.mark.parametrize(
    "when",
    [
        ["2020-01-31", "2020-02-01T00:00:01Z"],
        [1580428800, 1580515201],
        ["1580428800.0", "1580515201"],
        pl.Series(["2020-01-31", "2020-02-01"]).str.to_datetime().dt.replace_time_zone("UTC"),
    ],
)
def test_timestamps_of_many_kinds(when: object, tmp_path: Path) -> None:
    log = pl.DataFrame({"user_id": ["a", "b"], "track_id": ["x", "x"], "plays": [1, 2]})
    log.with_columns(timestamp=pl.Series(when)).write_parquet(tmp_path / "l.parquet")  # type: ignore[arg-type]
    log_tables = read_log(tmp_path / "l.parquet", day=date(2020, 2, 1))
    assert log_tables.pairs["user_id"].to_list() == ["a", "b"]
    assert log_tables.before is not None
    assert log_tables.before["user_id"].to_list() == ["a"]


def test_what_is_no_time_is_named(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("user_id,track_id,plays,timestamp\na,x,1,2020-01-01\nb,x,1,soon\n")
    with pytest.raises(InputError, match="'soon' is no time"):
        read_log(path, day=date(2021, 1, 1))
    assert len(read_log(path, broken=Broken(True), day=date(2021, 1, 1)).pairs) == 1
    with pytest.raises(InputError, match="no listen is from before 2019-01-01"):
        read_log(path, broken=Broken(True), day=date(2019, 1, 1))
    path.write_text("user_id,track_id,plays\na,x,1\n")
    with pytest.raises(InputError, match="no column 'timestamp'"):
        read_log(path, day=date(2021, 1, 1))


def test_a_day_that_is_not_known_is_refused(
    timed: tuple[pl.DataFrame, Path, date], tiny_world: World, tmp_path: Path
) -> None:
    log, splits, first = timed
    assert cut_day("auto", splits) == first
    with pytest.raises(InputError, match="needs --splits"):
        cut_day("auto", None)
    with pytest.raises(InputError, match="neither"):
        cut_day("yesterday", splits)
    with pytest.raises(InputError, match="split --method temporal"):
        cut_day("auto", tiny_world.splits)
    report = Path(f"{splits}.report.json")
    about = json.loads(report.read_text())
    about["counts"]["test"] += 1
    report.write_text(json.dumps(about))
    with pytest.raises(InputError, match="of other splits"):
        cut_day("auto", splits)
    for options in ({"hold_out": 0.1}, {"until": "2020-01-01"}):
        with pytest.raises(InputError, match="need strict"):
            made_from(tmp_path / "x", log, splits, strict=False, **options)
    with pytest.raises(InputError, match="share"):
        made_from(tmp_path / "x", log, splits, hold_out=1.0)
