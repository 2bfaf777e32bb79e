"""Users whom a test leaves out, since there is nothing to know them by."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Fitted, World
from scipy.sparse import csr_matrix

from coldstart.cli import main
from coldstart.commands.factorize import factorize
from coldstart.evaluation.results import FEW_USERS, read_results
from coldstart.evaluation.strangers import strangers
from coldstart.evaluation.tables import caption
from coldstart.factors.factors import Factors


@pytest.fixture(scope="module")
def factors(tiny_world: World) -> Factors:
    return Factors.load(tiny_world.factors)


def test_their_figures_are_those_of_one_list(factors: Factors) -> None:
    """Two strangers: one has played the first candidate of three, one the last."""
    ids = [t for t, f in zip(factors.track_ids, factors.folded, strict=True) if f][:3]
    users = len(factors.user_ids)
    plays = factors.listens.tolil()
    plays[:2] = 0
    plays[0, factors.row[ids[0]]] = plays[1, factors.row[ids[2]]] = 1
    plays[2:, [factors.row[track] for track in ids]] = 0
    listens = csr_matrix(plays)
    listens.eliminate_zeros()
    mean = factors.users[2:].mean(0)
    changed = replace(factors, listens=listens)
    vectors = torch.from_numpy(np.outer([3.0, 2.0, 1.0], mean).astype(np.float32))
    found = strangers(changed, ids, vectors, torch.tensor([0.0, 0.0, 5.0]))
    assert found is not None
    assert found.users == 2 < users
    first, second, third = 1 / np.log2([2, 3, 4])
    assert found.ndcg_model == pytest.approx((first + third) / 2, abs=1e-5)
    equals = (second + third) / 2
    assert found.ndcg_popularity == pytest.approx((equals + first) / 2, abs=1e-5)
    assert found.ndcg_random == pytest.approx((first + second + third) / 3, abs=1e-5)


def test_where_all_are_known_there_are_none(factors: Factors) -> None:
    ids = [t for t, f in zip(factors.track_ids, factors.folded, strict=True) if f]
    known = np.diff(factors.listens[:, ~factors.folded].tocsr().indptr) > 0
    vectors, popularity = torch.zeros(len(ids), factors.dim), torch.zeros(len(ids))
    listens = csr_matrix(factors.listens.multiply(known[:, None]))
    listens.eliminate_zeros()
    assert strangers(replace(factors, listens=listens), ids, vectors, popularity) is None


def test_a_test_says_what_they_would_get(
    mgp_genres: Fitted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until a day on which some had not listened to any training track yet."""
    world = mgp_genres.world
    out = tmp_path / "factors"
    few = world.catalogue / "listens.parquet"
    made = factorize(few, out=out, splits=world.splits, factors=8)
    plays = made.listens.tolil()
    user = int(made.listens[:, made.split == "test"].getnnz(axis=1).argmax())
    plays[user, np.flatnonzero(~made.folded)] = 0
    listens = csr_matrix(plays)
    listens.eliminate_zeros()
    replace(made, listens=listens).save(out)
    run = tmp_path / "run"
    flags = [f"--data.shards={world.shards}", f"--data.factors={out}", f"--run={run}"]
    quick = ["--trainer.max_epochs=1", "--data.workers=0"]
    assert main(["fit", "--config=mgp.yaml", *flags, *quick]) == 0
    capsys.readouterr()
    assert main(["test", f"--run={run}", "--no-rivals"]) == 0
    assert "one list for" not in capsys.readouterr().out  # one of them says nothing
    about = read_results(run / "results.json").about
    assert about["strangers"]["users"] == about["users_without_training_listens"] == 1
    about["strangers"]["users"] = FEW_USERS
    said = " ".join(caption(about).split())
    assert f"for {FEW_USERS} users without training listens, one list for all" in said
