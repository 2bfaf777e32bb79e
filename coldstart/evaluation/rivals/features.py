"""Content as features for the rivals, in several scalings."""

from __future__ import annotations

import torch
from torch import Tensor


def features(train: Tensor, *others: Tensor) -> dict[str, list[Tensor]]:
    """Content in four scalings, missing values filled.

    `as it is` and `standardised`: see `scalings`; `from its least`: minus each feature's least
    value among the training tracks, so that a missing value is 0, and nothing is below 0; `idf`:
    the same, times ln((1 + N) / (1 + tracks with a value above 0)) (K. Spärck Jones, 1972).

    >>> tags = torch.tensor([[-1.0, 2.0], [-1.0, 0.0], [0.0, 0.0]])
    >>> features(tags)["from its least"][0].tolist()
    [[0.0, 2.0], [0.0, 0.0], [1.0, 0.0]]
    """
    least = torch.where(train.isnan(), torch.inf, train).amin(0)
    least = torch.where(least.isinf(), 0.0, least)
    from_least = [(part - least).nan_to_num(0.0).clamp_min(0) for part in (train, *others)]
    idf = ((1 + len(train)) / (1 + (from_least[0] > 0).sum(0))).log()
    return {
        **scalings(train, *others),
        "from its least": from_least,
        "idf": [part * idf for part in from_least],
    }


def scalings(train: Tensor, *others: Tensor) -> dict[str, list[Tensor]]:
    """Features as they are, and standardised by the training rows; a missing one gets the mean.

    Which of the two is better for a rival depends on the data, so validation decides.

    >>> train, test = torch.tensor([[0.0], [4.0]]), torch.tensor([[float("nan")], [6.0]])
    >>> {name: parts[1].ravel().tolist() for name, parts in scalings(train, test).items()}
    {'as it is': [2.0, 6.0], 'standardised': [0.0, 2.0]}
    """
    mean = train.nanmean(0).nan_to_num(0.0)  # 0: no training track has the modality
    filled = [torch.where(part.isnan(), mean, part) for part in (train, *others)]
    std = filled[0].std(0, correction=0)
    std = torch.where(std > 0, std, 1.0)
    return {"as it is": filled, "standardised": [(part - mean) / std for part in filled]}
