"""Rivals by factors: ridge, nearest neighbours, and missing content."""

import torch

from coldstart.evaluation.rivals import by_factors
from coldstart.evaluation.rivals.features import scalings


def test_ridge_recovers_a_planted_linear_map() -> None:
    generator = torch.Generator().manual_seed(0)
    x, w = torch.randn(200, 6, generator=generator), torch.randn(6, 3, generator=generator)
    parts = [torch.randn(50, 6, generator=generator) for _ in range(2)]
    truth = parts[0] @ w + 2
    (_, predicted), penalty = by_factors.ridge(
        x, x @ w + 2, parts, lambda guess: -float((guess - truth).square().mean())
    )
    assert penalty == min(by_factors.RIDGE_LAMBDAS)
    torch.testing.assert_close(predicted, parts[1] @ w + 2, atol=0.05, rtol=0.05)


def test_ridge_on_more_columns_than_tracks_is_the_same_ridge() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 80, generator=generator), torch.randn(30, 3, generator=generator)
    other = torch.randn(9, 80, generator=generator)
    (found,), penalty = by_factors.ridge(x, y, [other], lambda guess: 0.0, lambdas=[2.0])
    assert penalty == 2.0
    centred = (x - x.mean(0)).double()
    matrix = centred.T @ centred + 2.0 * torch.eye(80)
    weights = torch.linalg.solve(matrix, centred.T @ (y - y.mean(0)).double())
    expected = (other - x.mean(0)).double() @ weights + y.mean(0)
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=1e-5)


def test_a_copy_s_nearest_neighbour_is_the_original() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(50, 8, generator=generator), torch.randn(50, 3, generator=generator)
    torch.testing.assert_close(by_factors.neighbours(x, y, x[:5], k=1), y[:5])


def test_content_that_is_missing_throughout_does_no_harm() -> None:
    x = torch.full((4, 2), torch.nan)
    assert all(part.isfinite().all() for part in scalings(x, x)["standardised"])
