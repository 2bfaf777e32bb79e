"""Sound that comes with a request: decoded in isolation, and remembered for the next question."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coldstart.audio.mono import Finding
from coldstart.files import StrPath, file_hash, fingerprint
from coldstart.service.isolation import SoundLimits, isolated_contents

KEPT_MB = 256
"""Of decoded sound."""


class Decoder:
    """Decodes uploads, as many at once as there are cores; the last ones are kept.

    Attributes:
        limits: of each.
    """

    def __init__(self, limits: SoundLimits) -> None:
        """With these limits."""
        self.limits = limits
        self._places = threading.BoundedSemaphore(os.cpu_count() or 1)
        self._kept: OrderedDict[str, tuple[bytes, Finding]] = OrderedDict()
        self._turn = threading.Lock()

    def decode(self, path: StrPath, facts: Mapping[str, Any]) -> bytes:
        """What a store with these facts keeps of a file; raises AudioError."""
        return self.contents(Path(path), [facts])[0][0]

    def contents(
        self, path: Path, stores: Sequence[Mapping[str, Any]]
    ) -> list[tuple[bytes, Finding]]:
        """What stores keep of a file, and what it is like; raises AudioError."""
        digest = file_hash(path)
        plain = [_settings(facts) for facts in stores]
        keys = [fingerprint(digest, facts) for facts in plain]
        with self._turn:
            kept = [self._kept.get(key) for key in keys]
        if all(kept):
            return [content for content in kept if content is not None]
        with self._places:
            contents = isolated_contents(path, plain, self.limits)
        with self._turn:
            self._kept.update(zip(keys, contents, strict=True))
            while self._kept and sum(len(c) for c, _ in self._kept.values()) > KEPT_MB * 1e6:
                self._kept.popitem(last=False)
        return contents


def _settings(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What bytes of a store depend on: no statistics, which a model's facts also have."""
    names = ("sample_rate", "transform", "frame_hop", "bins", "fmin", "dtype")
    return {name: facts[name] for name in names if name in facts}
