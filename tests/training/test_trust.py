"""Words of a run's configuration, and files that happen to have such a name."""

from pathlib import Path
from typing import Any

import pytest
from bad_inputs.damage import copy_of
from bad_inputs.runs import changed
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser

from coldstart.errors import InputError
from coldstart.training.trust import must_be_known

EARLY = {"class_path": "EarlyStopping", "init_args": {"monitor": "word"}}
PLAIN: dict[str, tuple[str, Any]] = {
    "a trainer's text": ("trainer.gradient_clip_algorithm", "word"),
    "one of a trainer's choices": ("trainer.precision", "word"),
    "a callback's text": ("trainer.callbacks", [EARLY]),
    "an encoder's choice": ("model.encoders.mgp.init_args.scale", "word"),
}
CLASSES: dict[str, tuple[str, Any]] = {
    "a trainer's part": ("trainer.strategy", "word"),
    "another": ("trainer.accelerator", "word"),
    "a list of classes": ("trainer.callbacks", ["word"]),
    "a section": ("optimizer", "word"),
    "a path": ("trainer.gradient_clip_algorithm", "./word"),
    "a key that isn't there": ("trainer.nothing", "word"),
    "a class that isn't known": (
        "trainer.callbacks",
        [{"class_path": "coldstart.Nothing", "init_args": {"monitor": "word"}}],
    ),
}


@pytest.fixture(params=["beside the user", "in the run"])
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run, and a file `word` with settings, of the user's or of the run's."""
    run = copy_of("runs", tmp_path) / "mgp"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folder = run if request.param == "in the run" else Path()
    (folder / "word").write_text("class_path: os.system\n")
    return run


@pytest.mark.parametrize("case", PLAIN)
def test_a_word_is_no_file_where_text_is_wanted(run: Path, case: str) -> None:
    changed(run, *PLAIN[case])
    must_be_known(run)


@pytest.mark.parametrize("case", CLASSES)
def test_a_word_is_a_file_where_a_class_may_be(run: Path, case: str) -> None:
    changed(run, *CLASSES[case])
    with pytest.raises(InputError, match=r"config\.yaml, .*word|would build"):
        must_be_known(run)


def test_the_parser_reads_files_for_classes_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the rule rests on, in Lightning and jsonargparse as they are."""
    monkeypatch.chdir(tmp_path)
    Path("word").write_text("cpu")
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.add_lightning_class_args(LightningModule, "model")
    config = {"trainer": {"gradient_clip_algorithm": "word", "accelerator": "word"}}
    trainer = parser.parse_object(config).trainer
    assert (trainer.gradient_clip_algorithm, trainer.accelerator) == ("word", "cpu")
