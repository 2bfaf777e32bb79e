"""An objective through the users: their listens are to be likely, their vectors stay."""

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
    of (user vector · predicted vector) / temperature. Each listen counts alike, so popular tracks
    count more. Each track is in an epoch once: a batch is a sample without a preference, and its
    softmax needs no correction for popularity. Outputs keep their length; users' scores are dot
    products.
    """

    def __init__(self, temperature: float = 0.1, users: int = 16384) -> None:
        """A target.

        Args:
            temperature: what scores are divided by, above 0. A factorisation's scores are near 1
                where it is sure of a listen.
            users: at most so many of those who played a batch's tracks are asked, drawn anew for
                each batch: memory is users × batch size.
        """
        super().__init__(length=True)
        if temperature <= 0 or users < 1:
            raise InputError("UserSoftmax: temperature is above 0, and users at least 1")
        self.temperature, self.users = temperature, users
        self.row: dict[str, int] = {}

    def take(self, factors: Factors) -> None:
        """Who played each track, and the vectors of those users who have one.

        Raises:
            InputError: the factors are of ratings, which aren't listens.
        """
        if factors.about["algorithm"] == "explicit":
            raise InputError("UserSoftmax: these factors are of ratings; it needs listens")
        self.row = factors.row
        listeners = factors.listens.T.tocsr()
        known = factors.users.any(axis=1)
        for name, values in {
            "vectors": factors.users,
            "start": listeners.indptr.astype(np.int64),
            "listener": listeners.indices.astype(np.int32),
            "known": known,
        }.items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def objective(self, predicted: Tensor, true: Tensor, track_ids: Sequence[str]) -> Tensor:
        """Of each track, its listens' negative log-likelihood; its mean over the batch's tracks is
        that over the batch's listens. 0 where nobody is left to ask.
        """
        get, device = self.get_buffer, predicted.device
        rows = torch.tensor([self.row[name] for name in track_ids], device=device)
        begin = get("start")[rows]
        count = get("start")[rows + 1] - begin
        track = torch.arange(len(rows), device=device).repeat_interleave(count)
        offset = torch.arange(len(track), device=device) - (count.cumsum(0) - count)[track]
        user = get("listener")[begin[track] + offset].long()
        asked, place = self._asked(user)
        track, place = track[place >= 0], place[place >= 0]
        scores = get("vectors")[asked] @ self.output(predicted).T / self.temperature
        unlikely = -F.log_softmax(scores, dim=1)[place, track]
        mean = len(track_ids) / max(1, len(track))
        return predicted.new_zeros(len(rows)).index_add(0, track, unlikely) * mean

    def _asked(self, user: Tensor) -> tuple[Tensor, Tensor]:
        """The users to ask, [U']; and of each listen its user's place among them, or -1. [M]."""
        known = self.get_buffer("known")
        users, place = user.unique(return_inverse=True)
        chosen = known[users].nonzero()[:, 0]
        if len(chosen) > self.users:
            chosen = chosen[torch.randperm(len(chosen), device=user.device)[: self.users]]
        at = torch.full_like(users, -1)
        at[chosen] = torch.arange(len(chosen), device=user.device)
        return users[chosen], at[place]
