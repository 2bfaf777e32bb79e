"""What a predict has finished so far, on disk: one that was killed goes on from there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from coldstart.files import atomic
from coldstart.model.predictions import Predictions


class Parts:
    """A folder of finished tracks' outputs; its name says what they hang on."""

    def __init__(self, run: Path, name: str, key: str, rank: int) -> None:
        self.folder, self.name, self.rank = run / ".parts" / f"{name}-{key}", name, rank

    def read(self) -> list[Predictions]:
        """What is there; what other weights or settings have left is removed."""
        for other in self.folder.parent.glob(f"{self.name}-*"):
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)
        return [_read(path) for path in sorted(self.folder.glob("[0-9]*.safetensors"))]

    def write(self, made: Predictions) -> None:
        """Add tracks; ranks write side by side."""
        number = len(list(self.folder.glob(f"{self.rank}-*.safetensors")))
        with atomic(self.folder / f"{self.rank}-{number}.safetensors") as temporary:
            ids = {"track_ids": json.dumps(made.track_ids)}
            save_file({"vectors": made.values.contiguous()}, temporary, ids)

    def clear(self) -> None:
        """All is done, and written elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent.is_dir() and not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()


def _read(path: Path) -> Predictions:
    with safe_open(path, "pt") as file:
        return Predictions(json.loads(file.metadata()["track_ids"]), file.get_tensor("vectors"))
