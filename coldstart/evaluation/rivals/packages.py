"""Rivals from other packages, with the same signature as our own.

Each gets the training listens, the content and a seed, and returns vectors of listeners and
tracks; the validation tracks choose among the few settings that are listed here. The packages are
the extra `benchmark`; nothing else needs them.
"""

from __future__ import annotations

import importlib.util
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix, hstack, identity
from torch import Tensor
from torch.nn import functional as F

from coldstart.errors import InputError
from coldstart.evaluation.rivals.by_content import ListenerSpace, Problem, Rival
from coldstart.evaluation.rivals.features import features
from coldstart.processes import one_thread


class Other(NamedTuple):
    """A rival that needs a package: its name in a table, the module to import, the function."""

    method: str
    module: str
    rival: Rival


def lightfm(problem: Problem, seed: int = 0) -> ListenerSpace:
    """LightFM: a track is the sum of its features' embeddings, learnt by WARP.

    M. Kula, *Metadata Embeddings for User and Item Cold-start Recommendations*, 2015. 64
    components, the package's learning rate (0.05, Adagrad), one thread, so that the seed decides
    everything. Features are non-negative, of unit length; with features that sum to 1, as the
    package's own helper scales them, it ranked Last.fm's cold artists half as well. Validation
    chooses among 5, 15 and 30 epochs, and whether training tracks also have an embedding of their
    own, which a cold track can't have.
    """
    from lightfm import LightFM

    listens = _liked(problem.listens).tocoo()
    parts = features(problem.train, problem.val, problem.test)["from its least"]
    content = [csr_matrix(F.normalize(part, dim=1).numpy()) for part in parts]
    best, best_quality = None, -np.inf
    for own in (False, True):
        train, val, test = content
        if own:
            tracks = len(problem.train)
            train, val, test = (_beside_own(part, tracks, part is train) for part in content)
        model, epoch = LightFM(no_components=64, loss="warp", random_state=seed), 0
        for epochs in (5, 15, 30):
            model.fit_partial(listens, item_features=train, epochs=epochs - epoch, num_threads=1)
            epoch = epochs
            bias, vectors = model.get_user_representations()
            users = _tensor(vectors, np.ones_like(bias))
            quality = problem.quality(users, _lightfm_items(model, val))
            if best is None or quality > best_quality:
                warm = _lightfm_items(model, train) if problem.mixed else None
                setting = f"{epochs} epochs, {'with' if own else 'without'} tracks' own embeddings"
                best = ListenerSpace(users, _lightfm_items(model, test), warm, setting)
                best_quality = quality
    assert best is not None
    return best


def vbpr(problem: Problem, seed: int = 0) -> ListenerSpace:
    """VBPR as implemented in cornac: BPR with content beside each track's own factors.

    R. He and J. McAuley, *VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback*, AAAI
    2016. The package's defaults but for 32 + 32 factors and batches of 1,000. A cold track has the
    content's part alone, as in the paper; cornac itself would give it untrained factors, so its
    parameters are read and multiplied here. Features are non-negative, of unit length.
    Validation chooses among 10, 20 and 40 epochs.
    """
    from cornac.data import Dataset, ImageModality
    from cornac.models import VBPR

    listens = _liked(problem.listens).tocoo()
    parts = features(problem.train, problem.val, problem.test)["from its least"]
    train, val, test = (F.normalize(part, dim=1).numpy() for part in parts)
    triples = list(
        zip(listens.row.tolist(), listens.col.tolist(), [1.0] * listens.nnz, strict=True)
    )
    maps = {
        f"global_{kind}_map": OrderedDict((i, i) for i in range(count))
        for kind, count in zip(("uid", "iid"), listens.shape, strict=True)
    }
    data = Dataset.build(triples, seed=seed, **maps)
    ids = list(range(len(train)))
    image = ImageModality(features=train, ids=ids).build(id_map=maps["global_iid_map"])
    data.add_modalities(item_image=image)
    best, best_quality, epoch = None, -np.inf, 0
    parameters: dict[str, Any] = {}
    for epochs in (10, 20, 40):
        options = {"n_epochs": epochs - epoch, "init_params": parameters, "seed": seed}
        with one_thread():  # steps this small take longer with several
            model = VBPR(k=32, k2=32, batch_size=1000, verbose=False, **options).fit(data)
        epoch = epochs
        parameters = {
            "Bi": model.beta_item,
            "Gu": model.gamma_user,
            "Gi": model.gamma_item,
            "Tu": model.theta_user,
            "E": model.emb_matrix,
            "Bp": model.beta_prime,
        }
        users = _tensor(parameters["Tu"], parameters["Gu"], np.ones(len(parameters["Tu"])))
        quality = problem.quality(users, _vbpr_items(parameters, val))
        if best is None or quality > best_quality:
            warm = _vbpr_items(parameters, train, own=True) if problem.mixed else None
            best = ListenerSpace(users, _vbpr_items(parameters, test), warm, f"{epochs} epochs")
            best_quality = quality
    assert best is not None
    return best


OTHERS: dict[str, Other] = {
    "lightfm": Other("LightFM", "lightfm", lightfm),
    "vbpr": Other("VBPR", "cornac", vbpr),
}
"""Name in a plan → a rival from another package."""


def need(name: str) -> None:
    """Raise InputError unless the package of one of `OTHERS` is installed."""
    module = OTHERS[name].module
    if importlib.util.find_spec(module) is None:
        raise InputError(
            f"rivals: {name} needs the package {module}: pip install 'coldstart[benchmark]', or "
            "leave it out"
        )


def _liked(listens: csr_matrix) -> csr_matrix:
    """1 for each listen (or rating above 0)."""
    liked = listens.astype(np.float32)
    liked.data = (liked.data > 0).astype(np.float32)
    liked.eliminate_zeros()
    return liked


def _beside_own(content: csr_matrix, tracks: int, training: bool) -> csr_matrix:
    """A column for each training track before those of the content; 0 for a cold track."""
    own = identity(tracks) if training else csr_matrix((content.shape[0], tracks))
    return csr_matrix(hstack([own, content], "csr"), dtype=np.float32)


def _lightfm_items(model: Any, content: csr_matrix) -> Tensor:
    bias, vectors = model.get_item_representations(content)
    return _tensor(vectors, bias)


def _vbpr_items(parameters: dict[str, Any], content: Any, own: bool = False) -> Tensor:
    """Embedded content, own factors (0 for a cold track), and bias."""
    bias = (content @ parameters["Bp"]).ravel()
    factors = np.zeros((len(content), parameters["Gi"].shape[1]))
    if own:
        factors, bias = parameters["Gi"], bias + parameters["Bi"]
    return _tensor(content @ parameters["E"], factors, bias)


def _tensor(*columns: Any) -> Tensor:
    """Side by side: [rows, …] or [rows] each."""
    return torch.from_numpy(np.column_stack(columns).astype(np.float32))
