"""A listener who isn't in the log."""

import logging

import numpy as np
import pytest
import torch
from planted import planted

from coldstart.errors import InputError
from coldstart.factors.als import Axes
from coldstart.retrieval.taste import liked


def test_a_vector_solves_the_normal_equations() -> None:
    catalogue = planted(tracks=60)
    factors = catalogue.known_factors()
    tracks, users = factors.tracks.astype(float), factors.users.astype(float)
    q, c, unseen = tracks[[1, 4, 9]], 2 * (1 + np.log(2)), 0.15  # three plays of twenty
    left = unseen * tracks.T @ tracks + 0.05 * np.eye(6) + (c - unseen) * q.T @ q
    mean = users[users.any(axis=1)].mean(0)
    expected = np.linalg.solve(left, c * q.sum(0) + 0.05 * mean)
    query = liked(catalogue, ["t001", "t004", "t009", "t004"])
    np.testing.assert_allclose(query.vector, expected, atol=1e-5)
    assert query.excluded.tolist() == [1, 4, 9]


def test_scores_do_not_depend_on_the_axes() -> None:
    catalogue, turned = planted(), planted()
    generator = np.random.default_rng(1)
    matrix = generator.normal(size=(6, 6))
    axes = Axes(matrix, np.linalg.inv(matrix).T.astype(np.float64))
    object.__setattr__(turned.factors, "axes", axes)
    users = (turned.known_factors().users @ axes.users).astype(np.float32)
    object.__setattr__(turned.factors, "users", users)
    turned.vectors = torch.from_numpy(turned.vectors.double().numpy() @ axes.tracks).float()
    tracks = ["t001", "t004"]
    scores = catalogue.vectors @ liked(catalogue, tracks).vector
    np.testing.assert_allclose(turned.vectors @ liked(turned, tracks).vector, scores, atol=1e-4)


def test_a_cold_track_counts_by_what_its_content_predicts(caplog: pytest.LogCaptureFixture) -> None:
    catalogue = planted()
    with caplog.at_level(logging.INFO, "coldstart"):
        query = liked(catalogue, ["t030"])
    assert "content speaks for them" in caplog.text
    direction = catalogue.directions[30]
    scores = catalogue.directions @ torch.nn.functional.normalize(query.vector, dim=0)
    assert scores[30] > 0.5 > float(scores.mean())
    assert float(direction @ query.vector) > 0


@pytest.mark.parametrize("tracks", [[], ["nobody"]])
def test_unknown_tracks_are_refused(tracks: list[str]) -> None:
    with pytest.raises(InputError, match=r"at least one|no track 'nobody'"):
        liked(planted(), tracks)
