"""What verbs show: results on stdout, little on stderr, and nothing that nobody can act on."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers import World, data_flags

from coldstart.cli import LIGHTNING_VERBS, VERBS, main
from coldstart.reporting.foreign import LINES, WARNINGS, is_foreign
from coldstart.reporting.log import VERBOSITY, verbosity
from coldstart.training.flags import help_text

FOREIGN = ("available: ", "Seed set", "LeafSpec", "Tip", "logging interval", "Restor", "workers")


def run(calls: Sequence[Sequence[str]], **variables: str) -> tuple[str, str]:
    """What verbs write to stdout and to stderr, one after the other in one process."""
    code = (
        "from coldstart.cli import main\n"
        f"for args in {[list(call) for call in calls]}: assert not main(args), args\n"
    )
    command, environment = [sys.executable, "-c", code], os.environ | variables
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, done.stderr


def verbs(world: World, folder: Path) -> list[list[str]]:
    fit = ["fit", "--config", "mgp_genres.yaml", "--run", str(folder), "--stages=1"]
    quick = ["--trainer.max_epochs=2", "--data.workers=0"]
    later = [[verb, "--run", str(folder)] for verb in ("validate", "test", "predict")]
    return [[*fit, *data_flags(world), *quick], *later]


def test_only_what_people_can_use_is_shown(tiny_world: World, tmp_path: Path) -> None:
    out, err = run(verbs(tiny_world, tmp_path / "run"))
    assert f"wrote {tmp_path / 'run'}" in out
    assert "val_loss" in out  # of validate
    assert "NDCG@20" in out
    assert [word for word in FOREIGN if word in out + err] == []
    assert "fitted 2 epochs, at the end: train_loss" in err
    assert len(err.splitlines()) <= 5, err
    assert not {"\r", "\x1b"} & set(out + err)  # neither bars nor colours


def test_quiet_leaves_results_alone_and_verbose_leaves_nothing_out(
    tiny_world: World, tmp_path: Path
) -> None:
    fit, _, test, _ = verbs(tiny_world, tmp_path / "run")
    out, err = run([["--quiet", *fit], [*test, "--quiet"]])
    assert err == ""
    assert "NDCG@20" in out
    out, err = run([[*test, "--verbose"]])
    assert "Seed set to 0" in err
    assert "GPU available" in err
    assert "Seed" not in out


def test_a_process_shows_as_much_as_the_one_that_started_it(
    tiny_world: World, tmp_path: Path
) -> None:
    fit, *_ = verbs(tiny_world, tmp_path / "run")
    assert run([fit], COLDSTART_VERBOSITY="quiet")[1] == ""


def test_the_two_flags_contradict_each_other(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VERBOSITY, raising=False)
    assert main(["plugins", "--quiet", "--verbose"]) == 2
    assert "leave one of them out" in capsys.readouterr().err
    assert main(["plugins", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert verbosity() == "normal"
    assert VERBOSITY not in os.environ


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_names_both(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    lightning = next((name for name in LIGHTNING_VERBS if name == verb), None)
    if lightning is not None:  # Lightning's own flags follow, after seconds
        text = help_text(lightning)
    else:
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        text = capsys.readouterr().out
    assert "--quiet" in text
    assert "--verbose" in text


def test_only_known_words_are_left_out() -> None:
    assert is_foreign("\n  ``instantiate_classes`` was deprecated in v4.49.0 and will be removed",
                      "/x/site-packages/lightning/pytorch/cli.py")  # fmt: skip
    assert not is_foreign("a loss is not finite", "/x/site-packages/lightning/pytorch/loops/a.py")
    assert not is_foreign("The 'val_dataloader' does not have many workers", "/x/mine/a.py")
    assert not is_foreign("Metric val_loss improved")
    assert all(lines for lines in (LINES, *WARNINGS.values()))
