import json
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldstart.commands.split import assign, split
from coldstart.errors import InputError
from coldstart.tables.splits import SPLITS, read_splits

FRACTIONS = st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(0, 10)).filter(any)


def tracks(folder: Path, **columns: object) -> Path:
    columns = {"title": columns["track_id"], "artist": columns["track_id"], **columns}
    pl.DataFrame(columns).write_csv(folder / "tracks.csv")
    return folder / "tracks.csv"


def numbered(n: int, artists: int = 7) -> pl.DataFrame:
    ids = [f"t{i}" for i in range(n)]
    return pl.DataFrame({"track_id": ids, "artist_id": [f"a{i % artists}" for i in range(n)]})


def shares(fractions: tuple[int, int, int]) -> list[float]:
    return [part / sum(fractions) for part in fractions]


def report(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(f"{out}.report.json").read_text())
    return content


@given(st.integers(1, 300), FRACTIONS, st.integers(0, 2**32), st.booleans())
def test_counts_are_the_fractions_within_one_track(
    n: int, fractions: tuple[int, int, int], seed: int, temporal: bool
) -> None:
    table = numbered(n).with_columns(release_date=pl.date(2000, 1, 1))
    sides = assign(table, "temporal" if temporal else "random", shares(fractions), seed)
    assert len(sides) == n
    counts = Counter(sides)
    assert set(counts) <= set(SPLITS)
    for name, share in zip(SPLITS, shares(fractions), strict=True):
        assert abs(counts[name] - share * n) < 1 + 1e-6
        assert share or not counts[name]


@given(st.lists(st.integers(1, 20), min_size=3, max_size=40), FRACTIONS, st.integers(0, 2**32))
def test_no_artist_is_on_two_sides_and_counts_are_right_within_an_artist(
    sizes: list[int], fractions: tuple[int, int, int], seed: int
) -> None:
    artists = [f"a{i}" for i, size in enumerate(sizes) for _ in range(size)]
    table = pl.DataFrame({"track_id": [str(i) for i in range(len(artists))], "artist_id": artists})
    sides = assign(table, "artist", shares(fractions), seed)
    assert len(set(zip(artists, sides, strict=True))) == len(sizes)
    counts = Counter(sides)
    for name, share in zip(SPLITS, shares(fractions), strict=True):
        assert abs(counts[name] - share * len(artists)) <= max(sizes) + 1


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("n", [10, 97, 1000])
def test_the_random_split_is_numpys_permutation_cut_at_80_and_90_percent(n: int, seed: int) -> None:
    sides = np.array(assign(numbered(n), "random", (0.8, 0.1, 0.1), seed))
    order = np.random.default_rng(seed).permutation(n)
    train, test = n * 8 // 10, n * 9 // 10
    assert set(sides[order[:train]]) == {"train"}
    assert set(sides[order[train:test]]) == {"val"}
    assert set(sides[order[test:]]) == {"test"}


@pytest.mark.parametrize("method", ["random", "artist", "temporal"])
def test_the_same_seed_gives_the_same_file_and_another_seed_another(
    tmp_path: Path, method: Literal["random", "artist", "temporal"]
) -> None:
    n = 60
    path = tracks(
        tmp_path,
        track_id=list(range(n)),
        artist_id=[i % 20 for i in range(n)],
        release_date=["2000"] * n,
    )
    made = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        split(path, out=tmp_path / f"{name}.parquet", method=method, seed=seed)
        made[name] = (tmp_path / f"{name}.parquet").read_bytes()
    assert made["a"] == made["b"] != made["c"]
    assert read_splits(tmp_path / "a.parquet")["track_id"].to_list() == [str(i) for i in range(n)]


