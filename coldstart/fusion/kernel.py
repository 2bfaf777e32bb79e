"""Kernel ridge regression on the content of all modalities: solved, not trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from coldstart.errors import InputError, one_of
from coldstart.fusion.base import FusionHead, Solvable

WEIGHTS = (0.25, 0.5, 1.0, 2.0)
"""What a modality may weigh beside the best one, if it isn't left out."""

PENALTIES = tuple(round(10.0 ** (power / 2), 3) for power in range(-4, 3))

SEARCHED = 1500
"""Tracks by which weights are chosen: each choice costs an eigendecomposition of this size."""
LEFT_OUT = 4096
"""Tracks by which the penalty is chosen: one eigendecomposition of this size."""


def laplace(features: Tensor, centres: Tensor, scale: Tensor) -> Tensor:
    """exp(−distance · scale): bends as the data asks. [B, F], [N, F] → [B, N], 1 for the same."""
    return torch.exp(-torch.cdist(features, centres) * scale)


def quadratic(features: Tensor, centres: Tensor, scale: Tensor) -> Tensor:
    """(1 + product · scale)² / 4: straight lines, and products of two features. → [B, N]."""
    return (1 + features @ centres.T * scale).square() / 4


KERNELS = {"laplace": laplace, "quadratic": quadratic}


class Fit(NamedTuple):
    """A ridge regression on a kernel, and how well it predicts tracks that are left out.

    Attributes:
        penalty: λ.
        error: mean squared error of rows that were left out, as a share of the vectors' variance.
        coefficients: [N, K].
    """

    penalty: float
    error: float
    coefficients: Tensor


