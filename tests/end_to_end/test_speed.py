"""Options that make a fit faster must not show in what it leaves behind."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import World
from lightning.pytorch import Trainer

from coldstart.data.datamodule import ColdStartData
from coldstart.encoders.attributes import MGP
from coldstart.encoders.audio import Audio
from coldstart.encoders.base import Encoder
from coldstart.training.lightning_module import ColdStart, load
from coldstart.training.run_checkpoint import RunCheckpoint


def encoder(name: str) -> Encoder:
    if name == "mgp":
        return MGP(hidden=(8,))
    return Audio(net="small", patch_seconds=2, frame_hop=256, bins=36, fmin=110, dim=8)


@pytest.mark.parametrize(
    ("name", "options", "trainer_options"),
    [
        ("mgp", {}, {}),
        ("mgp", {"compile": True}, {}),
        ("mgp", {}, {"precision": "bf16-mixed"}),
        ("audio", {"channels_last": True}, {}),
        ("audio", {}, {"precision": "bf16-mixed"}),
    ],
    ids=str,
)
def test_a_faster_fit_s_checkpoint_is_like_any_other(
    tiny_world: World,
    tmp_path: Path,
    name: str,
    options: dict[str, Any],
    trainer_options: dict[str, Any],
) -> None:
    torch.manual_seed(0)
    model = ColdStart({name: encoder(name)}, **options)
    trainer = Trainer(
        max_epochs=1,
        limit_train_batches=3,
        accelerator="cpu",
        default_root_dir=tmp_path,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[RunCheckpoint()],
        **trainer_options,
    )
    data = ColdStartData(str(tiny_world.shards), str(tiny_world.factors), batch_size=16, workers=0)
    # What `compile` wraps is run as it is, for the compiler itself would take most of a minute.
    with torch.compiler.set_stance("force_eager"):
        trainer.fit(model, datamodule=data)
        batch = next(iter(data.batches(["val"])))
        predicted = model.eval().predict(batch.inputs)
    assert trainer.callback_metrics["train_loss"].isfinite()
    again = load(tmp_path)  # refuses names that aren't the plain model's
    torch.testing.assert_close(again.predict(batch.inputs), predicted)
    plain = ColdStart({name: encoder(name)})
    plain.build_like(tmp_path / "checkpoints" / "best.ckpt")  # an architecture like any other
    assert plain.state_dict().keys() == model.state_dict().keys()
