"""The verb `fit`: train a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coldstart.training.flags import as_arguments


def fit(config: str, *, run: str | None = None, overrides: Mapping[str, Any] | None = None) -> Path:
    """Train a model.

    Args:
        config: a YAML file, or the bare name of a shipped one, such as `audio_mlg.yaml`.
        run: folder to write; `runs/<name of the config>` by default.
        overrides: as on the command line: `{"data.shards": "shards", "trainer.max_epochs": 5}`.

    Returns:
        The run's folder.

    Raises:
        InputError: the config, the data or the folder is wrong.
    """
    folder = ["--run", run] if run else []
    return main(["--config", config, *folder, *as_arguments(overrides)])


def main(args: Sequence[str]) -> Path:
    """`coldstart fit ARGS`; returns the run's folder."""
    from coldstart.training import flags
    from coldstart.training.lightning_cli import lightning_cli
    from coldstart.training.preparation import default_run

    own, rest = flags.parse("fit", args)
    folder = Path(own.run) if own.run else default_run(rest)
    cli = lightning_cli("fit", args)
    if cli.trainer.is_global_zero:
        print(f"wrote {folder}")
        if not own.no_hint:
            print(f"next: coldstart test --run {folder}")
    return folder