class Kernel(FusionHead):
    """Kernel ridge regression from content to vectors, with a Laplace or a quadratic kernel.

    Each modality's vectors are centred and scaled to one mean length, then weighted; a track that
    lacks one is at its mean. Weights and penalty are those with which training tracks are best
    predicted when they are left out, each with its group (in closed form, among the first few
    thousand in a random order); no validation track is asked.
    It is exact for up to `landmarks` training tracks; of more, that many are drawn as the kernel's
    centres, and all are used to solve for its coefficients (Nyström; Williams & Seeger, NIPS 2000).

    It wants the content itself: encoders without layers to train (`hidden: []`), and a target in
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
            landmarks: at most so many centres; time grows with their cube, memory with their
                square (8,192: half a minute on one core, 1.8 GB), and each 6,000 tracks beyond
                them cost as much again, in time alone.
            width: of the Laplace kernel, in median distances between training tracks.
            penalties: λ to choose from, above 0.
            weights: of each modality beside the best one, to choose from; it may be left out too.
            kernel: `laplace` bends as the data asks; `quadratic` knows straight lines and products
                of two features, for tastes that are nearly linear in the content.
            seed: of the drawn landmarks.
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
        """Make room; what it holds comes with `solve`, or from a checkpoint."""
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
        near = self._near(self._features(encoded, present), get("centres"))
        return near @ get("coefficients") + get("bias")

    def solve(self, rows: Callable[[], Iterable[Solvable]]) -> str:
        """Choose weights and penalty, and solve for the coefficients.

        Args:
            rows: begins a pass over the training tracks.

        Returns:
            What was chosen, in a line.

        Raises:
            InputError: fewer than three training tracks have a vector, or all have one content.
        """
        drawn, seen = self._draw(rows())
        if len(drawn.vectors) < 3:
            raise InputError(f"Kernel: {len(drawn.vectors)} training tracks are too few to fit on")
        self._set("bias", drawn.vectors.mean(0))
        aim = (drawn.vectors - drawn.vectors.mean(0)).double()
        for name, part in zip(self.names, self._columns(), strict=True):
            there = drawn.values[drawn.present[name], part].double()
            mean = there.mean(0) if len(there) else there.new_zeros(self.dims[name])
            spread = (there - mean).square().sum(1).mean().sqrt() if len(there) else there.sum()
            self.get_buffer("mean")[part] = mean.to(self.get_buffer("mean"))
            self.get_buffer("scale")[part] = 1 / float(spread) if spread > 0 else 0.0
        self._choose(drawn, aim)
        centres = self._scaled(drawn.values, drawn.present)
        if not self._set_scale(centres):
            raise InputError(
                f"Kernel: {', '.join(self.names)} say the same of all training tracks, so there is "
                "nothing to learn from"
            )
        self._set("centres", centres)
        some = slice(LEFT_OUT)
        best = ridge(self._kernel(centres[some]), aim[some], self.penalties, drawn.group[some])
        self._set("penalty", best.penalty)
        coefficients = best.coefficients
        if seen > len(centres):
            coefficients = self._of_all(rows(), centres, best.penalty)
        elif len(centres) > len(coefficients):
            inside = self._kernel(centres)
            inside.diagonal().add_(best.penalty)
            coefficients = torch.cholesky_solve(aim, torch.linalg.cholesky(inside))
        self._set("coefficients", coefficients)
        weights = ", ".join(
            f"{name} × {value:g}"
            for name, value in zip(self.names, self.get_buffer("weight").tolist(), strict=True)
        )
        return (
            f"{self.kernel} kernel of {len(centres):,} of {seen:,} training tracks: {weights}; "
            f"λ = {best.penalty:g}; error when left out {best.error:.3f} of the variance"
        )

    def _choose(self, drawn: _Drawn, aim: Tensor) -> None:
        """The best modality alone, then each other one with the weight that helps most, if any."""
        weight, few = self.get_buffer("weight"), drawn.first(SEARCHED)
        if len(weight) == 1:
            return

        def error(values: Tensor) -> float:
            weight.copy_(values)
            features = self._scaled(few.values, few.present)
            if not self._set_scale(features):  # these modalities tell no track from another
                return float("inf")
            kernel, some = self._kernel(features), aim[: len(features)]
            return ridge(kernel, some, self.penalties, few.group).error

        alone = list(torch.eye(len(self.names)))
        errors = [error(one) for one in alone]
        best, *others = sorted(range(len(errors)), key=errors.__getitem__)
        chosen, least = alone[best], errors[best]
        for other in others:
            tried = {
                error(both): both for w in self.weights for both in [chosen + w * alone[other]]
            }
            if min(tried) < least:
                least = min(tried)
                chosen = tried[least]
        weight.copy_(chosen)

    def _set_scale(self, features: Tensor) -> bool:
        """Fit the kernel to how far apart these training tracks are; false if nothing is apart."""
        distance = _typical_distance(features)
        typical = self.width * distance
        if self.kernel == "quadratic":
            typical = float(features.double().square().sum(1).mean())
        self._set("kernel_scale", 1 / typical if distance else 0.0)
        return bool(distance)

    def _of_all(self, rows: Iterable[Solvable], centres: Tensor, penalty: float) -> Tensor:
        """The coefficients of a few centres that fit all tracks best, tracks coming in batches."""
        own = self._kernel(centres)
        left, right = penalty * own, torch.zeros(len(centres), len(self.get_buffer("bias")))
        right = right.to(own)
        for encoded, present, vectors, _ in rows:
            near = self._near(self._features(encoded, present), centres).double()
            left += near.T @ near
            right += near.T @ (vectors - self.get_buffer("bias")).double()
        # The normal equations square the kernel's condition: what float64 can't hold is let go.
        left.diagonal().add_(1e-10 * float(left.diagonal().mean()))
        coefficients: Tensor = torch.linalg.solve(left, right)
        return coefficients

    def _draw(self, rows: Iterable[Solvable]) -> tuple[_Drawn, int]:
        """At most `landmarks` tracks, each set of them as likely, and how many there were."""
        generator = torch.Generator().manual_seed(self.seed)
        nothing = torch.empty(0)
        kept, keys, seen = _Drawn(nothing, {}, nothing, nothing), nothing, 0
        for encoded, present, vectors, group in rows:
            values = torch.cat([encoded[name] for name in self.names], dim=1)
            there = {name: present[name] for name in self.names}
            batch = _Drawn(values, there, vectors, group)
            kept = kept.joined(batch) if seen else batch
            keys = torch.cat([keys, torch.rand(len(vectors), generator=generator)])
            seen += len(vectors)
            if len(keys) > self.landmarks:
                lowest = keys.argsort()[: self.landmarks]
                kept, keys = kept.at(lowest.to(vectors.device)), keys[lowest]
        return kept.at(keys.argsort().to(kept.vectors.device)), seen

    def _features(self, encoded: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """[B, F], centred, scaled and weighted; 0 where a track lacks a modality."""
        values = torch.cat([encoded[name] for name in self.names], dim=1)
        return self._scaled(values, {name: present[name] for name in self.names})

    def _scaled(self, values: Tensor, present: Mapping[str, Tensor]) -> Tensor:
        factor = self.get_buffer("scale") * self._per_column(self.get_buffer("weight"))
        there = torch.cat(
            [present[name][:, None].expand(-1, self.dims[name]) for name in self.names], dim=1
        )
        return torch.where(there, (values - self.get_buffer("mean")) * factor, 0.0)

    def _per_column(self, values: Tensor) -> Tensor:
        widths = torch.tensor([self.dims[name] for name in self.names], device=values.device)
        return values.repeat_interleave(widths)

    def _columns(self) -> list[slice]:
        """Where each modality's columns are."""
        ends = torch.tensor([0, *(self.dims[name] for name in self.names)]).cumsum(0).tolist()
        return [slice(a, b) for a, b in pairwise(ends)]

    def _kernel(self, features: Tensor) -> Tensor:
        """[N, N] in float64, for an eigendecomposition needs it."""
        return self._near(features.double(), features.double())

    def _near(self, features: Tensor, centres: Tensor) -> Tensor:
        """[B, N]."""
        return KERNELS[self.kernel](features, centres, self.get_buffer("kernel_scale"))

    def _set(self, name: str, value: Tensor | float) -> None:
        """A buffer gets a value, which may be of another shape."""
        now = self.get_buffer(name)
        self.register_buffer(name, torch.as_tensor(value).to(now))

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """There is room for as many centres as a checkpoint has."""
        for name in ("centres", "coefficients"):
            if (stored := state_dict.get(prefix + name)) is not None:
                now = self.get_buffer(name)
                self.register_buffer(name, now.new_zeros(len(stored), *now.shape[1:]))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class _Drawn(NamedTuple):
    """Tracks: values [N, F], modality → [N] bool, vectors [N, K], group [N]."""

    values: Tensor
    present: dict[str, Tensor]
    vectors: Tensor
    group: Tensor

    def at(self, rows: Tensor) -> _Drawn:
        there = {name: mask[rows] for name, mask in self.present.items()}
        return _Drawn(self.values[rows], there, self.vectors[rows], self.group[rows])

    def joined(self, more: _Drawn) -> _Drawn:
        there = {name: torch.cat([mask, more.present[name]]) for name, mask in self.present.items()}
        return _Drawn(
            values=torch.cat([self.values, more.values]),
            present=there,
            vectors=torch.cat([self.vectors, more.vectors]),
            group=torch.cat([self.group, more.group]),
        )

    def first(self, count: int) -> _Drawn:
        return self.at(torch.arange(min(count, len(self.vectors)), device=self.vectors.device))


