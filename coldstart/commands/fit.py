"""The verb `fit`: train a model."""

from __future__ import annotations

from pathlib import Path

from coldstart.training.lightning_cli import Overrides, _default_run, _flags, lightning_cli


def fit(config: str, *, run: str | None = None, overrides: Overrides | None = None) -> Path:
    """Train a model.

    Args:
        config: a YAML file, or the bare name of a shipped one, such as `audio_mlg.yaml`.
        run: folder to write; `runs/<name of the config>` by default.
        overrides: as on the command line: `{"data.shards": "shards", "trainer.max_epochs": 5}`.

    Returns:
        The run's folder.
    """
    folder = Path(run) if run else _default_run([config])
    lightning_cli("fit", ["--config", config, "--run", str(folder), *_flags(overrides)])
    return folder
