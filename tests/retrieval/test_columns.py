"""Conditions over the columns of the tracks' table."""

import polars as pl
import pytest

from coldstart.errors import InputError
from coldstart.retrieval.columns import conditions, with_types

TABLE = with_types(
    pl.DataFrame(
        {
            "track_id": ["1", "2", "3"],
            "release_date": ["2026-01-02", "2020", None],
            "country": ["AT", "DE", "AT"],
            "bpm": ["120", "", "90.5"],
            "catalogue number": ["007", "8", "9"],
        }
    )
)


@pytest.mark.parametrize(
    ("where", "tracks"),
    [
        ("release_date >= 2026-01-01 and country == 'AT'", [True, False, False]),
        ("release_date >= '2026-01-01'", [True, False, False]),
        ("release_date < 2026-01", [False, True, False]),
        ("bpm > 100", [True, False, False]),
        ("bpm between 80 and 100 and country = 'AT'", [False, False, True]),
        ("country in ('AT', 'CH')", [True, False, True]),
        ("not country = 'AT'", [False, True, False]),
        ("bpm is null", [False, True, False]),
        ("\"catalogue number\" = '007'", [True, False, False]),
        ("(bpm > 100 and country = 'AT') or country = 'DE'", [True, True, False]),
        ("country = 'it''s 2026-01-01'", [False, False, False]),
    ],
)
def test_a_condition_selects_these_tracks(where: str, tracks: list[bool]) -> None:
    parts = conditions(where, TABLE)
    assert [all(row) for row in zip(*(part.tracks for part in parts), strict=True)] == tracks


def test_parts_that_and_joins_are_told_apart() -> None:
    parts = conditions("country = 'AT' AND bpm > 100", TABLE)
    assert [part.text for part in parts] == ["country = 'AT'", "bpm > 100"]
    assert len(conditions("(country = 'AT' and bpm > 100)", TABLE)) == 1


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("coutry = 'AT'", "names a column 'coutry'; the tracks have: track_id, release_date"),
        ('country = "AT"', "single quotation marks"),
        ("country", "is no condition"),
        ("count(*) > 1", "is no condition"),
        ("country = 'AT", "can't be used"),
        ("", "can't be used"),
        ("release_date > 2020", "can't be used"),
        ("(select 1)", "can't be used"),
        ("read_csv('/etc/passwd')", "can't be used"),
        ("country = 'AT'; drop table tracks", "can't be used"),
        ("__import__('os').system('true')", "can't be used"),
    ],
)
def test_what_is_no_condition_is_refused(where: str, message: str) -> None:
    with pytest.raises(InputError, match="where: ") as error:
        conditions(where, TABLE)
    assert message in str(error.value)
