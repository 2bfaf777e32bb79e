"""Human attributes: what a machine listener predicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from coldstart.errors import InputError
from coldstart.targets.base import Target


class Attributes(Target):
    """Human attributes, standardised, by squared error: what a machine listener predicts."""

    interface = 1
    fields: ClassVar[tuple[str, ...]] = ("mgp.npy",)

    def build(self, info: Mapping[str, Any]) -> None:
        """As wide as the number of attributes."""
        self.names: list[str] = list(info["names"])
        self.dim = len(self.names)
        self.register_buffer("mean", torch.tensor(info["mean"], dtype=torch.float32))
        std = torch.tensor(info["std"], dtype=torch.float32)
        self.register_buffer("std", torch.where(std > 0, std, 1.0))  # constant: its mean

    def check(self, info: Mapping[str, Any], built_from: Mapping[str, Any]) -> None:
        """The attributes must be the same, in the same order."""
        if info["names"] != built_from["names"]:
            raise InputError(
                f"{self.fields[0]}: the dataset's attributes are not the ones this model predicts"
            )

    def loss(self, predicted: Tensor, true: Tensor) -> Tensor:
        """Mean squared error over the standardised attributes: 1 = no better than their mean."""
        return (predicted - self.aim(true)).square().mean(dim=1)

    def aim(self, true: Tensor) -> Tensor:
        """Standardised."""
        return (true - self.get_buffer("mean")) / self.get_buffer("std")

    def output(self, predicted: Tensor) -> Tensor:
        """Back on the annotators' scale."""
        return predicted * self.get_buffer("std") + self.get_buffer("mean")
