"""Patches: what encoders of sound have in common. They cut a track into windows."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from coldstart.audio.codec import Buffer, Pcm, length, window
from coldstart.encoders.base import Encoder, Modality
from coldstart.errors import InputError
from coldstart.sample import Sample, malformed

START = "audio.start"
"""Key that `expand` adds to a sample: where its window begins, in samples.

All encoders of sound in a model use the windows of the first one, so that what they read should
have one sample rate."""

FULL_SCALE = 2**15


class WindowReader:
    """Reads windows of sound, however it is stored. Only the window itself is decoded.

    While training, a window is cut at a random position, or `fixed` windows a track are cut at
    evenly spaced positions. Otherwise windows cover the whole track. A subclass implements `length`
    and `fill` for one kind of content.

    Args:
        field: tar member.
        shape: of a window; its first axis is time.
        dtype: of its values.
        step: samples between two positions on that axis.
        fixed: windows a track while training; None for one at a random position.
        hop: otherwise, distance between the starts of windows, as a share of a window.
        trim: otherwise, this share is left out at both ends of the track.
    """

    def __init__(
        self,
        field: str,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        step: int,
        fixed: int | None,
        hop: float,
        trim: float,
    ) -> None:
        self.field, self.shape, self.dtype, self.step = field, shape, dtype, step
        self.size, self.fixed, self.hop, self.trim = shape[0], fixed, hop, trim
        self.pieces = fixed or 1

    def length(self, content: Buffer) -> int:
        """Number of positions on a track's time axis.

        Raises:
            ValueError: the content is malformed.
        """
        raise NotImplementedError

    def fill(self, row: Tensor, content: Buffer, start: int) -> None:
        """Write the window that begins at `start` into `row`; repeat a track that is too short.

        Raises:
            ValueError: the content is malformed.
        """
        raise NotImplementedError

    def expand(self, sample: Sample, training: bool) -> Iterator[Sample]:
        """A sample for each window; unchanged if another encoder of sound has set the window."""
        if self.field not in sample or START in sample:
            yield sample
            return
        last = self._last_start(sample)
        if not training:
            starts = self._covering_starts(last)
        elif self.fixed is None:
            starts = [random.randint(0, last)]  # noqa: S311
        else:
            starts = [round(last * (i + 0.5) / self.fixed) for i in range(self.fixed)]
        for start in starts:
            yield {**sample, START: start * self.step}

    def _covering_starts(self, last_start: int) -> list[int]:
        """Starts of windows over the trimmed track: evenly spaced, about `hop` windows apart."""
        margin = min(int((last_start + self.size) * self.trim), last_start // 2)
        first, last = margin, last_start - margin
        steps = -(-(last - first) // max(1, int(self.hop * self.size)))
        return [first + round((last - first) * i / max(1, steps)) for i in range(steps + 1)]

    def __call__(self, samples: Sequence[Sample]) -> Modality:
        """Collate to values [B, *shape]; a short track is repeated to fill its window.

        If another encoder has set a start too late for this one's longer windows, the window is
        moved so that it ends with the track.
        """
        values = new_batch((len(samples), *self.shape), self.dtype)
        present = torch.zeros(len(samples), dtype=torch.bool)
        for i, (sample, row) in enumerate(zip(samples, values, strict=True)):
            if self.field not in sample:
                row.zero_()
                continue
            start = min(sample.get(START, 0) // self.step, self._last_start(sample))
            try:
                self.fill(row, sample[self.field], start)
            except ValueError as error:
                raise malformed(sample, self.field, error) from error
            present[i] = True
        return Modality(values, present)

    def _last_start(self, sample: Sample) -> int:
        """The last position at which a window can begin."""
        try:
            return max(0, self.length(sample[self.field]) - self.size)
        except ValueError as error:
            raise malformed(sample, self.field, error) from error


class PatchReader(WindowReader):
    """Windows of a FLAC, or of samples: values [B, samples] int16, as in the FLAC.

    So half as many bytes go to the device as with floats.
    """

    def __init__(
        self, field: str, samples: int, fixed: int | None, hop: float, trim: float
    ) -> None:
        super().__init__(field, (samples,), torch.int16, 1, fixed, hop, trim)

    def length(self, content: Buffer | Pcm) -> int:
        """Samples of the track."""
        return length(content)

    def fill(self, row: Tensor, content: Buffer | Pcm, start: int) -> None:
        """Decode a window."""
        window(content, start, row.numpy())


def new_batch(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor; in a loader's worker, in memory shared with the trainer's process.

    So the batch isn't copied once more when the worker passes it on.
    """
    if get_worker_info() is None:
        return torch.empty(shape, dtype=dtype)
    size = math.prod(shape) * dtype.itemsize
    storage = torch.UntypedStorage._new_shared(size)  # as torch's own default_collate does
    return torch.empty(0, dtype=dtype).set_(storage).view(shape)


def waveform(values: Tensor) -> Tensor:
    """Samples as a reader gives them → floats in -1..1."""
    # Not one division of integers by a number, which takes several times as long on a CPU.
    return values if values.is_floating_point() else values.float().mul_(1 / FULL_SCALE)


class PatchEncoder(Encoder):
    """An encoder of patches of sound. A subclass's `build` sets `samples`, a patch's length."""

    interface = 1
    fields: tuple[str, ...] = ("audio.flac",)
    streamed: ClassVar[bool] = True
    may_differ: ClassVar[tuple[str, ...]] = ("patches", "hop", "trim")
    samples: int

    def _set_windows(
        self, patch_seconds: float, patches: int | None, hop: float, trim: float
    ) -> None:
        """Check and store how a track is cut into windows."""
        if patch_seconds <= 0 or not 0 < hop <= 1 or not 0 <= trim < 0.5:
            raise InputError(
                f"{type(self).__name__}: patch_seconds > 0, 0 < hop ≤ 1 and 0 ≤ trim < 0.5 are "
                "needed"
            )
        if patches is not None and patches < 1:
            raise InputError(f"{type(self).__name__}: patches must be above 0")
        self.patch_seconds, self.patches, self.hop, self.trim = patch_seconds, patches, hop, trim

    def check(self, info: Mapping[str, Any], built_from: Mapping[str, Any]) -> None:
        """The sample rate must be the one that the net was built for."""
        if info["sample_rate"] != built_from["sample_rate"]:
            raise InputError(
                f"the model was trained on audio at {built_from['sample_rate']} Hz, the dataset "
                f"has {info['sample_rate']} Hz; use --sample-rate {built_from['sample_rate']}"
            )

    def reader(self) -> WindowReader:
        """Reads windows of `patch_seconds`."""
        return PatchReader(self.fields[0], self.samples, self.patches, self.hop, self.trim)
