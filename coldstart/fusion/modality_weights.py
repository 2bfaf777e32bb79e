"""The choice of the modalities' weights, and of the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from coldstart.fusion.choice import Fitness, Judge
from coldstart.fusion.features import Products, upper, weighted
from coldstart.fusion.kernels import KERNELS, scale_of


class Candidate(NamedTuple):
    """What is chosen among.

    Attributes:
        weights: of the modalities, M.
        kernel: its name.
        fitness: how fit they are; its quality is −∞ where all tracks have the same content.
    """

    weights: tuple[float, ...]
    kernel: str
    fitness: Fitness


class WeightsTrial:
    """Tries weights and kernels on n tracks, whose modalities are compared once."""

    def __init__(self, modalities: Sequence[Products], judge: Judge, width: float) -> None:
        """A trial.

        Args:
            modalities: M of them, each with the n tracks beside themselves, of the weight 1.
            judge: of a kernel matrix of these tracks.
            width: of the Laplace kernel, in median distances.
        """
        self.modalities, self.judge, self.width = modalities, judge, width

    def candidate(self, weights: Sequence[float], kernel: str) -> Candidate:
        """These weights and this kernel, judged."""
        pairs = weighted(self.modalities, weights)
        scale = scale_of(kernel, upper(pairs.distances()), pairs.left, self.width)
        fitness = Fitness(float("-inf"), 0.0)
        if scale:
            fitness = self.judge(KERNELS[kernel](pairs, scale))
        return Candidate(tuple(weights), kernel, fitness)

    def best(self, kernels: Sequence[str], factors: Sequence[float]) -> Candidate:
        """The best modality alone, then each other one with the weight that helps most, if any, by
        the first kernel; then the fittest kernel with these weights.

        Args:
            kernels: names, at least one.
            factors: weights of another modality, relative to the best one.
        """
        single = [
            self.candidate(weights, kernels[0])
            for weights in torch.eye(len(self.modalities)).tolist()
        ]
        single.sort(key=_quality, reverse=True)
        best = single[0]
        for other in single[1:]:
            tried = [best]
            for factor in factors:
                pairs = zip(best.weights, other.weights, strict=True)
                weights = [own + factor * more for own, more in pairs]
                tried.append(self.candidate(weights, kernels[0]))
            best = max(tried, key=_quality)
        others = [self.candidate(best.weights, kernel) for kernel in kernels[1:]]
        return max([best, *others], key=_quality)


def _quality(candidate: Candidate) -> float:
    return candidate.fitness.quality
