"""What extractors have in common: windows of sound in, vectors and tags out, in flat memory."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from coldstart import registry
from coldstart.audio.mono import Finding, encoded
from coldstart.audio.sound import Samples
from coldstart.errors import InputError
from coldstart.files import StrPath, fingerprint

BATCH = 2
"""Windows that are heard at once on a CPU: with 8, MusiCNN takes twice as long for each, for its
caches don't hold them."""

BATCH_ON_GPU = 64


class Features(NamedTuple):
    """What an extractor says of N windows, or of a track (N = 1).

    Attributes:
        vectors: [N, width] float32.
        tags: [N, tags] float32, scores from 0 to 1; [N, 0] of an extractor that names nothing.
    """

    vectors: Tensor
    tags: Tensor


class Extractor(ABC):
    """Hears windows of sound; made once, and then used by several threads at a time.

    A plugin's class is registered in the entry-point group `coldstart.extractors` under its own
    name. Its constructor's arguments are what a user may set: numbers, texts and paths.

    Attributes:
        interface: version of the interface that it was written for.
        rate: Hz of the sound that it hears.
        window: samples of a window.
        tag_names: of its tags; empty if it has none.
        version: of the method, beside the weights: another one gives other numbers.
        weights: SHA-256 of what was learnt; empty if nothing was.
        settings: what its numbers depend on besides, as JSON holds it.
        places: arguments that only say where weights are fetched from, and aren't needed again.
        own_units: whether each dimension of its vectors has a unit of its own, so that who reads
            them standardises them.
        nets: that compute on `device`.
        device: where it hears.
    """

    interface: ClassVar[int] = 1
    rate: int
    window: int
    tag_names: tuple[str, ...] = ()
    version: str = "1"
    weights: str = ""
    settings: Mapping[str, Any] = {}
    places: tuple[str, ...] = ()
    own_units: ClassVar[bool] = False
    nets: tuple[nn.Module, ...] = ()
    device: torch.device = torch.device("cpu")

    @abstractmethod
    def hear(self, sound: Tensor) -> Features:
        """The features of each window.

        Args:
            sound: [N, window] float32 in -1..1, on `device`.
        """

    def track(self, batches: Iterable[Features]) -> Features:
        """A track's features from those of its windows, batch after batch: by default, the mean."""
        vectors = tags = torch.zeros((), dtype=torch.float64)
        count = 0
        for batch in batches:
            vectors = vectors + batch.vectors.double().sum(0).cpu()
            tags = tags + batch.tags.double().sum(0).cpu()
            count += len(batch.vectors)
        return Features((vectors / count)[None].float(), (tags / count)[None].float())

    def to(self, device: torch.device) -> None:
        """Compute on another device, with all of `nets`; without any, stay on the CPU."""
        for net in self.nets:
            net.to(device)
            self.device = device

    def about(self) -> dict[str, Any]:
        """What its numbers depend on; two that say the same may be mixed, others never."""
        return {
            "extractor": type(self).__name__,
            "version": self.version,
            "weights": self.weights,
            "settings": dict(self.settings),
            "rate": self.rate,
            "window": self.window,
            "tags": list(self.tag_names),
        }

    def identity(self) -> str:
        """A hash of `about()`."""
        return fingerprint(self.about())


def open_extractor(name: str, settings: Mapping[str, Any]) -> Extractor:
    """Make an extractor.

    Args:
        name: of the plugin, such as `MFCC`.
        settings: its constructor's arguments.

    Raises:
        InputError: there is no such plugin or setting, or its weights can't be had.
    """
    plugin = registry.load("extractors", name)
    parameters = [p for p in inspect.signature(plugin).parameters.values() if p.name != "self"]
    names = [each.name for each in parameters]
    for setting in settings:
        if setting not in names:
            known = f"it has: {', '.join(names)}" if names else "it has none"
            raise InputError(f"the extractor {name} has no setting '{setting}'; {known}")
    needed = [each.name for each in parameters if each.default is inspect.Parameter.empty]
    if missing := [each for each in needed if each not in settings]:
        raise InputError(f"the extractor {name} needs the setting '{missing[0]}'")
    try:
        extractor: Extractor = plugin(**settings)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{key}={value!r}" for key, value in settings.items())
        raise InputError(f"the extractor {name} can't be made with {given}: {error}") from error
    return extractor


def track_features(extractor: Extractor, path: StrPath) -> tuple[Features, int, Finding]:
    """A sound file's features, the number of its windows, and what the file is like.

    Raises:
        AudioError: the file can't be used.
    """
    count = 0

    def hear(blocks: Iterator[Samples]) -> Features:
        nonlocal count
        count = 0  # an unusual file is heard twice

        def counted() -> Iterator[Features]:
            nonlocal count
            for batch in features_of(extractor, blocks):
                count += len(batch.vectors)
                yield batch

        return extractor.track(counted())

    features, finding = encoded(path, extractor.rate, hear)
    return features, count, finding


@torch.inference_mode()
def features_of(extractor: Extractor, blocks: Iterable[Samples]) -> Iterator[Features]:
    """The features of all windows of a stream of sound, in batches.

    Args:
        extractor: that hears.
        blocks: mono, at the extractor's rate, of any lengths.
    """
    batch = BATCH if extractor.device.type == "cpu" else BATCH_ON_GPU
    for windows in _batches(windows_of(blocks, extractor.window), batch):
        yield extractor.hear(torch.from_numpy(windows).to(extractor.device))


def windows_of(blocks: Iterable[Samples], window: int) -> Iterator[Samples]:
    """Cut a stream into windows that follow one another.

    Of a rest of half a window or more, the last one ends where the sound does, and overlaps the one
    before; a shorter rest is left out. Sound shorter than a window is repeated until that is full.

    >>> blocks = [np.arange(5, dtype=np.float32), np.arange(5, 11, dtype=np.float32)]
    >>> [each.tolist() for each in windows_of(blocks, 4)]
    [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0], [7.0, 8.0, 9.0, 10.0]]
    >>> [each.tolist() for each in windows_of([np.ones(3, dtype=np.float32)], 4)]
    [[1.0, 1.0, 1.0, 1.0]]
    """
    rest = last = np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        whole = len(rest) // window * window
        for start in range(0, whole, window):
            yield rest[start : start + window]
        if whole:
            last = rest[whole - window : whole]
        rest = rest[whole:]
    if not len(last):
        yield np.resize(rest, window)
    elif 2 * len(rest) >= window:
        yield np.concatenate([last, rest])[-window:]


def _batches(windows: Iterable[Samples], size: int) -> Iterator[Samples]:
    """[N, window] each, N up to `size`."""
    batch: list[Samples] = []
    for window in windows:
        batch.append(window)
        if len(batch) == size:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)
