"""The net of MusiCNN (Pons and Serra, 2019), with weights that others have trained."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BANDS, FRAMES = 96, 187
"""Mel bands, and frames of a patch: 3 s at 16 kHz, a frame every 256 samples."""

TIMBRAL = ((7, 38), (7, 67))
"""Shapes [frames, bands] of the filters over most of the spectrum."""

TEMPORAL = ((128, 1), (64, 1), (32, 1))
"""Shapes of the filters over time."""

TIMBRAL_FILTERS, TEMPORAL_FILTERS, MIDDLE_FILTERS = 204, 51, 64

FRONT = len(TIMBRAL) * TIMBRAL_FILTERS + len(TEMPORAL) * TEMPORAL_FILTERS
POOLED = 2 * (FRONT + 3 * MIDDLE_FILTERS)
PENULTIMATE, TAGS = 200, 50

_EPSILON = 1e-3  # of batch normalisation, as TensorFlow has it


class Layers(NamedTuple):
    """What the net makes of N patches.

    Attributes:
        pooled: [N, 1506], maxima over time, then means, of all filters.
        penultimate: [N, 200].
        tags: [N, 50], from 0 to 1.
    """

    pooled: Tensor
    penultimate: Tensor
    tags: Tensor


class MusicnnNet(nn.Module):
    """Filters as wide as timbres and as long as rhythms, then three layers, then pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm2d(1, _EPSILON)
        shapes = [(TIMBRAL_FILTERS, shape) for shape in TIMBRAL]
        shapes += [(TEMPORAL_FILTERS, shape) for shape in TEMPORAL]
        self.front = nn.ModuleList(nn.Conv2d(1, count, shape) for count, shape in shapes)
        self.front_norms = nn.ModuleList(nn.BatchNorm2d(count, _EPSILON) for count, _ in shapes)
        widths = (FRONT, MIDDLE_FILTERS, MIDDLE_FILTERS)
        self.middle = nn.ModuleList(
            nn.Conv1d(width, MIDDLE_FILTERS, 7, padding=3) for width in widths
        )
        self.middle_norms = nn.ModuleList(nn.BatchNorm1d(MIDDLE_FILTERS, _EPSILON) for _ in widths)
        self.pooled_norm = nn.BatchNorm1d(POOLED, _EPSILON)
        self.dense = nn.Linear(POOLED, PENULTIMATE)
        self.dense_norm = nn.BatchNorm1d(PENULTIMATE, _EPSILON)
        self.output = nn.Linear(PENULTIMATE, TAGS)
        self.eval()

    def forward(self, levels: Tensor) -> Layers:
        """Levels log10(1 + 10,000 × power), [N, frames, 96] → what the layers give."""
        image = self.input_norm(levels[:, None])
        parts = []
        shapes = (*TIMBRAL, *TEMPORAL)
        for (length, _), convolution, norm in zip(
            shapes, self.front, self.front_norms, strict=True
        ):
            # As many frames as before; of an even length, the longer side is the later one.
            padded = F.pad(image, (0, 0, (length - 1) // 2, length // 2))
            parts.append(norm(F.relu(convolution(padded), inplace=True)).amax(3))
        features = [torch.cat(parts, 1)]
        for number, (convolution, norm) in enumerate(
            zip(self.middle, self.middle_norms, strict=True)
        ):
            new = norm(F.relu(convolution(features[-1])))
            features.append(new + features[-1] if number else new)
        both = torch.cat(features, 1)
        pooled = torch.cat([both.amax(2), both.mean(2)], 1)
        penultimate = self.dense_norm(F.relu(self.dense(self.pooled_norm(pooled))))
        return Layers(pooled, penultimate, torch.sigmoid(self.output(penultimate)))


def from_tensorflow(variables: dict[str, Tensor]) -> dict[str, Tensor]:
    """The net's state from the variables of its authors' checkpoint.

    There, layers are counted in the order in which sound goes through them; axes are [frames,
    bands, input, filters]; and maxima and means take turns where ours follow one another.
    """

    def numbered(kind: str, number: int) -> str:
        return f"{kind}_{number}" if number else kind

    state: dict[str, Tensor] = {}
    norms = ["input_norm", *(f"front_norms.{i}" for i in range(5))]
    norms += [*(f"middle_norms.{i}" for i in range(3)), "pooled_norm", "dense_norm"]
    parts = {"weight": "gamma", "bias": "beta"}
    parts |= {"running_mean": "moving_mean", "running_var": "moving_variance"}
    for number, name in enumerate(norms):
        for ours, theirs in parts.items():
            value = variables[f"{numbered('batch_normalization', number)}/{theirs}"]
            state[f"{name}.{ours}"] = _apart(value) if name == "pooled_norm" else value
    convolutions = [*(f"front.{i}" for i in range(5)), *(f"middle.{i}" for i in range(3))]
    for number, name in enumerate(convolutions):
        layer = numbered("conv2d", number)
        kernel = variables[f"{layer}/kernel"].permute(3, 2, 0, 1)
        state[f"{name}.weight"] = kernel[:, 0].mT if name.startswith("middle") else kernel
        state[f"{name}.bias"] = variables[f"{layer}/bias"]
    state["dense.weight"] = _apart(variables["dense/kernel"]).T
    state["output.weight"] = variables["dense_1/kernel"].T
    state["dense.bias"], state["output.bias"] = variables["dense/bias"], variables["dense_1/bias"]
    return {name: value.contiguous() for name, value in state.items()}


def _apart(values: Tensor) -> Tensor:
    """Rows that take turns, one kind after the other."""
    return torch.cat([values[0::2], values[1::2]])
