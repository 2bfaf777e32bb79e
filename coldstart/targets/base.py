"""The interface of all targets: what is predicted, and the objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from coldstart.components import Component
from coldstart.encoders.attributes import VectorReader
from coldstart.encoders.base import Reader

if TYPE_CHECKING:
    from coldstart.factors.factors import Factors


class Target(Component):
    """What a model predicts. A subclass sets `fields` and implements `build` and `loss`.

    Attributes:
        interface: version of this interface that the target was written for.
        fields: one field, which holds the truth.
        dim: width of the prediction; known after `build`.
        length: true if the lengths of outputs have a meaning, so that users' scores are dot
            products; else tracks are compared by direction.
    """

    interface: ClassVar[int]
    fields: ClassVar[tuple[str, ...]]
    dim: int
    length: bool = False

    def build(self, info: Mapping[str, Any]) -> None:
        """Set the width, `dim`, and the scale from the field's facts."""
        raise NotImplementedError

    def check(self, info: Mapping[str, Any], built_from: Mapping[str, Any]) -> None:
        """Raise InputError if a dataset's truth is not of the kind that this was built from."""

    def reader(self) -> Reader:
        """The reader of the truth; a track without one is `present=False`, and not trained on."""
        return VectorReader(self.fields[0], self.dim)

    def loss(self, predicted: Tensor, true: Tensor) -> Tensor:
        """How far a prediction is from the truth. [B, dim], [B, dim] → [B]."""
        raise NotImplementedError

    def objective(self, predicted: Tensor, true: Tensor, track_ids: Sequence[str]) -> Tensor:
        """Training and early stopping minimise its mean. [B, dim], [B, dim], B ids → [B].

        By default each track's own `loss`, so that the mean doesn't depend on how tracks are
        divided among batches and GPUs. A target that compares the tracks of a batch with each
        other, or needs to know who played them, overrides this.
        """
        return self.loss(predicted, true)

    def take(self, factors: Factors) -> None:
        """Called before a fit or a validation, for objectives that need more than the truths.

        Nothing that is stored here may be part of the state dict.
        """

    def output(self, predicted: Tensor) -> Tensor:
        """From the net's output to what users get. [B, dim] → [B, dim]."""
        return predicted

    @property
    def unknown(self) -> Tensor:
        """[dim] what is said of a track of which nothing is known: no opinion; by default zeros."""
        return torch.zeros(self.dim)

    def aim(self, true: Tensor) -> Tensor:
        """From the truth to the net's ideal output: the inverse of `output`. [B, dim] → same."""
        return true
