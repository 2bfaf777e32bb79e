"""Recommended rows as a table: in a notebook, as a data frame."""

import subprocess
import sys
from html.parser import HTMLParser

import polars as pl
import pytest
from helpers import Fitted

from coldstart.retrieval.query import Recommendation, Recommendations
from coldstart.retrieval.recommender import Recommender

ROWS = [
    Recommendation(1, "t1", "Night & <Day>", "日本 😀", 12, 0.12345, None, "both"),
    Recommendation(2, "t2", "Second", "A Band", 0, -0.5),
]


class Cells(HTMLParser):
    """The texts of a table's cells, as a browser would show them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        assert tag in ("table", "caption", "thead", "tbody", "tr", "th", "td"), tag
        if tag == "tr":
            self.rows.append([])
        self.inside = tag in ("th", "td")
        if self.inside:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def test_a_notebook_shows_a_table_whatever_titles_hold() -> None:
    html = Recommendations(ROWS)._repr_html_()
    assert Cells(html).rows == [
        ["rank", "track_id", "title", "artist", "plays", "cosine", "by"],
        ["1", "t1", "Night & <Day>", "日本 😀", "12", "0.123", "both"],
        ["2", "t2", "Second", "A Band", "0", "-0.500", "content"],
    ]
    assert "-1 to 1" in html
    liked = Recommendations(ROWS, by_length=True)._repr_html_()
    assert Cells(liked).rows[0][5] == "liking"
    assert "predicted to like" in liked
    assert len(Cells(Recommendations()._repr_html_()).rows) == 1


def test_rows_are_a_data_frame_and_still_a_list() -> None:
    rows = Recommendations(ROWS)
    assert rows == ROWS
    assert rows[0].title == "Night & <Day>"
    frame = rows.to_polars()
    assert frame.columns == [name for name in Recommendation._fields if name != "why"]
    assert frame.row(1) == (2, "t2", "Second", "A Band", 0, -0.5, "content")
    assert Recommendations().to_polars().schema == frame.schema
    assert frame.schema["similarity"] == pl.Float64


def test_pandas_is_asked_for_only_where_it_is_wanted() -> None:
    code = (
        "import sys; sys.modules['pandas'] = sys.modules['pyarrow'] = None\n"  # as if not there
        "from coldstart.retrieval.query import Recommendation, Recommendations\n"
        "rows = Recommendations([Recommendation(1, 't', 'T', 'A', 3, 0.5)])\n"
        "print(len(rows.to_polars()), '<td>' in rows._repr_html_())\n"
        "try: rows.to_pandas()\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "1 True"
    assert "pip install pandas" in done.stdout


def test_rows_are_a_pandas_frame() -> None:
    pytest.importorskip("pandas")
    frame = Recommendations(ROWS).to_pandas()
    assert list(frame.columns) == Recommendations(ROWS).to_polars().columns
    assert frame["plays"].tolist() == [12, 0]


def test_a_recommender_gives_such_rows_and_says_what_their_figure_is(mgp_genres: Fitted) -> None:
    recommender = Recommender(mgp_genres.run)
    near = recommender.similar("t000001", k=3)
    user = recommender.catalogue.known_factors().user_ids[0]
    liked = recommender.for_user(user, k=3, why=True)
    assert (near.measure, liked.by_length) == ("cosine", recommender.catalogue.by_length)
    assert near.to_polars()["track_id"].to_list() == [row.track_id for row in near]
    frame = liked.to_polars()
    assert frame["why"].to_list() == [str(row.why) for row in liked]
