"""The verb `fit`: train a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldstart.training.flags import as_arguments

if TYPE_CHECKING:
    from coldstart.training.lightning_cli import FitCLI


def fit(
    config: str,
    *,
    run: str | None = None,
    like_run: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Path:
    """Train a model.

    Args:
        config: a YAML file, or the bare name of a shipped one, such as `audio_mlg.yaml`.
        run: folder to write; `runs/<name of the config>` by default.
        like_run: folder of a run with validation tracks: train for as many epochs as it has found
            best, without a validation, such as on all tracks.
        overrides: as on the command line: `{"data.shards": "shards", "trainer.max_epochs": 5}`.

    Returns:
        The run's folder.

    Raises:
        InputError: the config, the data or the folder is wrong.
    """
    folder = ["--run", run] if run else []
    like = ["--like-run", like_run] if like_run else []
    return main(["--config", config, *folder, *like, *as_arguments(overrides)])


def main(args: Sequence[str]) -> Path:
    """`coldstart fit ARGS`; returns the run's folder."""
    from coldstart.training.lightning_cli import lightning_cli

    cli = lightning_cli("fit", args)
    folder = cli.preparation.folder
    if cli.trainer.is_global_zero:
        print(f"wrote {folder}")
        if not cli.preparation.flags.no_hint:
            print(f"next: {_next_step(cli)} --run {folder}")
    return folder


def _next_step(cli: FitCLI) -> str:
    """What to do with the run: it can be tested only if there are tracks to test it on."""
    data: Any = cli.datamodule
    return "coldstart test" if any(data.shards.shard_sizes("test")) else "coldstart predict"
