"""Kernel ridge regression on the content of all modalities: solved, not trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from coldstart.encoders.sparse_rows import AnyRows, SparseRows
from coldstart.errors import InputError, one_of
from coldstart.factors.listening import Listening
from coldstart.fusion.base import FusionHead, InnerFold, InnerFolds, Solvable
from coldstart.fusion.choice import Among, Fitness, by_error, by_ranking, shares_by_ranking
from coldstart.fusion.conjugate import Block, conjugate_ridge
from coldstart.fusion.features import KernelFeatures, Products, kernel_between, products_of
from coldstart.fusion.fit_tracks import FitTracks, sample_tracks
from coldstart.fusion.heard import Heard
from coldstart.fusion.kernels import KERNELS, scale_of
from coldstart.fusion.modality_weights import WeightsTrial
from coldstart.fusion.ridge import residuals
from coldstart.fusion.scaling import Scaling, columns_of, standard_of
from coldstart.fusion.sparse_centres import SparseCentres

WEIGHTS = (0.25, 0.5, 1.0, 2.0)
"""Weights of a modality to choose from, relative to the best one; it may also be left out."""

PENALTIES = tuple(round(10.0 ** (power / 2), 3) for power in range(-4, 5))

SHARES = (0.1, 0.2, 0.3, 0.5, 0.8)
"""Shares of the score to choose from for listeners' own plays; they may also get none."""

CONTENT_SHARES = (0.2, 0.3, 0.4, 0.5)
"""Shares of listeners' vectors to choose from for what content says of them; or none."""

CHOICE_TRACKS = 2000
"""Tracks on which weights, kernel and penalty are chosen: each candidate costs eigendecompositions
of about this size."""

EXACT = 8192
"""Tracks up to which one matrix is solved: half a minute on one core, 1.8 GB."""

KernelName = Literal["auto", "laplace", "quadratic", "linear"]


