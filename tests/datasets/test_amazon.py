"""Amazon Reviews 2023, in their original format."""

import functools
import gzip
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from originals import Made, amazon, write

from coldstart.datasets import reading
from coldstart.errors import InputError
from coldstart.tables.attributes import read_column
from coldstart.tables.tracks import read_tracks

RATINGS, REVIEWS, META = "Digital_Music.csv", "Digital_Music.jsonl", "meta_Digital_Music.jsonl"
FIRST = datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC).replace(tzinfo=None)


def sample(folder: Path, *names: str, packed: bool = False) -> Path:
    files = {name: text for name, text in amazon().items() if name in names}
    if not packed:
        return write(folder, files)
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def test_amazon_reviews_of_ratings_or_reviews(made: Made, tmp_path: Path) -> None:
    for source in (
        sample(tmp_path / "ratings", RATINGS, META),
        sample(tmp_path / "reviews", REVIEWS, META),
        sample(tmp_path / "packed", REVIEWS, META, packed=True),
    ):
        got = made("amazon-reviews", source)
        assert got["listens"].select("user_id", "track_id", "plays").rows() == [
            *[("u1", "A", 1), ("u2", "A", 1), ("u2", "B", 1), ("u2", "A", 1), ("u3", "C", 1)]
        ]
        assert got["listens"]["timestamp"][0] == FIRST
        assert got["tracks"].rows() == [
            ("A", "Tëa", "Ann", "Ann", ["Digital Music", "Pop"]),
            ("B", "B", "unknown", None, []),
            ("C", "C", "unknown", None, None),
        ]
        assert got["description"].rows() == [("A", "Tëa\nwarm\nOf leaves."), ("B", "cold")]
    read_tracks(tmp_path / "tables" / "tracks.parquet")
    read_column(tmp_path / "tables" / "description.parquet", "text")


def test_ratings_as_they_are_and_few_listeners(made: Made, tmp_path: Path) -> None:
    folder = sample(tmp_path / "amazon", RATINGS, META)
    got = made("amazon-reviews", folder, ratings=True)
    assert got["listens"]["rating"].to_list() == [5.0, 4.0, 5.0, 5.0, 2.0, 4.0]
    got = made("amazon-reviews", folder, min_listeners=2)  # A was rated three times, by two users
    assert got["listens"]["track_id"].to_list() == ["A", "A", "A"]
    assert got["tracks"]["track_id"].to_list() == ["A"]


def test_pieces_are_the_whole_file(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sample(tmp_path / "amazon", REVIEWS, META)
    whole = made("amazon-reviews", folder)
    lines = functools.partial(reading.whole_lines, size=50)
    monkeypatch.setattr("coldstart.datasets.amazon.whole_lines", lines)
    for name, table in made("amazon-reviews", folder).items():
        assert table.equals(whole[name]), name


def test_the_first_line_of_a_product_counts_and_odd_values_are_read(
    made: Made, tmp_path: Path
) -> None:
    folder = sample(tmp_path / "amazon", RATINGS, META)
    path = folder / META
    lone = r'{"parent_asin": "C", "title": "\ud83d", "store": {"a": 1}, "features": [null, 3]}'
    path.write_text(path.read_text(encoding="utf-8") + lone + "\n", encoding="utf-8")
    got = made("amazon-reviews", folder)
    assert got["tracks"].row(2) == ("C", "?", "unknown", None, [])
    assert got["description"].row(2) == ("C", "?\n3")


DAMAGE: dict[str, tuple[str, str, str, str]] = {
    "the reviews of 2018": (
        *(REVIEWS, "parent_asin", "asin"),
        r"Digital_Music\.jsonl: there is no column 'parent_asin'; .*another version",
    ),
    "no id": (META, '"parent_asin"', '"asin"', r"meta_.*no column 'parent_asin'; the file has:"),
    "no JSON": (REVIEWS, '"rating": 4.0', '"rating": 4.0.0', r"\.jsonl, row 2, .* no JSON object"),
    "no object": (META, '{"title": "Unrated"', "[", r"meta_.*, row 3, .*is no JSON object"),
    "a word": (REVIEWS, '"rating": 4.0', '"rating": "good"', r"row 2, .*'rating': 'good' is not a"),
    "a list": (REVIEWS, '"rating": 4.0', '"rating": [4]', r"row 2, .*'rating': None is not a"),
    "a late time": (RATINGS, "1600000000500", "9" * 15, r"row 2, .*no time before 2100 in ms"),
    "no user": (RATINGS, "u2,A", ",A", r"row 2, parent_asin 'A', field 'user_id': .*is empty"),
    "a product without id": (META, '"parent_asin": "B"', '"x": 1', r"meta_.*, row 2, .*is no id"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named(made: Made, tmp_path: Path, case: str) -> None:
    name, old, new, message = DAMAGE[case]
    folder = sample(tmp_path / "amazon", RATINGS if name == RATINGS else REVIEWS, META)
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        made("amazon-reviews", folder)


def test_missing_and_packed_files_are_named(made: Made, tmp_path: Path) -> None:
    folder = sample(tmp_path / "amazon", REVIEWS)
    with pytest.raises(InputError, match=r"amazon: there is no file meta_Digital_Music\.jsonl\."):
        made("amazon-reviews", folder)
    with pytest.raises(InputError, match=r"there is no file Books\.csv\."):
        made("amazon-reviews", folder, category="Books")
    with pytest.raises(InputError, match=r"'\.\./Books' is no name of one, such as Digital_Music"):
        made("amazon-reviews", folder, category="../Books")
    (folder / f"{META}.gz").write_text("no gzip", encoding="utf-8")
    with pytest.raises(InputError, match=r"meta_Digital_Music\.jsonl\.gz: damaged \(.*again"):
        made("amazon-reviews", folder)
    (folder / f"{META}.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(InputError, match=r"meta_Digital_Music\.jsonl\.gz: the file has no rows"):
        made("amazon-reviews", folder)


def test_broken_rows_can_be_skipped(made: Made, tmp_path: Path) -> None:
    folder = sample(tmp_path / "amazon", REVIEWS, META)
    for name, old, new in ((REVIEWS, '"rating": 4.0', '"rating": 9'), (META, '{"title": ""', "{")):
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    got = made("amazon-reviews", folder, skip_broken=True)
    assert len(got["listens"]) == 4
    assert got["tracks"]["track_id"].to_list() == ["A", "B", "C"]
    faults = pl.read_csv(tmp_path / "tables" / "broken.csv")
    assert faults.select("file", "row", "field").rows() == [
        (REVIEWS, 2, "rating"),
        (META, 2, "line"),
    ]
