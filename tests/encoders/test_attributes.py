"""Attributes: vectors that are read, scaled and checked."""

import contextlib
import io

import numpy as np
import pytest
import torch
from helpers import batch_of
from hypothesis import given
from hypothesis import strategies as st

from coldstart.encoders.attributes import MGP, MachineListened, VectorReader
from coldstart.encoders.base import Modality
from coldstart.errors import InputError
from coldstart.sample import Sample
from coldstart.shards.writing import npy_bytes

ATTRIBUTES = {"names": ["a", "b", "c"], "mean": [0.5, 0.5, 1.0], "std": [0.1, 0.3, 1.0]}
VECTORS = [npy_bytes(np.array(row)) for row in ([0.2, 0.4, 1.0], [0.9, 0.1, 0.0])]


def test_the_learnt_vector_learns_only_from_missing_tracks() -> None:
    encoder = MGP(hidden=(8,))
    encoder.start(ATTRIBUTES)
    encoder(batch_of(encoder, VECTORS[0], [True, True])).sum().backward()
    assert encoder.absent.grad is not None
    assert not encoder.absent.grad.any()
    encoder(batch_of(encoder, VECTORS[0], [False, True])).sum().backward()
    torch.testing.assert_close(encoder.absent.grad, torch.ones(encoder.dim))


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([1.0, 2.0], dtype=np.float32), r"shape \(2,\), expected \(3,\)"),
        (np.ones((1, 3), dtype=np.float32), r"shape \(1, 3\)"),
        (np.array([1.0, np.nan, 2.0], dtype=np.float32), "no finite numbers"),
        (np.array([1.0, 1e300, 2.0]), "no finite numbers"),
        (np.array([1j, 2, 3]), "no finite numbers"),
        (np.array(["a", "b", "c"]), "no finite numbers"),
        (np.array([{}, {}, {}], dtype=object), "not a readable .npy"),
    ],
)
def test_a_vector_that_does_not_fit_gets_a_reason(array: np.ndarray, reason: str) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    sample: Sample = {"track_id": "a", "shard": "val/000001", "mgp.npy": buffer.getvalue()}
    with pytest.raises(
        InputError, match=f"shard val/000001, track 'a', field 'mgp.npy': .*{reason}"
    ):
        VectorReader("mgp.npy", 3)([sample])


@given(st.binary(max_size=200), st.integers(0, 128))
def test_no_bytes_can_break_the_vector_reader(garbage: bytes, at: int) -> None:
    whole = npy_bytes(np.array([1.0, 2.0, 3.0]))
    damaged = whole[:at] + garbage + whole[at + len(garbage) :]
    sample: Sample = {"track_id": "a", "shard": "s", "mgp.npy": damaged}
    with contextlib.suppress(InputError):
        assert VectorReader("mgp.npy", 3)([sample]).values.isfinite().all()


def test_scaling_centres_and_divides_by_one_spread_or_by_each() -> None:
    values = torch.tensor([[0.6, 0.8, 3.0]])
    common, each = MGP(hidden=(4,)), MGP(hidden=(4,), scale="each")
    for encoder in (common, each):
        encoder.start(ATTRIBUTES)
    centred, std = torch.tensor([[0.1, 0.3, 2.0]]), torch.tensor([0.1, 0.3, 1.0])
    torch.testing.assert_close(each.describe(values), centred / std)
    torch.testing.assert_close(common.describe(values), centred / std.square().mean().sqrt())


def test_columns_in_other_units_are_scaled_by_themselves_and_the_rest_in_common() -> None:
    units = {
        "b": {"log": False, "mean": 300.0, "spread": 50.0},
        "c": {"log": True, "mean": 4.0, "spread": 2.0},
    }
    facts = {**ATTRIBUTES, "mean": [0.5, 300.0, 900.0], "std": [0.1, 50.0, 2000.0], "units": units}
    values = torch.tensor([[0.6, 350.0, 0.0], [0.5, 300.0, 1e6]])
    encoder, common, each = (MGP(hidden=(), scale=scale) for scale in ("units", "common", "each"))
    for part in (encoder, common, each):
        part.start(facts)
    counts = (values[:, 2].log1p() - 4) / 2
    expected = torch.stack([torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0]), counts], dim=1)
    torch.testing.assert_close(encoder.describe(values), expected)
    baseline = torch.tensor([0.5, 300.0, float(np.expm1(4.0))])
    torch.testing.assert_close(encoder.feature_baseline(), baseline)
    spread = torch.tensor(facts["std"]).square().mean().sqrt()
    centred = values - torch.tensor(facts["mean"])
    torch.testing.assert_close(common.describe(values), centred / spread)
    torch.testing.assert_close(each.describe(values), centred / torch.tensor(facts["std"]))
    assert set(encoder.state_dict()) == {"mean", "spread", "absent"}


def test_without_other_units_the_default_is_the_common_scale_bit_for_bit() -> None:
    values = torch.rand(20, 3)
    default, common = MGP(hidden=()), MGP(hidden=(), scale="common")
    for encoder in (default, common):
        encoder.start(ATTRIBUTES)
    assert torch.equal(default.describe(values), common.describe(values))
    assert torch.equal(default.get_buffer("spread"), common.get_buffer("spread"))


@pytest.mark.parametrize("kind", [MGP, MachineListened])
def test_any_folder_of_attributes_can_be_read(kind: type[MGP] | type[MachineListened]) -> None:
    tags = kind(hidden=(4,), modality="tags")
    tags.start(ATTRIBUTES)
    sample: Sample = {"track_id": "a", "shard": "s", "tags.npy": VECTORS[0][:0]}
    with pytest.raises(InputError, match=r"tags\.npy"):
        tags.reader()([sample])
    assert (tags.fields, kind().fields) == (
        ("tags.npy",),
        ("mgp.npy" if kind is MGP else "mlg.npy",),
    )
    assert tags.recipe()["init_args"]["modality"] == "tags"
    with pytest.raises(InputError, match="modality 'a/b' is not a name"):
        kind(modality="a/b")
    with pytest.raises(InputError, match="scale: 'all' is none of units, common, each"):
        kind(scale="all")  # type: ignore[arg-type]


def test_a_recipe_of_an_earlier_version_still_makes_its_encoder() -> None:
    old = MGP(**{"hidden": [4], "dropout": 0.5, "scale": "common"})  # type: ignore[arg-type]
    old.start(ATTRIBUTES)
    assert old.fields == ("mgp.npy",)


def test_a_constant_attribute_stays_finite() -> None:
    encoder = MGP(hidden=(4,), scale="each")
    encoder.start({"names": ["a"], "mean": [0.3], "std": [1.0]})
    assert encoder(Modality(torch.tensor([[0.3]]), torch.tensor([True]))).isfinite().all()


def test_other_attributes_than_those_trained_on_are_refused() -> None:
    encoder = MGP()
    encoder.check(ATTRIBUTES, ATTRIBUTES)
    with pytest.raises(InputError, match=r"missing: \['c'\], new: \['d'\]"):
        encoder.check({**ATTRIBUTES, "names": ["a", "b", "d"]}, ATTRIBUTES)
    with pytest.raises(InputError, match="the order counts too"):
        encoder.check({**ATTRIBUTES, "names": ["b", "a", "c"]}, ATTRIBUTES)


def test_machine_listened_attributes_need_every_fold() -> None:
    with pytest.raises(InputError, match=r"only folds \[0, 2\] of 3"):
        MachineListened().start({**ATTRIBUTES, "folds": 3, "parts": [0, 2]})
    MachineListened().start({**ATTRIBUTES, "folds": 3, "parts": [0, 1, 2]})