class Kernel(FusionHead):
    """Kernel ridge regression from content to vectors, with the kernel that suits the data.

    Each modality's vectors are centred and scaled to the same mean length, then weighted; a track
    that lacks a modality is placed at its mean. Weights, kernel and penalty are those with which
    training tracks are ranked best by their content alone, when these are hidden from a
    factorisation of their own (of a random sample of tracks); without plays, those that predict
    left-out vectors best. No validation track is used.
    Where listeners' own plays (`factors.listener_axes`) rank these hidden tracks better, they get
    a share of the score, which is chosen in the same way; and so does what content says of the
    listeners (`factors.content_listeners`), as a share of their vectors.
    All training tracks are centres of the Laplace kernel, up to `landmarks` of them: of up to 8,192
    the solution is exact, of more, conjugate gradients come as near as makes no difference. Beyond
    `landmarks`, and beyond 8,192 with the smooth kernels, a random sample of that size gives the
    centres; up to 8,192 of them, all tracks are used to solve for their coefficients (Nyström;
    Williams & Seeger, NIPS 2000).

    It needs the content itself: encoders without layers to train (`hidden: []`), and a target in
    which lengths count (`TrackFactors` with `length: true`).
    """

    interface = 1
    closed_form: ClassVar[bool] = True
    chooses: ClassVar[bool] = True

    def __init__(
        self,
        landmarks: int = 131_072,
        width: float = 4.0,
        penalties: Sequence[float] = PENALTIES,
        weights: Sequence[float] = WEIGHTS,
        kernel: KernelName = "auto",
        axes: int = 512,
        shares: Sequence[float] = SHARES,
        content_shares: Sequence[float] = CONTENT_SHARES,
        seed: int = 0,
    ) -> None:
        """Settings of the solution.

        Args:
            landmarks: maximum number of centres. Beyond 8,192, time grows with their square;
                memory, and the size of a checkpoint, with their number times the width of the
                content; of wide content that is nearly all zeros, with the numbers that aren't.
            width: of the Laplace kernel, in median distances between training tracks.
            penalties: λ to choose from, above 0.
            weights: to choose from for each modality, relative to the best one; it may also be
                left out.
            kernel: `laplace` for nonlinear relations; `quadratic` for linear ones and products of
                two features; `linear`; `auto`: the one of these that ranks best.
            axes: maximum number of axes for what listeners' own plays say; 0: none. They are found
                where the solution is exact.
            shares: of the score to choose from for these axes, between 0 and 1; they may also get
                none.
            content_shares: of a listener's vector to choose from for what content says of them,
                above 0, at most 1; they may also get none. They are found where the solution is
                exact.
            seed: of the random choice of landmarks.
        """
        super().__init__()
        if landmarks < 2 or width <= 0 or not penalties or min(penalties) <= 0:
            raise InputError("Kernel: landmarks is at least 2, width and penalties are above 0")
        if min(weights, default=1.0) <= 0:
            raise InputError("Kernel: weights are above 0")
        if axes < 0 or not all(0 < share < 1 for share in shares):
            raise InputError("Kernel: axes is at least 0, shares are between 0 and 1")
        one_of("Kernel: kernel", kernel, get_args(KernelName))
        if not all(0 < share <= 1 for share in content_shares):
            raise InputError("Kernel: content_shares are above 0, at most 1")
        self.content_shares, self.content_share = tuple(content_shares), 0.0
        self.axes, self.shares, self.share = axes, tuple(shares), 0.0
        self.centre_ids: list[str] = []
        self.landmarks, self.width, self.seed = landmarks, width, seed
        self.penalties, self.weights = tuple(penalties), tuple(weights)
        self.kernels = tuple(KERNELS) if kernel == "auto" else (kernel,)

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
        self.register_buffer("number", torch.tensor(tuple(KERNELS).index(self.kernels[0])))
        self.sparse = nn.ModuleDict()  # of modalities whose content is sparse
        self.dims = {name: dims[name] for name in self.names}
        self.heard = Heard()

    def forward(self, encoded: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """{modality: [B, dim]} → [B, out]."""
        kernel = self._kernel(self._features(encoded, present), self._centres())
        return kernel @ self.get_buffer("coefficients") + self.get_buffer("bias")

    @property
    def listening(self) -> Listening:
        """What it knows of listeners beside the factors."""
        return self.heard.listening

    @property
    def kernel(self) -> str:
        """The name of the kernel that was chosen."""
        return tuple(KERNELS)[int(self.get_buffer("number"))]

    def solve(
        self, rows: Callable[[], Iterable[Solvable]], inner_folds: InnerFolds | None = None
    ) -> str:
        """Choose weights, kernel and penalty, and solve for the coefficients.

        Args:
            rows: each call begins a pass over the training tracks.
            inner_folds: to choose by ranking; None: by squared error.

        Returns:
            The choice, in a line.

        Raises:
            InputError: fewer than three training tracks have a vector, or all have one content.
        """
        tracks, total = sample_tracks(rows(), self.names, self.landmarks, self.seed)
        if len(tracks.vectors) < 3:
            raise InputError(f"Kernel: {len(tracks.vectors)} training tracks are too few to fit on")
        targets = (tracks.vectors - tracks.vectors.mean(0)).double()
        self._standardise(tracks)
        some = tracks.first(CHOICE_TRACKS)
        folds = inner_folds(some.track_ids, some.group) if inner_folds else ()
        judge = by_error(targets[:CHOICE_TRACKS], some.group, self.penalties)
        if folds:
            judge = by_ranking(folds, self.penalties)
        best = self._choose(some, WeightsTrial(self._modalities(some), judge, self.width))
        self.share = self.content_share = 0.0
        if folds and total <= min(EXACT, self.landmarks):
            best = self._choose_shares(some, folds, best)
        how = self._fit(tracks, total, rows)
        if self.content_share:
            self.unseen = self._unseen(tracks)
        weighted = zip(self.names, self.get_buffer("weight").tolist(), strict=True)
        weights = ", ".join(f"{name} × {value:g}" for name, value in weighted)
        what = "NDCG of hidden tracks" if folds else "explained of left-out tracks"
        penalty = f"λ = {best.penalty:g}{self._at_the_end(best.penalty)}"
        own = f"; listeners by content × {self.content_share:g}" if self.content_share else ""
        own += f"; listeners' own plays × {self.share:g}" if self.share else ""
        centres = len(self.get_buffer("centres"))
        return (
            f"{self.kernel} kernel of {centres:,} of {total:,} training tracks: {weights}; "
            f"{penalty}{own}; {what} {best.quality:.3f} (of a sample, to choose by){how}"
        )

    def solve_again(self, rows: Callable[[], Iterable[Solvable]]) -> None:
        """Solve for other vectors of the same tracks, with what was chosen."""
        self._fit(*sample_tracks(rows(), self.names, self.landmarks, self.seed), rows)

    def smoother(self) -> Tensor:
        """[N, N] float64: from values of the centres to what their content predicts of them."""
        matrix = self._kernel_matrix(self._centres())
        inner = matrix.clone()
        inner.diagonal().add_(float(self.get_buffer("penalty")))
        smoother: Tensor = torch.cholesky_solve(matrix, torch.linalg.cholesky(inner)).T
        return smoother

    def _choose_shares(
        self, tracks: FitTracks, folds: Sequence[InnerFold], best: Fitness
    ) -> Fitness:
        """Set how much is asked of listeners' plays beside their vectors; → with another λ."""
        features = self._features(tracks.content, tracks.present)
        self._set_kernel_scale(features)
        among = Among(self.penalties, self.shares if self.axes else (), self.content_shares)
        matrix = self._kernel_matrix(features)
        chosen = shares_by_ranking(folds, matrix, tracks.group, best, among)
        self.share, self.content_share = chosen.own, chosen.content
        self._set("penalty", chosen.fitness.penalty)
        return chosen.fitness

    def _unseen(self, tracks: FitTracks) -> Tensor:
        """[N, K] what content predicts of each centre where its group is left out of the fit."""
        matrix = self._kernel_matrix(self._centres())
        matrix.diagonal().add_(float(self.get_buffer("penalty")))
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
        coefficients = self.get_buffer("coefficients").double()
        missed = residuals(
            coefficients, tracks.group, lambda rows: inverse[rows[:, :, None], rows[:, None, :]]
        )
        return (tracks.vectors - missed).float()

    def _fit(self, tracks: FitTracks, total: int, rows: Callable[[], Iterable[Solvable]]) -> str:
        """Set centres and coefficients; → what is to be said of how."""
        self._set("bias", tracks.vectors.mean(0))
        targets = (tracks.vectors - tracks.vectors.mean(0)).double()
        penalty = float(self.get_buffer("penalty"))
        centres = self._features(tracks.content, tracks.present)
        self._set_kernel_scale(centres)
        how = ""
        if len(centres) > EXACT and self.kernel != "laplace":
            centres = centres.at(slice(EXACT))  # smooth kernels need no more
        self._take_centres(centres)
        self.centre_ids = tracks.track_ids[: len(centres)]
        if len(centres) > EXACT:
            solution = conjugate_ridge(self._block_of(centres.float()), targets, penalty)
            how = f"; {solution.iterations} iterations, residual {solution.residual:.3f}"
            coefficients = solution.coefficients
        elif total > len(centres):
            coefficients = self._nystrom_coefficients(rows(), centres, penalty)
        else:
            matrix = self._kernel_matrix(centres)
            matrix.diagonal().add_(penalty)
            coefficients = torch.cholesky_solve(targets, torch.linalg.cholesky(matrix))
        self._set("coefficients", coefficients)
        return how

    def _at_the_end(self, penalty: float) -> str:
        """What to know of a choice beyond which nothing was tried."""
        if len(self.penalties) > 1 and penalty in (min(self.penalties), max(self.penalties)):
            return ", at the end of those that were tried"
        return ""

    def _modalities(self, tracks: FitTracks) -> list[Products]:
        """Of each modality the tracks beside themselves, with the weight 1."""
        scaling = self._scaling()
        scaling = scaling._replace(weight=torch.ones_like(scaling.weight))
        features = [scaling.features(tracks.content, tracks.present, [name]) for name in self.names]
        return [products_of(part, part) for part in features]

    def _choose(self, tracks: FitTracks, trial: WeightsTrial) -> Fitness:
        """Set weights, kernel and penalty. → Their fitness."""
        best = trial.best(self.kernels, self.weights)
        if best.fitness.quality == float("-inf"):
            raise InputError(
                f"Kernel: {', '.join(self.names)} say the same of all training tracks, so there is "
                "nothing to learn from"
            )
        self.get_buffer("weight").copy_(torch.tensor(best.weights))
        self.get_buffer("number").fill_(tuple(KERNELS).index(best.kernel))
        self._set("penalty", best.fitness.penalty)
        return best.fitness

    def _set_kernel_scale(self, features: KernelFeatures) -> None:
        """Set the kernel's scale from the tracks' content."""
        distances, squares = features.distances(), features.squares()
        self._set("kernel_scale", scale_of(self.kernel, distances, squares, self.width))

    def _standardise(self, tracks: FitTracks) -> None:
        """Set each modality's mean and scale, and which are sparse."""
        mean, scale = self.get_buffer("mean"), self.get_buffer("scale")
        self.sparse = nn.ModuleDict()
        for name, place in columns_of(self.dims).items():
            rows = tracks.content[name]
            standard = standard_of(rows, tracks.present[name])
            mean[place], scale[place] = standard.mean.to(mean), standard.scale
            if isinstance(rows, SparseRows):
                self.sparse[name] = SparseCentres(self.dims[name]).to(mean.device)

    def _take_centres(self, centres: KernelFeatures) -> None:
        """Hold these tracks' content; not that of a sparse modality which has no weight."""
        self._set("centres", centres.plain)
        for held, part in zip(self.sparse.values(), centres.sparse, strict=True):
            assert isinstance(held, SparseCentres)
            assert isinstance(part.rows, SparseRows)
            held.take(part.rows if part.factor else part.rows.emptied(), part.present)

    def _centres(self) -> KernelFeatures:
        """The tracks that others are compared with."""
        content, present = {}, {}
        for name, held in self.sparse.items():
            assert isinstance(held, SparseCentres)
            content[name], present[name] = held.rows, held.present
        parts = self._scaling().sparse_parts(content, present)
        return KernelFeatures(self.get_buffer("centres"), parts)

    def _nystrom_coefficients(
        self, rows: Iterable[Solvable], centres: KernelFeatures, penalty: float
    ) -> Tensor:
        """The coefficients of a few centres that fit all tracks best; tracks come in batches."""
        own = self._kernel_matrix(centres)
        # The normal equations: matrix @ coefficients = right_side.
        matrix = penalty * own
        right_side = torch.zeros(len(centres), len(self.get_buffer("bias"))).to(own)
        for encoded, present, vectors, *_ in rows:
            kernel = self._kernel(self._features(encoded, present), centres).double()
            matrix += kernel.T @ kernel
            right_side += kernel.T @ (vectors - self.get_buffer("bias")).double()
        # They square the kernel's condition number: damp what is below the precision of float64.
        matrix.diagonal().add_(1e-10 * float(matrix.diagonal().mean()))
        coefficients: Tensor = torch.linalg.solve(matrix, right_side)
        return coefficients

    def _features(
        self, content: Mapping[str, AnyRows], present: Mapping[str, Tensor]
    ) -> KernelFeatures:
        """Tracks as the kernel sees them; 0 where a track lacks a modality."""
        return self._scaling().features(content, present)

    def _scaling(self) -> Scaling:
        mean, scale, weight = map(self.get_buffer, ("mean", "scale", "weight"))
        return Scaling(self.dims, mean, scale, weight, tuple(self.sparse))

    def _kernel_matrix(self, features: KernelFeatures) -> Tensor:
        """[N, N], in float64, which an eigendecomposition needs."""
        features = features.double()
        return self._kernel(features, features)

    def _kernel(self, features: KernelFeatures, centres: KernelFeatures) -> Tensor:
        """[B, N]."""
        return kernel_between(self.kernel, features, centres, self.get_buffer("kernel_scale"))

    def _block_of(self, features: KernelFeatures) -> Block:
        """The kernel between some of these tracks and others."""
        return lambda rows, columns: self._kernel(features.at(rows), features.at(columns))

    def _set(self, name: str, value: Tensor | float) -> None:
        """Set a buffer to a value, which may have another shape."""
        buffer = self.get_buffer(name)
        self.register_buffer(name, torch.as_tensor(value).to(buffer).contiguous())

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Make as many centres as the checkpoint has. One of before names no kernel: the first; and
        its axes of listeners' own plays lie beside the rest.
        """
        self.sparse = nn.ModuleDict()
        device = self.get_buffer("mean").device
        for name in self.names:
            if f"{prefix}sparse.{name}.starts" in state_dict:
                self.sparse[name] = SparseCentres(self.dims[name]).to(device)
        plain = sum(width for name, width in self.dims.items() if name not in self.sparse)
        for name, width in (("centres", plain), ("coefficients", len(self.get_buffer("bias")))):
            value = state_dict.get(prefix + name)
            if value is not None:
                buffer = self.get_buffer(name)
                self.register_buffer(name, buffer.new_zeros(len(value), width))
        for name in ("loadings", "places", "own_share"):
            if prefix + name in state_dict:
                state_dict[f"{prefix}heard.{name}"] = state_dict.pop(prefix + name)
        state_dict.setdefault(prefix + "number", self.get_buffer("number"))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        count = len(self.get_buffer("centres"))
        for name in self.sparse:
            if state_dict[f"{prefix}sparse.{name}.starts"].shape != (count + 1,):
                args[-1].append(f"{prefix}sparse.{name} isn't of {count} centres")
