"""Settings that are wrong: one sentence with the key, before anything is trained or allocated."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from bad_inputs.runs import BEFORE, DATA, MODEL, QUICK, Stderr, refused

from coldstart.errors import InputError
from coldstart.model.buildable import buildable
from coldstart.training.stages import must_have_folds

STEP = {"class_path": "StepLR", "init_args": {"step_size": 0}}
STOP = {"class_path": "EarlyStopping", "init_args": {"monitor": "val_los"}}
PLATEAU = {"class_path": "ReduceLROnPlateau", "init_args": {"monitor": "val_los"}}


def mgp(**arguments: Any) -> dict[str, Any]:
    return {"encoders": {"mgp": {"class_path": "MGP", "init_args": arguments}}}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "epochs": ({"trainer": {"max_epochs": -5}}, "max_epochs"),
    "steps": ({"trainer": {"max_steps": -7}}, "max_steps"),
    "accelerator": ({"trainer": {"accelerator": "tpux"}}, "accelerator='tpux'"),
    "strategy": ({"trainer": {"strategy": "foo"}}, "strategy='foo'"),
    "devices": ({"trainer": {"devices": 900}}, "trainer.devices: 900"),
    "devices in text": ({"trainer": {"devices": "900"}}, "trainer.devices: 900"),
    "profiler": ({"trainer": {"profiler": "foo"}}, "profiler"),
    "time": ({"trainer": {"max_time": "soon"}}, "duration='soon'"),
    "share": ({"trainer": {"limit_val_batches": -3.0}}, "limit_val_batches"),
    "clip": ({"trainer": {"gradient_clip_algorithm": "foo"}}, "gradient_clip_algorithm"),
    "monitor": ({"trainer": {"callbacks": [STOP]}}, "val_los"),
    "plateau": ({"optimizer": {"class_path": "Adam"}, "lr_scheduler": PLATEAU}, "val_los"),
    "seed": ({"seed_everything": -4}, "seed_everything"),
    "rate": ({"optimizer": {"class_path": "Adam", "init_args": {"lr": -1}}}, "optimizer"),
    "step": ({"optimizer": {"class_path": "Adam"}, "lr_scheduler": STEP}, "lr_scheduler"),
    "accumulation": ({"trainer": {"accumulate_grad_batches": 0}}, "accumulate_grad_batches"),
    "dropout": ({"model": mgp(dropout=2)}, "model.encoders.mgp"),
    "width": ({"model": mgp(hidden=[10**12])}, "model.encoders.mgp"),
    "widths": ({"model": mgp(hidden=[10**7, 10**7])}, "GB of memory"),
    "endless width": ({"model": mgp(hidden=[10**40])}, "mgp"),
    "misspelt": ({"modle": {"fusion": None}}, "did you mean 'model'?"),
    "misspelt, empty": ({"trainr": {}}, "did you mean 'trainer'?"),
    "misspelt, null": ({"optimiser": None}, "did you mean 'optimizer'?"),
    "misspelt in model": ({"model": MODEL | {"fuson": None}}, "did you mean 'fusion'?"),
    "misspelt in model, empty": ({"model": MODEL | {"fuson": {}}}, "model.fuson"),
    "misspelt in data": ({"data": {"batch_sise": 3}}, "did you mean 'batch_size'?"),
    "misspelt in trainer": ({"trainer": {"max_epoch": 3}}, "did you mean 'max_epochs'?"),
    "nothing like it": ({"zzz": 3}, "there are: "),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_setting_is_a_sentence(case: str, tmp_path: Path, capsys: Stderr) -> None:
    config, expected = WRONG[case]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"model": MODEL} | config))
    run = ["fit", f"--config={tmp_path / 'mine.yaml'}", f"--run={tmp_path / 'run'}"]
    length = [] if "max_epochs" in config.get("trainer", {}) else ["--trainer.max_epochs=1"]
    assert expected in refused([*run, *DATA, *QUICK, *length], capsys)


def test_more_folds_than_tracks_are_refused_and_many_nets_announced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = {"data": {"shards": str(BEFORE / "shards")}}
    with pytest.raises(InputError, match="1,000 folds of"):
        must_have_folds(config, 1000, 1000)
    must_have_folds(config, 5, 10)
    assert not caplog.records
    must_have_folds(config, 8, 24)
    assert "24 nets will be trained" in caplog.text


def test_layers_are_refused_before_they_are_made() -> None:
    with (
        pytest.raises(InputError, match=r"part: its layers need more than .* GB"),
        buildable("part"),
    ):
        torch.nn.Linear(10**9, 10**9)
    with buildable("part"):
        assert torch.nn.Linear(4, 3).weight.shape == (3, 4)
