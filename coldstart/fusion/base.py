"""The interface of all fusion heads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from coldstart.components import Component
from coldstart.factors.listening import NOTHING, Listening


class Solvable(NamedTuple):
    """A batch of training tracks, for a head that is solved in closed form.

    Attributes:
        encoded: modality → [B, dim].
        present: modality → [B] bool.
        vectors: [B, out], the targets.
        group: [B] int64: tracks with the same number reveal too much of each other, such as those
            of one artist where the tracks to be predicted are of other artists. To leave a track
            out, leave its group out.
        track_ids: B ids, to ask for `InnerFolds`; empty where there are none.
    """

    encoded: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    vectors: Tensor
    group: Tensor
    track_ids: Sequence[str] = ()


class FoldListeners(NamedTuple):
    """Those for whom an inner fold's hidden tracks are ranked.

    Attributes:
        users: [U, K] float64, in the axes of the fold's vectors.
        plays: [U, n] float64: what each play weighs, a listener's all together of length 1; zeros
            of the hidden tracks.
        quality: scores of the hidden tracks, [U, hidden] → how good their order is.
    """

    users: Tensor
    plays: Tensor
    quality: Callable[[Tensor], float]


class InnerFold(NamedTuple):
    """A cold start among the training tracks: some are hidden, the others factorised without them.

    Settings that are chosen by it have not seen a validation or test track, and what was hidden has
    no part in the vectors that it is ranked by.

    Attributes:
        hidden: [n] bool: which of the n tracks.
        vectors: [n, K] of the others; zeros where hidden. In axes of their own.
        quality: predicted vectors of the hidden tracks, [hidden, K], in their order → how well they
            are ranked for those who have played some of them: mean NDCG, 0 to 1.
        listeners: these; None where only vectors can be judged.
    """

    hidden: Tensor
    vectors: Tensor
    quality: Callable[[Tensor], float]
    listeners: FoldListeners | None = None


InnerFolds = Callable[[Sequence[str], Tensor], Sequence[InnerFold]]
"""Training tracks' ids and their groups [n] → inner folds of these; none if there are too few."""


class FusionHead(Component):
    """Any subset of modalities → one vector. A subclass implements `build` and `forward`.

    Attributes:
        interface: version of this interface that the head was written for.
        closed_form: true if it is solved instead of trained; then it implements `solve`.
        chooses: true if its `solve` takes `InnerFolds` as a second argument, to choose settings by;
            None where nobody's plays are known.
        share: of the score that listeners' own plays shall have, if `solve` finds that they help;
            then the head has `smoother`, `centre_ids`, `axes`, `heard` and `solve_again`, as
            `Kernel` has.
        content_share: of listeners' vectors that shall come from content, if `solve` finds that it
            helps; then the head has `unseen`, `centre_ids` and `heard`.
    """

    interface: ClassVar[int]
    closed_form: ClassVar[bool] = False
    chooses: ClassVar[bool] = False
    share: float = 0.0
    content_share: float = 0.0

    @property
    def listening(self) -> Listening:
        """What the head knows of listeners beside the factors; of axes beside theirs, it predicts
        tracks' places as well.
        """
        return NOTHING

    def build(self, dims: Mapping[str, int], out: int) -> None:
        """Make the layers.

        Args:
            dims: width of each modality's vector.
            out: width of the result.
        """
        raise NotImplementedError

    def forward(self, encoded: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Fuse.

        Args:
            encoded: modality → [B, dim]; where a track lacks it, the encoder's learnt vector.
            present: modality → [B] bool.

        Returns:
            [B, out]. The order of the modalities doesn't matter.
        """
        raise NotImplementedError

    def solve(self, rows: Callable[[], Iterable[Solvable]]) -> str:
        """Fit to the training tracks, if `closed_form`.

        Args:
            rows: each call begins a pass over the training tracks.

        Returns:
            A summary of the solution, in a line.
        """
        raise NotImplementedError


def mean_over(mask: Tensor, logits: Tensor, vectors: Sequence[Tensor]) -> Tensor:
    """A mean of the vectors of the modalities that each track has, with weights that sum to 1.

    Args:
        mask: [B, M] bool, as `stack` returns it.
        logits: [B, M] or [M], before the softmax.
        vectors: M tensors [B, D].

    Returns:
        [B, D].

    >>> mask = torch.tensor([[True, True], [True, False]])
    >>> mean_over(mask, torch.zeros(2), [torch.ones(2, 1), torch.full((2, 1), 5.0)]).tolist()
    [[3.0], [1.0]]
    """
    weights = logits.expand(mask.shape).masked_fill(~mask, -torch.inf).softmax(1)
    return (weights[:, :, None] * torch.stack(list(vectors), dim=1)).sum(1)


def stack(present: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """[B, M] bool: which modalities each track has; all of them for a track that has none.

    So a mean over a track's modalities always has at least one term.

    >>> a, b = torch.tensor([True, False]), torch.tensor([False, False])
    >>> stack({"a": a, "b": b}, ["a", "b"]).tolist()
    [[True, False], [True, True]]
    """
    mask = torch.stack([present[name] for name in names], dim=1)
    return mask | ~mask.any(1, keepdim=True)
