"""The LightningModule: any subset of modalities, missing tracks, and checkpoints."""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coldstart.encoders.attributes import MGP, MachineListened
from coldstart.encoders.audio import Audio
from coldstart.encoders.base import Encoder, Modality
from coldstart.encoders.genres import Genres
from coldstart.errors import InputError
from coldstart.targets.attributes import Attributes
from coldstart.targets.track_factors import cosine_distance
from coldstart.training.lightning_module import ColdStart, load

NAMES = [f"attribute {i}" for i in range(6)]
FACTS: dict[str, dict[str, Any]] = {
    "mgp": {"names": NAMES, "mean": [0.4] * 6, "std": [0.2] * 6},
    "mlg": {"names": NAMES, "mean": [0.4] * 6, "std": [0.2] * 6},
    "genres": {"vocabulary": ["rock", "jazz", "salsa"]},
    "audio": {"sample_rate": 8000},
    "factors": {"factors": 5},
}
WIDTHS = {"mgp": 6, "mlg": 6, "genres": 3, "audio": 16000}


def encoder(name: str) -> Encoder:
    audio = {"net": "small", "patch_seconds": 2, "bins": 36, "frame_hop": 256, "dim": 8}
    return {
        "mgp": lambda: MGP(hidden=(8,)),
        "mlg": lambda: MachineListened(hidden=(8,)),
        "genres": lambda: Genres(hidden=(4,)),
        "audio": lambda: Audio(**audio, fmin=110),  # type: ignore[arg-type]
    }[name]()


def built(*names: str) -> ColdStart:
    torch.manual_seed(0)
    model = ColdStart({name: encoder(name) for name in names})
    model.build(FACTS.__getitem__)
    return model


def inputs(
    model: ColdStart, tracks: int, present: torch.Tensor | None = None
) -> dict[str, Modality]:
    generator = torch.Generator().manual_seed(1)
    there = torch.ones(tracks, dtype=torch.bool) if present is None else present
    return {
        name: Modality(torch.rand(tracks, WIDTHS[name], generator=generator), there)
        for name in model.encoders
    }


SUBSETS = [names for n in (1, 2, 3, 4) for names in combinations(WIDTHS, n)]


@pytest.mark.parametrize("names", SUBSETS, ids="+".join)
def test_any_subset_of_modalities_gives_a_vector_a_track(names: tuple[str, ...]) -> None:
    model = built(*names)
    assert model(inputs(model, 3)).shape == (3, 5)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.booleans(), min_size=4, max_size=4), st.integers(0, 1000))
def test_what_stands_in_a_missing_place_plays_no_part(there: list[bool], seed: int) -> None:
    model = built("mgp", "genres").eval()
    present = torch.tensor(there)
    given_inputs = inputs(model, 4, present)
    noise = {
        name: Modality(
            torch.where(
                present[:, None],
                m.values,
                torch.randn(m.values.shape, generator=torch.Generator().manual_seed(seed)),
            ),
            present,
        )
        for name, m in given_inputs.items()
    }
    assert torch.equal(model(given_inputs), model(noise))


def test_every_parameter_gets_a_gradient_even_when_a_modality_is_missing_throughout() -> None:
    model = built("mgp", "audio")
    for there in (True, False):
        model.zero_grad()
        model(inputs(model, 4, torch.full((4,), there))).square().sum().backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())  # type: ignore[union-attr]


def test_outputs_are_directions() -> None:
    model = built("mgp").eval()
    lengths = model.predict(inputs(model, 4)).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(4))


def test_cosine_distance_ignores_lengths() -> None:
    a, b = torch.randn(2, 10, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(cosine_distance(a, b), cosine_distance(3 * a, 0.1 * b))


def saved(model: ColdStart, path: Path, **changes: Any) -> Path:
    checkpoint: dict[str, Any] = {"state_dict": model.state_dict(), "epoch": 3}
    model.on_save_checkpoint(checkpoint)
    checkpoint["coldstart"] |= changes
    torch.save(checkpoint, path)
    return path


@pytest.mark.parametrize("names", [("mgp",), ("mgp", "genres"), ("audio", "mlg", "genres")])
def test_a_checkpoint_rebuilds_the_model_without_a_dataset(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    model = built(*names).eval()
    again = load(saved(model, tmp_path / "a.ckpt"))
    given_inputs = inputs(model, 3)
    assert torch.equal(model(given_inputs), again(given_inputs))
    assert again.recipe()["encoders"] == model.recipe()["encoders"]


def test_a_listener_s_checkpoint_rebuilds_it(tmp_path: Path) -> None:
    model = ColdStart({"genres": Genres()}, target=Attributes())
    model.build(FACTS.__getitem__)
    again = load(saved(model.eval(), tmp_path / "a.ckpt"))
    assert isinstance(again.target, Attributes)
    assert again.target.names == NAMES


def test_a_checkpoint_with_a_pickled_object_is_refused(tmp_path: Path) -> None:
    torch.save({"coldstart": {"version": 1}, "evil": Path("x").stat}, tmp_path / "a.ckpt")
    with pytest.raises(InputError, match="safely"):
        load(tmp_path / "a.ckpt")


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"a\.ckpt"):
        load(tmp_path / "a.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "b.ckpt")
    with pytest.raises(InputError, match="not a checkpoint of coldstart"):
        load(tmp_path / "b.ckpt")


def test_a_missing_plugin_is_named_with_the_installed_ones(tmp_path: Path) -> None:
    recipe = {"poems": {"class": "Poems", "init_args": {}}}
    path = saved(built("mgp"), tmp_path / "a.ckpt", encoders=recipe)
    with pytest.raises(InputError, match=r"no encoders plugin 'Poems'.*Audio.*MGP"):
        load(path)


@pytest.mark.parametrize(
    "other",
    [{"mgp": MGP(hidden=(9,))}, {"genres": Genres()}, {"mgp": MachineListened(hidden=(8,))}],
)
def test_another_architecture_is_refused(other: Mapping[str, Encoder], tmp_path: Path) -> None:
    path = saved(built("mgp"), tmp_path / "a.ckpt")
    with pytest.raises(InputError, match="another architecture"):
        ColdStart(dict(other)).build_like(path)


def test_arguments_are_remembered_also_by_classes_that_inherit_their_constructor() -> None:
    expected = {"hidden": (3,), "dropout": 0.1, "scale": "each", "modality": "mgp"}
    assert MGP((3,), 0.1, scale="each").recipe() == {"class": "MGP", "init_args": expected}


def test_no_encoder_is_an_error() -> None:
    with pytest.raises(InputError, match="at least one"):
        ColdStart({})
