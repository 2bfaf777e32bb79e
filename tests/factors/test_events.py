"""Each listen counts once: whatever file it is in, and in whatever order files come."""

import gzip
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from helpers import made_from, random_log
from hypothesis import given, settings
from hypothesis import strategies as st

from coldstart.errors import InputError
from coldstart.factors.events import Events, events_of, has_pairs, without_base, without_earlier
from coldstart.tables.listens import read_events


def events_from(rows: Sequence[tuple[str, str, float, str]], value: str = "plays") -> Events:
    table = pl.DataFrame(rows, ["user_id", "track_id", value, "timestamp"], orient="row")
    table = table.with_columns(pl.col("timestamp").str.to_datetime(time_zone="UTC", time_unit="us"))
    return events_of(table.with_columns(pl.col(value).cast(pl.Float64)), value, "l.csv")


def amounts(table: pl.DataFrame) -> dict[tuple[str, str], float]:
    value = table.columns[2]
    pairs = table.group_by("user_id", "track_id").agg(pl.col(value).sum())
    return {(user, track): amount for user, track, amount in pairs.iter_rows()}


def test_a_fingerprint_is_of_the_listens_not_of_their_file(tmp_path: Path) -> None:
    log = random_log()
    log.write_parquet(tmp_path / "a.parquet")
    shuffled = log.sample(fraction=1, shuffle=True, seed=1)
    shuffled.write_csv(tmp_path / "b.csv")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress((tmp_path / "b.csv").read_bytes()))
    other = log.with_columns(plays=pl.Series([1, *log["plays"][1:]]) + 1)
    other.write_parquet(tmp_path / "d.parquet")
    prints = [
        events_of(read_events(path), "plays", "").fingerprint for path in sorted(tmp_path.iterdir())
    ]
    assert prints[0] == prints[1] == prints[2] != prints[3]


def test_rows_of_one_instant_are_one_event_and_rows_of_one_day_are_added_up() -> None:
    twice = [("a", "x", 1, "2020-01-01 10:00:00")] * 2 + [("a", "x", 1, "2020-01-01 10:05:00")]
    events = events_from(twice)
    assert (events.table["plays"].to_list(), events.repeated) == ([1, 1], 1)
    days = [("a", "x", 1, "2020-01-01 00:00:00")] * 2 + [("a", "x", 1, "2020-01-02 00:00:00")]
    events = events_from(days)
    assert (events.table["plays"].to_list(), events.repeated) == ([2, 1], 0)


def test_without_times_rows_of_a_pair_are_added_up_and_ratings_averaged() -> None:
    table = pl.DataFrame({"user_id": ["a", "a"], "track_id": ["x", "x"], "plays": [1.0, 2.0]})
    assert amounts(events_of(table, "plays", "").table) == {("a", "x"): 3}
    rated = table.rename({"plays": "rating"})
    assert amounts(events_of(rated, "rating", "").table) == {("a", "x"): 1.5}


def test_rows_of_no_plays_are_no_listens() -> None:
    assert amounts(events_from([("a", "x", 0, "2020-01-01"), ("b", "x", 1, "2020-01-01")]).table)
    with pytest.raises(InputError, match=r"l\.csv: every row has 0 plays"):
        events_from([("a", "x", 0, "2020-01-01")])


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(1, 3)),
            min_size=1,
            max_size=5,
        ),
        min_size=2,
        max_size=4,
    ),
    st.sampled_from(["plays", "rating"]),
    st.randoms(use_true_random=False),
)
def test_the_order_of_updates_does_not_matter(
    files: list[list[tuple[str, str, int]]], value: str, random: object
) -> None:
    tables = [
        events_from([(u, t, n, f"2020-01-0{n} 10:00:0{n % 2}") for u, t, n in rows], value)
        for rows in files
    ]
    sums = []
    for order in (range(len(tables)), reversed(range(len(tables)))):
        kept: list[pl.DataFrame] = []
        for i in order:
            kept.append(without_earlier(tables[i], kept, value).table)
        together = pl.concat(kept)
        sums.append(amounts(together))
        assert len(together) == len(together.unique())
    assert sums[0] == sums[1]


def test_of_an_event_with_more_plays_than_before_the_difference_counts() -> None:
    old = events_from([("a", "x", 2, "2020-01-01 10:00:01"), ("b", "x", 2, "2020-01-01 10:00:01")])
    new = events_from([("a", "x", 5, "2020-01-01 10:00:01"), ("b", "x", 1, "2020-01-01 10:00:01")])
    rest = without_earlier(new, [old.table], "plays")
    assert amounts(rest.table) == {("a", "x"): 3}
    assert rest.repeated == 1
    assert rest.fingerprint == new.fingerprint


def test_early_listens_of_pairs_that_the_log_has_are_left_out(tmp_path: Path) -> None:
    log = random_log().filter(~((pl.col("user_id") == "u00") & (pl.col("track_id") == "t00")))
    base = made_from(tmp_path, log, None, hold_out=0.2, factors=2)
    last = log["timestamp"].max()
    assert isinstance(last, datetime)
    assert base.about["last_listen"] == f"{last}+00:00"
    pair = log.row(3)[:2]
    events = events_from(
        [
            (*pair, 1, "2020-01-01 00:00:30"),
            (*pair, 1, "2020-03-01 00:00:30"),
            ("u00", "t00", 1, "2020-01-01 00:00:30"),
            ("u00", "tt", 1, "2020-01-01 00:00:30"),
        ]
    )
    rest, overlap = without_base(events, base)
    assert overlap == (3, 1)
    assert amounts(rest.table) == {pair: 1, ("u00", "t00"): 1, ("u00", "tt"): 1}


def test_pairs_of_the_log_are_found_also_withheld_ones(tmp_path: Path) -> None:
    log = random_log(seed=1)
    base = made_from(tmp_path, log, None, hold_out=0.3, factors=2)
    assert base.withheld is not None
    every = pl.DataFrame(
        [(f"u{u:02}", f"t{t:02}") for u in range(26) for t in range(20)],
        ["user_id", "track_id"],
        orient="row",
    )
    known = every.filter(has_pairs(base, every))
    assert sorted(known.rows()) == sorted(log.select("user_id", "track_id").rows())


def test_times_that_cannot_be_read_are_no_error_when_factorising(tmp_path: Path) -> None:
    log = random_log().with_columns(timestamp=pl.lit("soon"))
    assert "last_listen" not in made_from(tmp_path, log, None, factors=2).about


def test_fingerprints_tell_ids_apart_that_join_to_the_same_text() -> None:
    one = pl.DataFrame({"user_id": ["ab"], "track_id": ["c"], "plays": [1.0]})
    two = pl.DataFrame({"user_id": ["a"], "track_id": ["bc"], "plays": [1.0]})
    prints = {events_of(table, "plays", "").fingerprint for table in (one, two)}
    assert len(prints) == 2
