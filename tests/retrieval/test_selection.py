"""Which tracks may be recommended, and what is said if none may."""

import re

import pytest
from planted import planted

from coldstart.errors import InputError
from coldstart.retrieval.selection import select


def test_kinds_of_candidates() -> None:
    catalogue = planted()
    warm, cold, all_tracks = (select(catalogue, kind) for kind in ("warm", "cold", "all"))
    assert (warm.rows.tolist(), warm.warm) == (list(range(20)), 20)
    assert (cold.rows.tolist(), cold.warm) == (list(range(20, 40)), 0)
    assert (len(all_tracks), all_tracks.warm) == (40, 20)


def test_rows_without_a_gap_are_not_copied() -> None:
    catalogue = planted()
    cold = select(catalogue, "cold").directions
    assert cold.data_ptr() == catalogue.directions[20:].data_ptr()
    some = select(catalogue, ["t001", "t030"])
    assert some.directions.equal(catalogue.directions[[1, 30]])
    assert some.positions(some.rows[::-1]).tolist() == [1, 0]


def test_conditions_and_lists_are_combined() -> None:
    catalogue = planted()
    selection = select(
        catalogue, "cold", ["t021", "nobody"], "country = 'AT' and artist <> 'Artist 3'"
    )
    ids = [catalogue.track_ids[row] for row in selection.rows]
    assert ids == ["t025", "t027", "t029", "t031", "t035", "t037", "t039"]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (
            {"where": "country = 'AT' and release_date > 2090-01-01"},
            "of 40 tracks, cold tracks: 20, then where country = 'AT': 10, then where "
            "release_date > 2090-01-01: 0",
        ),
        ({"candidates": ["t001"], "exclude": ["t001"]}, "then without those to exclude: 0"),
        ({"candidates": ["t001", "nobody", "none"]}, "no track 'nobody' among the candidates' 3"),
        ({"candidates": "cool"}, "'cool' is none of cold, warm, all"),
    ],
)
def test_what_leaves_nothing_is_named(choices: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        select(planted(), **choices)  # type: ignore[arg-type]


def test_removed_tracks_are_no_candidates() -> None:
    catalogue = planted(removed=["t001", "t030"])
    assert len(catalogue) == 38
    assert catalogue.warm == 19
    assert not {"t001", "t030"} & set(catalogue.track_ids)
