"""Kernel ridge regression on the content of all modalities: solved, not trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from coldstart.errors import InputError, one_of
from coldstart.fusion.base import FusionHead, Solvable
from coldstart.fusion.ridge import ridge

WEIGHTS = (0.25, 0.5, 1.0, 2.0)
"""Weights of a modality to choose from, relative to the best one; it may also be left out."""

PENALTIES = tuple(round(10.0 ** (power / 2), 3) for power in range(-4, 3))

WEIGHT_TRACKS = 1500
"""Tracks on which weights are chosen: each candidate costs an eigendecomposition of this size."""

PENALTY_TRACKS = 4096
"""Tracks on which the penalty is chosen: one eigendecomposition of this size."""


def laplace(features: Tensor, centres: Tensor, scale: Tensor) -> Tensor:
    """exp(−distance · scale), for nonlinear relations. [B, F], [N, F] → [B, N], 1 if equal."""
    return torch.exp(-torch.cdist(features, centres) * scale)


def quadratic(features: Tensor, centres: Tensor, scale: Tensor) -> Tensor:
    """(1 + product · scale)² / 4: linear relations, and products of two features. → [B, N]."""
    return (1 + features @ centres.T * scale).square() / 4


KERNELS = {"laplace": laplace, "quadratic": quadratic}


class Kernel(FusionHead):
    """Kernel ridge regression from content to vectors, with a Laplace or a quadratic kernel.

    Each modality's vectors are centred and scaled to the same mean length, then weighted; a track
    that lacks a modality is placed at its mean. Weights and penalty are those that predict training
    tracks best when these are left out, each with its group (in closed form, on a random sample of
    a few thousand); no validation track is used.
    It is exact for up to `landmarks` training tracks. Of more tracks, a random sample of that size
    gives the kernel's centres, and all tracks are used to solve for its coefficients (Nyström;
    Williams & Seeger, NIPS 2000).

    It needs the content itself: encoders without layers to train (`hidden: []`), and a target in
    which lengths count (`TrackFactors` with `length: true`).
    """

    interface = 1
    closed_form: ClassVar[bool] = True

    def __init__(
        self,
        landmarks: int = 8192,
        width: float = 4.0,
        penalties: Sequence[float] = PENALTIES,
        weights: Sequence[float] = WEIGHTS,
        kernel: Literal["laplace", "quadratic"] = "laplace",
        seed: int = 0,
    ) -> None:
        """Settings of the solution.

        Args:
            landmarks: maximum number of centres; time grows with their cube, memory with their
                square (8,192: half a minute on one core, 1.8 GB), and each 6,000 tracks beyond
                them cost as much again, in time alone.
            width: of the Laplace kernel, in median distances between training tracks.
            penalties: λ to choose from, above 0.
            weights: to choose from for each modality, relative to the best one; it may also be
                left out.
            kernel: `laplace` for nonlinear relations; `quadratic` for linear ones and products of
                two features, where tastes are nearly linear in the content.
            seed: of the random choice of landmarks.
        """
        super().__init__()
        if landmarks < 2 or width <= 0 or not penalties or min(penalties) <= 0:
            raise InputError("Kernel: landmarks is at least 2, width and penalties are above 0")
        if min(weights, default=1.0) <= 0:
            raise InputError("Kernel: weights are above 0")
        one_of("Kernel: kernel", kernel, tuple(KERNELS))
        self.landmarks, self.width, self.seed = landmarks, width, seed
        self.penalties, self.weights = tuple(penalties), tuple(weights)
        self.kernel = kernel

    def build(self, dims: Mapping[str, int], out: int) -> None:
        """Register the buffers, which are filled by `solve` or from a checkpoint."""
        self.names = sorted(dims)
        features = sum(dims.values())
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("kernel_scale", torch.ones(()))
        self.register_buffer("centres", torch.zeros(1, features))
        self.register_buffer("coefficients", torch.zeros(1, out))
        self.register_buffer("bias", torch.zeros(out))
        self.register_buffer("weight", torch.ones(len(dims)))
        self.register_buffer("penalty", torch.zeros(()))
        self.dims = dict(dims)

    def forward(self, encoded: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """{modality: [B, dim]} → [B, out]."""
        get = self.get_buffer
        kernel = self._kernel(self._features(encoded, present), get("centres"))
        return kernel @ get("coefficients") + get("bias")

    def solve(self, rows: Callable[[], Iterable[Solvable]]) -> str:
        """Choose weights and penalty, and solve for the coefficients.

        Args:
            rows: each call begins a pass over the training tracks.

        Returns:
            The choice, in a line.

        Raises:
            InputError: fewer than three training tracks have a vector, or all have one content.
        """
        tracks, total = self._sample_tracks(rows())
        if len(tracks.vectors) < 3:
            raise InputError(f"Kernel: {len(tracks.vectors)} training tracks are too few to fit on")
        self._set("bias", tracks.vectors.mean(0))
        targets = (tracks.vectors - tracks.vectors.mean(0)).double()
        self._standardise(tracks)
        self._choose_weights(tracks, targets)
        centres = self._scale(tracks.values, tracks.present)
        if not self._set_kernel_scale(centres):
            raise InputError(
                f"Kernel: {', '.join(self.names)} say the same of all training tracks, so there is "
                "nothing to learn from"
            )
        self._set("centres", centres)
        part = slice(PENALTY_TRACKS)
        best = ridge(
            self._kernel_matrix(centres[part]), targets[part], self.penalties, tracks.group[part]
        )
        self._set("penalty", best.penalty)
        coefficients = best.coefficients
        if total > len(centres):
            coefficients = self._nystrom_coefficients(rows(), centres, best.penalty)
        elif len(centres) > len(coefficients):
            matrix = self._kernel_matrix(centres)
            matrix.diagonal().add_(best.penalty)
            coefficients = torch.cholesky_solve(targets, torch.linalg.cholesky(matrix))
        self._set("coefficients", coefficients)
        weights = ", ".join(
            f"{name} × {value:g}"
            for name, value in zip(self.names, self.get_buffer("weight").tolist(), strict=True)
        )
        return (
            f"{self.kernel} kernel of {len(centres):,} of {total:,} training tracks: {weights}; "
            f"λ = {best.penalty:g}; error when left out {best.error:.3f} of the variance"
        )

    def _standardise(self, tracks: _Tracks) -> None:
        """Set each modality's mean, and the scale that gives its vectors a mean length of 1."""
        for name, columns in zip(self.names, self._columns(), strict=True):
            values = tracks.values[tracks.present[name], columns].double()
            mean = values.mean(0) if len(values) else values.new_zeros(self.dims[name])
            spread = (values - mean).square().sum(1).mean().sqrt() if len(values) else values.sum()
            self.get_buffer("mean")[columns] = mean.to(self.get_buffer("mean"))
            self.get_buffer("scale")[columns] = 1 / float(spread) if spread > 0 else 0.0

    def _choose_weights(self, tracks: _Tracks, targets: Tensor) -> None:
        """The best modality alone, then each other one with the weight that helps most, if any."""
        if len(self.names) == 1:
            return
        part, part_targets = tracks.first(WEIGHT_TRACKS), targets[:WEIGHT_TRACKS]
        single = [
            _Candidate(weights, self._error(weights, part, part_targets))
            for weights in torch.eye(len(self.names))
        ]
        single.sort(key=lambda candidate: candidate.error)
        best = single[0]
        for other in single[1:]:
            candidates = [best]
            for factor in self.weights:
                weights = best.weights + factor * other.weights
                candidates.append(_Candidate(weights, self._error(weights, part, part_targets)))
            best = min(candidates, key=lambda candidate: candidate.error)
        self.get_buffer("weight").copy_(best.weights)

    def _error(self, weights: Tensor, tracks: _Tracks, targets: Tensor) -> float:
        """The error of left-out tracks with these weights of the modalities, which it sets."""
        self.get_buffer("weight").copy_(weights)
        features = self._scale(tracks.values, tracks.present)
        if not self._set_kernel_scale(features):  # these modalities are equal for all tracks
            return float("inf")
        return ridge(self._kernel_matrix(features), targets, self.penalties, tracks.group).error

    def _set_kernel_scale(self, features: Tensor) -> bool:
        """Set the kernel's scale from the distances between tracks; false if these are all 0."""
        distance = _typical_distance(features)
        typical = self.width * distance
        if self.kernel == "quadratic":
            typical = float(features.double().square().sum(1).mean())
        self._set("kernel_scale", 1 / typical if distance else 0.0)
        return bool(distance)

    def _nystrom_coefficients(
        self, rows: Iterable[Solvable], centres: Tensor, penalty: float
    ) -> Tensor:
        """The coefficients of a few centres that fit all tracks best; tracks come in batches."""
        own = self._kernel_matrix(centres)
        # The normal equations: matrix @ coefficients = right_side.
        matrix = penalty * own
        right_side = torch.zeros(len(centres), len(self.get_buffer("bias"))).to(own)
        for encoded, present, vectors, _ in rows:
            kernel = self._kernel(self._features(encoded, present), centres).double()
            matrix += kernel.T @ kernel
            right_side += kernel.T @ (vectors - self.get_buffer("bias")).double()
        # They square the kernel's condition number: damp what is below the precision of float64.
        matrix.diagonal().add_(1e-10 * float(matrix.diagonal().mean()))
        coefficients: Tensor = torch.linalg.solve(matrix, right_side)
        return coefficients

    def _sample_tracks(self, rows: Iterable[Solvable]) -> tuple[_Tracks, int]:
        """At most `landmarks` tracks, chosen uniformly at random; and the number of all tracks."""
        generator = torch.Generator().manual_seed(self.seed)
        nothing = torch.empty(0)
        tracks, keys, total = _Tracks(nothing, {}, nothing, nothing), nothing, 0
        for encoded, present, vectors, group in rows:
            values = torch.cat([encoded[name] for name in self.names], dim=1)
            masks = {name: present[name] for name in self.names}
            batch = _Tracks(values, masks, vectors, group)
            tracks = tracks.extended(batch) if total else batch
            keys = torch.cat([keys, torch.rand(len(vectors), generator=generator)])
            total += len(vectors)
            if len(keys) > self.landmarks:
                lowest = keys.argsort()[: self.landmarks]
                tracks, keys = tracks.at(lowest.to(vectors.device)), keys[lowest]
        return tracks.at(keys.argsort().to(tracks.vectors.device)), total

    def _features(self, encoded: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """[B, F], centred, scaled and weighted; 0 where a track lacks a modality."""
        values = torch.cat([encoded[name] for name in self.names], dim=1)
        return self._scale(values, present)

    def _scale(self, values: Tensor, present: Mapping[str, Tensor]) -> Tensor:
        """`_features` of values that are concatenated already."""
        factor = self.get_buffer("scale") * self._per_column(self.get_buffer("weight"))
        mask = torch.cat(
            [present[name][:, None].expand(-1, self.dims[name]) for name in self.names], dim=1
        )
        return torch.where(mask, (values - self.get_buffer("mean")) * factor, 0.0)

    def _per_column(self, values: Tensor) -> Tensor:
        widths = torch.tensor([self.dims[name] for name in self.names], device=values.device)
        return values.repeat_interleave(widths)

    def _columns(self) -> list[slice]:
        """The columns of each modality."""
        ends = torch.tensor([0, *(self.dims[name] for name in self.names)]).cumsum(0).tolist()
        return [slice(start, end) for start, end in pairwise(ends)]

    def _kernel_matrix(self, features: Tensor) -> Tensor:
        """[N, N], in float64, which an eigendecomposition needs."""
        return self._kernel(features.double(), features.double())

    def _kernel(self, features: Tensor, centres: Tensor) -> Tensor:
        """[B, N]."""
        return KERNELS[self.kernel](features, centres, self.get_buffer("kernel_scale"))

    def _set(self, name: str, value: Tensor | float) -> None:
        """Set a buffer to a value, which may have another shape."""
        buffer = self.get_buffer(name)
        self.register_buffer(name, torch.as_tensor(value).to(buffer))

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Make as many centres as the checkpoint has."""
        for name in ("centres", "coefficients"):
            value = state_dict.get(prefix + name)
            if value is not None:
                buffer = self.get_buffer(name)
                self.register_buffer(name, buffer.new_zeros(len(value), *buffer.shape[1:]))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class _Candidate(NamedTuple):
    """Weights of the modalities [M], and the error of left-out tracks with them."""

    weights: Tensor
    error: float


class _Tracks(NamedTuple):
    """Tracks: values [N, F], modality → [N] bool, vectors [N, K], group [N]."""

    values: Tensor
    present: dict[str, Tensor]
    vectors: Tensor
    group: Tensor

    def at(self, rows: Tensor) -> _Tracks:
        """The tracks of these rows, in this order."""
        present = {name: mask[rows] for name, mask in self.present.items()}
        return _Tracks(self.values[rows], present, self.vectors[rows], self.group[rows])

    def extended(self, more: _Tracks) -> _Tracks:
        """These tracks, then others."""
        return _Tracks(
            values=torch.cat([self.values, more.values]),
            present={n: torch.cat([mask, more.present[n]]) for n, mask in self.present.items()},
            vectors=torch.cat([self.vectors, more.vectors]),
            group=torch.cat([self.group, more.group]),
        )

    def first(self, count: int) -> _Tracks:
        """The first tracks, at most `count`."""
        return self.at(torch.arange(min(count, len(self.vectors)), device=self.vectors.device))


def _typical_distance(features: Tensor) -> float:
    """The median distance; the mean if the median is 0 because most tracks are equal."""
    distances = torch.pdist(features[:WEIGHT_TRACKS].double())
    return float(distances.median()) or float(distances.mean())
