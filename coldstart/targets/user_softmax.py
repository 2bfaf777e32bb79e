"""An objective on the users' listens, which should be likely; the users' vectors are fixed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from coldstart.errors import InputError
from coldstart.targets.track_factors import TrackFactors

if TYPE_CHECKING:
    from coldstart.factors.factors import Factors


class UserSoftmax(TrackFactors):
    """A track's vector, such that each user's listens are likely among the batch's tracks.

    The multinomial likelihood of the log (as in Liang et al., WWW 2018), with the factorisation's
    users frozen: for each user who played any track of the batch, a softmax over the batch's tracks
    of (user vector · predicted vector) / temperature. Each listen counts the same, so popular
    tracks count more. Each track occurs once in an epoch: a batch is an unbiased sample, and its
    softmax needs no correction for popularity. Outputs keep their length; users' scores are dot
    products.
    """

    def __init__(self, temperature: float = 0.1, users: int = 16384) -> None:
        """A target.

        Args:
            temperature: scores are divided by this, above 0. A factorisation's scores are near 1
                for listens that it is sure of.
            users: maximum number of users in a softmax, chosen at random for each batch among
                those who played its tracks: memory is users × batch size.
        """
        super().__init__(length=True)
        if temperature <= 0 or users < 1:
            raise InputError("UserSoftmax: temperature is above 0, and users at least 1")
        self.temperature, self.users = temperature, users
        self.row: dict[str, int] = {}

    def take(self, factors: Factors) -> None:
        """Store who played each track, and the users' vectors.

        Raises:
            InputError: the factors are of ratings, which aren't listens.
        """
        if factors.about["algorithm"] == "explicit":
            raise InputError("UserSoftmax: these factors are of ratings; it needs listens")
        self.row = factors.row
        listeners = factors.listens.T.tocsr()
        for name, values in {
            "vectors": factors.users,
            "start": listeners.indptr.astype(np.int64),
            "listener": listeners.indices.astype(np.int32),
            "has_vector": factors.users.any(axis=1),
        }.items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def objective(self, predicted: Tensor, true: Tensor, track_ids: Sequence[str]) -> Tensor:
        """Of each track, its listens' negative log-likelihood, scaled so that the mean over the
        batch's tracks is the mean over the batch's listens. 0 for a track without listens.
        """
        get, device = self.get_buffer, predicted.device
        rows = torch.tensor([self.row[track_id] for track_id in track_ids], device=device)
        start = get("start")[rows]
        count = get("start")[rows + 1] - start
        # One entry a listen: its track, its number among the track's listens, its user.
        track = torch.arange(len(rows), device=device).repeat_interleave(count)
        offset = torch.arange(len(track), device=device) - (count.cumsum(0) - count)[track]
        user = get("listener")[start[track] + offset].long()
        users, position = self._sample_users(user)
        track, position = track[position >= 0], position[position >= 0]
        scores = get("vectors")[users] @ self.output(predicted).T / self.temperature
        loss = -F.log_softmax(scores, dim=1)[position, track]
        scale = len(track_ids) / max(1, len(track))
        return predicted.new_zeros(len(rows)).index_add(0, track, loss) * scale

    def _sample_users(self, user: Tensor) -> tuple[Tensor, Tensor]:
        """The users of the softmax, [U'], and each listen's position among them, or -1. [M]."""
        users, index = user.unique(return_inverse=True)
        sample = self.get_buffer("has_vector")[users].nonzero()[:, 0]
        if len(sample) > self.users:
            sample = sample[torch.randperm(len(sample), device=user.device)[: self.users]]
        position = torch.full_like(users, -1)
        position[sample] = torch.arange(len(sample), device=user.device)
        return users[sample], position[index]
