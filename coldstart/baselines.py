"""The floors and the simple rivals that stand beside every figure, from the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

NEIGHBOURS = 20
RIDGE_LAMBDAS = tuple(round(10.0 ** (power / 2), 3) for power in range(-2, 10))


def scalings(train: Tensor, *others: Tensor) -> dict[str, list[Tensor]]:
    """Features as they are, and standardised by the training rows; missing becomes the mean.

    Which of the two serves a rival better depends on the data, so validation decides.

    >>> train, test = torch.tensor([[0.0], [4.0]]), torch.tensor([[float("nan")], [6.0]])
    >>> {name: parts[1].ravel().tolist() for name, parts in scalings(train, test).items()}
    {'as it is': [2.0, 6.0], 'standardised': [0.0, 2.0]}
    """
    mean = train.nanmean(0).nan_to_num(0.0)  # a modality that no training track has tells nothing
    filled = [torch.where(part.isnan(), mean, part) for part in (train, *others)]
    std = filled[0].std(0, correction=0)
    std = torch.where(std > 0, std, 1.0)
    return {"as it is": filled, "standardised": [(part - mean) / std for part in filled]}


def neighbours(train: Tensor, factors: Tensor, test: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """The similarity-weighted mean factors of the k training tracks with the nearest content.

    Args:
        train: [N, F] features.
        factors: [N, K] their factors.
        test: [M, F].
        k: how many neighbours.

    Returns:
        [M, K].
    """
    known = F.normalize(train, dim=1)
    out: list[Tensor] = []
    for block in F.normalize(test, dim=1).split(1024):
        near = (block @ known.T).topk(min(k, len(known)), dim=1)
        weights = near.values.clamp_min(0) + 1e-6
        out.append((weights[:, :, None] * factors[near.indices]).sum(1) / weights.sum(1)[:, None])
    return torch.cat(out)


def ridge(
    train: Tensor,
    factors: Tensor,
    others: Sequence[Tensor],
    quality: Callable[[Tensor], float],
    lambdas: Sequence[float] = RIDGE_LAMBDAS,
) -> tuple[list[Tensor], float]:
    """Ridge regression from features to factors, λ chosen on the first of `others` (validation).

    Args:
        train: [N, F] features.
        factors: [N, K].
        others: features [M, F] to predict for; the first is the validation set.
        quality: predictions for the first → how good they are; higher is better.
        lambdas: to choose from.

    Returns:
        Predictions [M, K] for each of `others`, and the chosen λ.
    """
    x, y = train.double(), factors.double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    x = x - mean_x
    values, vectors = torch.linalg.eigh(x.T @ x)
    right = vectors.T @ (x.T @ (y - mean_y))

    def fitted(part: Tensor, penalty: float) -> Tensor:
        weights = vectors @ (right / (values.clamp_min(0) + penalty)[:, None])
        out: Tensor = ((part.double() - mean_x) @ weights + mean_y).float()
        return out

    best = max(lambdas, key=lambda penalty: quality(fitted(others[0], penalty)))
    return [fitted(part, best) for part in others], best


def artist_popularity(
    candidates: Sequence[str | None],
    training: Sequence[str | None],
    plays: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> Tensor:
    """Plays of each candidate's artist's training tracks; 0 for an artist who has none.

    Args:
        candidates: N artist ids.
        training: M artist ids.
        plays: [M] of the training tracks.

    Returns:
        [N].

    >>> artist_popularity(["x", "y", None], ["x", "x", "z"], np.array([2.0, 3.0, 9.0])).tolist()
    [5.0, 0.0, 0.0]
    """
    total: dict[str, float] = {}
    for artist, count in zip(training, plays.tolist(), strict=True):
        if artist is not None:
            total[artist] = total.get(artist, 0.0) + count
    return torch.tensor([total.get(a, 0.0) if a is not None else 0.0 for a in candidates])