def test_a_temporal_split_tests_on_the_newest_releases() -> None:
    days = np.random.default_rng(0).integers(0, 10_000, 200)
    table = numbered(200).with_columns(release_date=pl.Series(days).cast(pl.Int32).cast(pl.Date))
    sides = np.array(assign(table, "temporal", (0.8, 0.1, 0.1), 0))
    assert days[sides == "train"].max() <= days[sides == "val"].min()
    assert days[sides == "val"].max() <= days[sides == "test"].min()


def test_a_temporal_split_needs_every_date(tmp_path: Path) -> None:
    path = tracks(tmp_path, track_id=["a", "b"])
    with pytest.raises(InputError, match="release_date: no such column"):
        split(path, out=tmp_path / "out.csv", method="temporal")
    path = tracks(tmp_path, track_id=["a", "b"], release_date=["2001", ""])
    with pytest.raises(InputError, match="release_date: 1 tracks lack it"):
        split(path, out=tmp_path / "out.csv", method="temporal")


def test_an_artist_split_needs_three_artists() -> None:
    with pytest.raises(InputError, match="at least 3 artists; the table has 2"):
        assign(numbered(10, artists=2), "artist", (0.8, 0.1, 0.1), 0)


@pytest.mark.parametrize(
    "fractions",
    [(0.8, 0.1), (0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (0, 0, 0), (float("nan"), 0.1, 0.1)],
)
def test_fractions_that_are_no_shares_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="not three shares that add up to 1"):
        assign(numbered(10), "random", fractions, 0)


def test_the_report_counts_what_leaks(tmp_path: Path) -> None:
    n = 40
    path = tracks(tmp_path, track_id=list(range(n)), artist_id=[i % 4 for i in range(n)])
    made = split(path, out=tmp_path / "out.parquet")
    sides = dict(made.iter_rows())
    training_artists = {int(t) % 4 for t, side in sides.items() if side == "train"}
    held = [int(t) % 4 for t, side in sides.items() if side != "train"]
    assert report(tmp_path / "out.parquet")["counts"] == {"train": 32, "val": 4, "test": 4}
    assert report(tmp_path / "out.parquet")["leaks"] == {
        "artists_on_both_sides": len(training_artists & set(held)),
        "held_out_tracks_of_training_artists": sum(a in training_artists for a in held),
    }
    split(path, out=tmp_path / "artists.parquet", method="artist", fractions=(0.5, 0.25, 0.25))
    assert set(report(tmp_path / "artists.parquet")["leaks"].values()) == {0}


def test_copies_of_one_recording_on_two_sides_are_found_by_their_bytes(tmp_path: Path) -> None:
    n = 20
    ids = [f"t{i:02}" for i in range(n)]
    sides = dict(zip(ids, assign(numbered(n), "random", (0.8, 0.1, 0.1), 0), strict=True))
    train, test = (next(t for t in ids if sides[t] == s) for s in ("train", "test"))
    also_train = next(t for t in ids if sides[t] == "train" and t != train)
    content = dict.fromkeys((train, test, also_train), b"the same")
    for track in ids[:-1]:  # the last file is missing
        (tmp_path / f"{track}.mp3").write_bytes(content.get(track, track.encode()))
    split(
        tracks(tmp_path, track_id=ids, audio=[f"{track}.mp3" for track in ids]),
        out=tmp_path / "out.csv",
    )
    found = report(tmp_path / "out.csv")["leaks"]["duplicate_audio"]
    assert [set(same) for same in found] == [{train, test, also_train}]


def test_broken_rows_are_skipped_and_listed_when_asked(tmp_path: Path) -> None:
    path = tracks(tmp_path, track_id=["a", "b", "a", "c", ""])
    with pytest.raises(InputError, match=r"(?s)row 5, .* --skip-broken"):
        split(path, out=tmp_path / "out.csv")
    made = split(path, out=tmp_path / "out.csv", skip_broken=True)
    assert made["track_id"].to_list() == ["a", "b", "c"]
    listed = pl.read_csv(tmp_path / "out.csv.broken.csv")
    assert sorted(listed["row"]) == [3, 5]