def ridge(kernel: Tensor, aim: Tensor, penalties: Sequence[float], group: Tensor) -> Fit:
    """Kernel ridge regression, with the penalty of the least leave-one-group-out error.

    With M = (K + λI)⁻¹ and coefficients C = M Y, the residual of rows B that were left out together
    is M_BB⁻¹ C_B.

    Args:
        kernel: [N, N], symmetric, no eigenvalue below 0.
        aim: [N, K], centred.
        penalties: λ, each above 0.
        group: [N] int64: rows of one number are left out together.

    Examples:
        >>> kernel = torch.eye(2).double() + 1
        >>> aim = torch.tensor([[1.0], [-1.0]]).double()
        >>> fit = ridge(kernel, aim, [1.0], torch.tensor([0, 1]))
        >>> fit.coefficients.ravel().round(decimals=6).tolist()
        [0.5, -0.5]
    """
    values, axes = torch.linalg.eigh(kernel)
    turned, variance = axes.T @ aim, float(aim.square().sum())
    blocks, fits = [(rows, axes[rows]) for rows in _together(group)], []
    for penalty in penalties:
        inverse = 1 / (values.clamp_min(0) + penalty)
        coefficients, error = axes @ (inverse[:, None] * turned), 0.0
        for rows, part in blocks:
            left_out = torch.linalg.solve((part * inverse) @ part.mT, coefficients[rows])
            error += float(left_out.square().sum())
        fits.append(Fit(penalty, error / variance if variance else 0.0, coefficients))
    return min(fits, key=lambda fit: fit.error)


def _together(group: Tensor) -> list[Tensor]:
    """The rows of each group; groups of one size together: [groups, size]."""
    counts = group.unique(return_counts=True)[1].tolist()
    by_size: dict[int, list[Tensor]] = {}
    for rows in group.argsort(stable=True).split(counts):
        by_size.setdefault(len(rows), []).append(rows)
    return [torch.stack(alike) for alike in by_size.values()]


def _typical_distance(features: Tensor) -> float:
    """The median distance; the mean one where most tracks are alike, as with few genres."""
    apart = torch.pdist(features[:SEARCHED].double())
    return float(apart.median()) or float(apart.mean())
