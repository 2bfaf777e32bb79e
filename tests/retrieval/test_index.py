"""Approximate search: never a wrong score, nor a track that may not be recommended."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from coldstart.errors import InputError
from coldstart.factors.factors import Factors
from coldstart.model.space import TrackPlaces
from coldstart.retrieval.catalogue import Catalogue
from coldstart.retrieval.index import IndexKind, TrackIndex, build_index
from coldstart.retrieval.index_recall import choose_effort
from coldstart.retrieval.picks import Mix
from coldstart.retrieval.query import Query, answer, like, listener
from coldstart.retrieval.selection import ListPlan, Selection, select

pytest.importorskip("faiss")

FEW = settings(deadline=None, max_examples=40)


def catalogue_of(
    tracks: int, width: int = 12, *, by_length: bool = False, places: Any = None
) -> Catalogue:
    """Places around a few centres, of very different lengths, a third warm; and 30 listeners."""
    generator = np.random.default_rng(1)
    centres = generator.normal(size=(20, width))
    made = centres[generator.integers(0, 20, tracks)] + generator.normal(size=(tracks, width))
    made *= generator.lognormal(-3, 1, size=(tracks, 1))
    vectors: Any = np.asarray(made if places is None else places, np.float32)
    ids, warm = [f"t{i:05d}" for i in range(tracks)], tracks // 3
    plays = generator.integers(0, warm, 30 * 40)
    pairs = (np.repeat(np.arange(30), 40), plays)
    factors = Factors(
        track_ids=ids[:warm],
        user_ids=[f"u{i}" for i in range(30)],
        tracks=vectors[:warm],
        users=generator.normal(size=(30, width)).astype(np.float32),
        folded=np.zeros(warm, bool),
        split=np.full(warm, "train"),
        listens=csr_matrix((np.ones(len(plays), np.float32), pairs), (30, warm)),
        about={},
    )
    rows = [
        {"track_id": i, "title": i, "artist": f"a{number % 50}"} for number, i in enumerate(ids)
    ]
    return Catalogue(
        TrackPlaces(ids, torch.from_numpy(vectors), warm), rows, factors, by_length=by_length
    )


def queries(catalogue: Catalogue) -> list[Query]:
    tracks = [like(catalogue, [track]) for track in catalogue.track_ids[:: len(catalogue) // 30]]
    return [*tracks, *(listener(catalogue, f"u{i}") for i in range(30))]


def thorough(index: TrackIndex) -> TrackIndex:
    for place in index.places.values():
        place.index.effort = place.index.efforts[-1]
    return index


def recall_of(index: TrackIndex, asked: Sequence[Query], among: Selection, k: int = 10) -> float:
    plan, shares = ListPlan(among, k, Mix()), []
    for query in asked:
        exact = {row.track_id for row in answer(index.catalogue, query, among, k)}
        own = answer(index.catalogue, query, index.shortlist(query, plan), k)
        shares.append(len(exact & {row.track_id for row in own}) / len(exact))
    return float(np.mean(shares))


@pytest.fixture(scope="module", params=[False, True], ids=["cosine", "by_length"])
def small(request: pytest.FixtureRequest) -> TrackIndex:
    return thorough(build_index(catalogue_of(3000, by_length=request.param)))


@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_a_thorough_search_finds_the_exact_answer(kind: IndexKind, by_length: bool) -> None:
    catalogue = catalogue_of(12_000, by_length=by_length)
    index = thorough(build_index(catalogue, kind))
    assert index.gone == 0
    assert len(index.lacking) == 0
    everything = select(catalogue, "all")
    assert recall_of(index, queries(catalogue), everything) > 0.97
    narrow = index.shortlist(queries(catalogue)[0], ListPlan(everything, 10, Mix()))
    assert 10 <= len(narrow) < 0.1 * len(catalogue)


@FEW
@given(data=st.data())
def test_a_list_keeps_to_all_that_was_asked(small: TrackIndex, data: st.DataObject) -> None:
    """Whatever is chosen: as long as the exact list, as it should be, each with its exact score."""
    catalogue = small.catalogue
    share = data.draw(st.sampled_from([0.02, 0.3, 0.9, 1.0]))
    seed = data.draw(st.integers(0, 5))
    rows = np.flatnonzero(np.random.default_rng(seed).random(len(catalogue)) < share)
    kind = data.draw(st.sampled_from(["all", "cold", "warm"]))
    named = [catalogue.track_ids[row] for row in rows] if share < 1 else kind
    selection = select(catalogue, named)
    query = data.draw(st.sampled_from(queries(catalogue)))
    k = data.draw(st.integers(1, 60))
    mix = data.draw(
        st.builds(Mix, st.none() | st.integers(1, 3), st.none() | st.floats(0, 1, width=16))
    )
    exact = answer(catalogue, query, selection, k, mix)
    own = answer(catalogue, query, small.shortlist(query, ListPlan(selection, k, mix)), k, mix)
    assert len(own) == len(exact)
    allowed = {catalogue.track_ids[row] for row in selection.rows}
    allowed -= {catalogue.track_ids[row] for row in query.excluded}
    scores = {
        row.track_id: row.similarity for row in answer(catalogue, query, selection, len(selection))
    }
    for row in own:
        assert row.track_id in allowed
        assert row.similarity == pytest.approx(scores[row.track_id], abs=2e-4)
    if mix.per_artist is not None:
        artists = [row.artist for row in own]
        assert max(artists.count(artist) for artist in artists) <= mix.per_artist
    if mix.new_share is None:
        total = sum(row.similarity for row in exact)
        assert sum(row.similarity for row in own) >= total - 0.03 * abs(total) - 1e-3
    else:
        assert [row.by for row in own] == [row.by for row in exact]


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_tracks_come_go_and_move_without_a_new_build(kind: IndexKind) -> None:
    old = catalogue_of(12_000, by_length=True)
    built = build_index(old, kind)
    ids = built.ids
    places = old.vectors.numpy().copy()
    moved = np.arange(4000, 12_000, 20)
    places[moved] = np.roll(places[moved], 1, axis=0)
    grown = np.concatenate([places, places[:300] * 1.01 + 0.001])
    new = catalogue_of(12_300, by_length=True, places=grown)
    gone = frozenset(new.track_ids[4001:12_000:40])
    catalogue = Catalogue(new.places, new.tracks, new.factors, removed=gone, by_length=True)
    index = TrackIndex(catalogue, ids, built.places)
    assert index.gone == len(gone) + len(moved)
    lacking = {catalogue.track_ids[row] for row in index.lacking}
    assert lacking == {f"t{i:05d}" for i in [*moved, *range(12_000, 12_300)]}
    index.add(index.lacking)
    assert len(index.lacking) == 0
    thorough(index)
    everything = select(catalogue, "all")
    added = [like(catalogue, [f"t{i}"]) for i in range(12_000, 12_300, 10)]
    assert recall_of(index, queries(catalogue) + added, everything) > 0.97
    one = ListPlan(everything, 1, Mix())
    for query in added:  # its twin of before
        assert answer(catalogue, query, index.shortlist(query, one), 1) == answer(
            catalogue, query, everything, 1
        )


def test_the_effort_is_the_least_that_is_enough() -> None:
    index = build_index(catalogue_of(6000, 24, by_length=True))
    rows = choose_effort(index, 0.99)
    for name, asked in (("directions", "tracks"), ("scoring", "listeners")):
        own = [row for row in rows if row.asked == asked and row.candidates == 6000]
        assert [row.effort for row in own] == list(index.places[name].index.efforts[: len(own)])
        assert all(row.recall < 0.99 for row in own[:-1])
        assert own[-1].in_use
        assert own[-1].recall >= 0.99
        assert index.places[name].index.effort == own[-1].effort
    with pytest.raises(InputError, match=r"recall is a share above 0, up to 1, not 1\.5"):
        choose_effort(index, 1.5)


def test_lists_need_many_tracks() -> None:
    with pytest.raises(
        InputError, match="kind ivfpq is for at least 10,000 tracks, here are 3,000"
    ):
        build_index(catalogue_of(3000), "ivfpq")
