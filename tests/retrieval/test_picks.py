"""From scores to lists."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coldstart.errors import InputError
from coldstart.retrieval.picks import Mix, best

NO = -float("inf")


def test_the_best_come_first_and_what_is_excluded_never() -> None:
    scores = torch.tensor([[0.1, 0.9, NO, 0.5], [NO, NO, NO, 0.2]])
    picks = best(scores, 3, 2, None)
    assert picks.positions.tolist() == [[1, 3, 0], [3, -1, -1]]


def test_of_equals_the_earlier_comes_first() -> None:
    assert best(torch.tensor([[1.0, 2.0, 1.0, 2.0]]), 4, 4, None).positions.tolist() == [
        [1, 3, 0, 2]
    ]


@settings(max_examples=40, deadline=None)
@given(
    data=st.data(),
    size=st.integers(1, 60),
    k=st.integers(1, 12),
    per_artist=st.one_of(st.none(), st.integers(1, 3)),
    share=st.one_of(st.none(), st.floats(0, 1)),
)
def test_lists_keep_to_the_mix(
    data: st.DataObject, size: int, k: int, per_artist: int | None, share: float | None
) -> None:
    """As a plain loop over all candidates would fill them."""
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))
    warm, names = data.draw(st.integers(0, size)), data.draw(st.integers(1, 6))
    scores = torch.from_numpy(generator.normal(size=(3, size)).astype(np.float32))
    scores[generator.random((3, size)) < 0.2] = NO
    artists = generator.integers(0, names, size)
    picks = best(scores, k, warm, artists, Mix(per_artist, share))
    for row, positions in enumerate(picks.positions):
        assert positions[positions >= 0].tolist() == _plain(
            scores[row].tolist(), k, warm, artists.tolist(), per_artist, share
        )


def _plain(
    scores: list[float],
    k: int,
    warm: int,
    artists: list[int],
    per_artist: int | None,
    share: float | None,
) -> list[int]:
    order = sorted(
        (i for i, score in enumerate(scores) if score != NO), key=lambda i: (-scores[i], i)
    )
    groups = (
        [order]
        if share is None
        else [
            [i for i in order if i < warm],
            [i for i in order if i >= warm],
        ]
    )
    picks: list[int] = []
    due = 0.0
    for place in range(min(k, len(scores))):
        wanted = 0
        if share is not None:
            due = np.floor((place + 1) * share + 0.5 + 1e-9)
            wanted = int(due - np.floor(place * share + 0.5 + 1e-9))
        for group in [wanted, *({0, 1} - {wanted} if share is not None else ())]:
            allowed = [
                i
                for i in groups[group]
                if i not in picks
                and (
                    per_artist is None
                    or sum(artists[pick] == artists[i] for pick in picks) < per_artist
                )
            ]
            if allowed:
                picks.append(allowed[0])
                break
    return picks


@pytest.mark.parametrize(
    "mix", [Mix(per_artist=0), Mix(new_share=1.1), Mix(new_share=float("nan"))]
)
def test_a_mix_out_of_range_is_refused(mix: Mix) -> None:
    with pytest.raises(InputError):
        mix.check()
