"""Listeners' own plays: fans of artists whom a narrow factorisation can't tell apart."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
import torch
from scipy.sparse import csr_matrix
from variants import figures, fit_and_test

from coldstart.commands.factorize import factorize
from coldstart.commands.shard import shard
from coldstart.commands.split import split
from coldstart.commands.update import update
from coldstart.errors import InputError
from coldstart.factors.factors import Factors
from coldstart.factors.folding import settings_of
from coldstart.factors.listener_axes import listener_axes, play_weights
from coldstart.factors.listening import NOTHING, Listening
from coldstart.factors.model_space import in_model_space
from coldstart.fusion.kernel import Kernel
from coldstart.retrieval.recommender import Recommender
from coldstart.runs.run import open_run

ARTISTS, TRACKS, USERS, FOLLOWED = 40, 320, 240, 3


class Fans(NamedTuple):
    folder: Path
    follows: dict[str, set[int]]
    artist: dict[str, int]


@pytest.fixture(scope="module")
def fans(tmp_path_factory: pytest.TempPathFactory) -> Fans:
    """Everybody plays most tracks of three artists of their own, and a few of others; content says
    who the artist is, and four factors are too few for forty artists.
    """
    folder = tmp_path_factory.mktemp("fans")
    rng = np.random.default_rng(0)
    artist = np.arange(TRACKS) % ARTISTS
    ids = [f"t{i:03d}" for i in range(TRACKS)]
    follows = {f"u{u:03d}": set(rng.choice(ARTISTS, FOLLOWED, False)) for u in range(USERS)}
    rows = []
    for user, own in follows.items():
        loved = np.isin(artist, list(own))
        played = np.where(loved, rng.random(TRACKS) < 0.8, rng.random(TRACKS) < 0.02)
        rows += [(user, ids[track], 1) for track in np.flatnonzero(played)]
    names = ["user_id", "track_id", "plays"]
    pl.DataFrame(rows, schema=names, orient="row").write_parquet(folder / "listens.parquet")
    tracks = {
        "track_id": ids,
        "title": [f"Song {i}" for i in range(TRACKS)],
        "artist": [f"Artist {a}" for a in artist],
        "genres": [[f"style {a}"] for a in artist],
    }
    pl.DataFrame(tracks).write_parquet(folder / "tracks.parquet")
    split(folder / "tracks.parquet", out=folder / "splits.parquet", method="random")
    factorize(
        folder / "listens.parquet",
        out=folder / "factors",
        splits=folder / "splits.parquet",
        factors=4,
        shrinkage=0.15,
        axes="scores",
    )
    shard(
        folder / "tracks.parquet",
        out=folder / "shards",
        splits=folder / "splits.parquet",
        modalities=["genres"],
    )
    fit_and_test(folder, {"own": [], "vectors": ["--model.fusion.axes=0"]})
    return Fans(folder, follows, dict(zip(ids, artist.tolist(), strict=True)))


def test_fans_find_the_new_tracks_of_their_artists(fans: Fans) -> None:
    own, vectors = figures(fans.folder / "own"), figures(fans.folder / "vectors")
    assert own["coldstart"] > vectors["coldstart"] + 0.1
    assert own["ridge"] == pytest.approx(vectors["ridge"])  # rivals have the factors as they are


def test_no_axes_where_they_bring_nothing(fans: Fans) -> None:
    assert open_run(fans.folder / "vectors").model.listening.axes is None
    axes = open_run(fans.folder / "own").model.listening.axes
    assert axes is not None
    assert 0 < axes.share < 1


def test_each_door_answers_from_the_same_space(fans: Fans) -> None:
    recommender = Recommender(fans.folder / "own")
    user, own = next(iter(fans.follows.items()))
    best = recommender.for_user(user, k=5, why=True)
    for one in best:  # what they haven't played of their artists, and others
        assert one.why is not None
        assert one.why.score == pytest.approx(one.similarity, abs=2e-3)
    (table,) = recommender.for_users([user], k=5)
    assert table["track_id"].to_list() == [one.track_id for one in best]
    warm = recommender.catalogue.track_ids[: recommender.catalogue.warm]
    played = [track for track in warm if fans.artist[track] in own]
    liked = recommender.for_liked(played, k=5)
    assert sum(fans.artist[one.track_id] in own for one in liked) >= 3
    listeners = recommender.listeners(best[0].track_id, k=5)
    artist = fans.artist[best[0].track_id]
    assert sum(artist in fans.follows[one.user_id] for one in listeners) >= 4


def test_a_listener_who_comes_later_has_a_place_on_the_axes_too(fans: Fans, tmp_path: Path) -> None:
    factors = shutil.copytree(fans.folder / "factors", tmp_path / "factors")
    known = Factors.load(factors)
    artist = next(iter(fans.follows["u000"]))
    train = [t for t, split in zip(known.track_ids, known.split, strict=True) if split == "train"]
    played = [t for t in train if fans.artist[t] == artist]
    events = pl.DataFrame({"user_id": ["newcomer"] * len(played), "track_id": played})
    stamped = events.with_columns(time=pl.lit("2026-01-01"), plays=pl.lit(1))
    stamped.write_parquet(tmp_path / "events.parquet")
    update(factors, listens=tmp_path / "events.parquet")
    best = Recommender(fans.folder / "own", factors=str(factors)).for_user("newcomer", k=2)
    assert all(fans.artist[one.track_id] == artist for one in best)


def _axes(factors: Factors) -> tuple[list[str], torch.Tensor]:
    ids = [t for t, folded in zip(factors.track_ids, factors.folded, strict=True) if not folded]
    return ids, torch.eye(len(ids)).double() * 0.5 + 0.001


def test_what_held_out_tracks_listeners_do_changes_nothing(fans: Fans) -> None:
    factors = Factors.load(fans.folder / "factors")
    ids, smoother = _axes(factors)
    found = listener_axes(factors, ids, smoother, 0.2, 16)
    plays = factors.listens.toarray()
    plays[:, factors.folded] *= 50
    again = listener_axes(replace(factors, listens=csr_matrix(plays)), ids, smoother, 0.2, 16)
    np.testing.assert_array_equal(found.loadings, again.loadings)
    np.testing.assert_array_equal(found.places, again.places)


def test_scores_of_the_wide_space_are_the_sum_of_both_parts(fans: Fans) -> None:
    factors = Factors.load(fans.folder / "factors")
    ids, smoother = _axes(factors)
    axes = listener_axes(factors, ids, smoother, 0.2, 16)
    wide = in_model_space(factors, Listening(axes))
    warm = len(axes.places)
    listeners = play_weights(factors.listens[:, :warm], settings_of(factors.about)) @ axes.loadings
    active = factors.users.any(axis=1)
    expected = 0.8 * factors.users @ factors.tracks[:warm].T + listeners @ axes.places.T
    found = wide.users @ wide.tracks[:warm].T
    np.testing.assert_allclose(found[active], expected[active], rtol=1e-3, atol=1e-4)
    squares = np.square(wide.users[active, factors.dim :]).mean(0)
    np.testing.assert_allclose(squares, 1.0, rtol=1e-3)
    assert wide.narrow is factors
    assert in_model_space(factors, NOTHING) is factors


def test_axes_of_other_tracks_are_refused(fans: Fans) -> None:
    factors = Factors.load(fans.folder / "factors")
    axes = listener_axes(factors, *_axes(factors), 0.2, 16)
    fewer = axes._replace(loadings=axes.loadings[:-1], places=axes.places[:-1])
    with pytest.raises(InputError, match="don't belong together"):
        in_model_space(factors, Listening(fewer))
    with pytest.raises(InputError, match="don't belong together"):
        in_model_space(factors, Listening(axes._replace(places=axes.places[:, :-1])))


def test_checkpoints_of_before_open() -> None:
    head = Kernel()
    head.build({"a": 3}, 2)
    old = {k: v for k, v in head.state_dict().items() if not k.startswith("heard.")}
    twin = Kernel()
    twin.build({"a": 3}, 2)
    twin.load_state_dict(dict(old))  # of before there were axes
    assert twin.listening == NOTHING
    axes = {"loadings": torch.ones(5, 2), "places": torch.ones(5, 2)}
    twin.load_state_dict({**old, **axes, "own_share": torch.tensor(0.25)})  # beside the rest
    assert twin.listening.axes is not None
    assert twin.listening.axes.places.shape == (5, 2)
    assert twin.listening.axes.share == 0.25
    assert twin.listening.content is None
