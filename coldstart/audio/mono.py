"""Sound files as mono blocks at one rate, brought to range, and what was found in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np
import soxr

from coldstart.audio.decoding import opened
from coldstart.audio.levels import SILENCE, Levels, Treatment
from coldstart.audio.sound import AudioError, Samples, Sound
from coldstart.files import StrPath

Encoding = TypeVar("Encoding")

SAMPLE_RATE = 22_050
"""Hz, of the talk's net; the shards' default."""


class Finding(NamedTuple):
    """What a file was like, and what was done.

    Attributes:
        seconds: decoded.
        rate: Hz, of the file.
        channels: of the file.
        peak: largest sample, as it is in the file; 1 is full scale.
        clipped: share of the samples at full scale or beyond, once they are brought to range.
        silent: share of the seconds with no sample above -80 dBFS.
        offset: mean of the samples, of the channel where it is farthest from 0.
        done: what was done to it beside mixing and resampling; empty for an ordinary file.
        doubts: what was left as it is, but may be wrong; empty for an ordinary file.
    """

    seconds: float
    rate: int
    channels: int
    peak: float
    clipped: float
    silent: float
    offset: float
    done: str
    doubts: str

    @property
    def text(self) -> str:
        """What is to be said of the file; empty for an ordinary one."""
        return "; ".join(filter(None, (self.done, self.doubts)))


class _Judgement(NamedTuple):
    """What a file needs, how it was when it got that, and its largest mixed sample."""

    treatment: Treatment
    finding: Finding
    peak: float


def blocks(path: StrPath, rate: int = SAMPLE_RATE) -> Iterator[Samples]:
    """Decode any file that can be decoded, as mono float32 blocks at `rate` Hz.

    Memory stays flat however long the file is. It is decoded twice, for it has to be seen whole
    before it is known how its channels are mixed.

    Raises:
        AudioError: missing, empty, not audio, truncated, or shorter than half a second.
    """
    _, judgement = _judged(path, None, _count)
    with opened(path) as sound:
        yield from _mono(sound, rate, judgement.treatment)


def encoded(
    path: StrPath, rate: int, encode: Callable[[Iterator[Samples]], Encoding]
) -> tuple[Encoding, Finding]:
    """Encode a file's blocks, in -1..1, and say what the file is like.

    An ordinary file is decoded once. Whatever is not ordinary shows at its end; then it is encoded
    again, as it should be.

    Args:
        path: of the file.
        rate: Hz of the blocks.
        encode: called once, or again for a file that is no ordinary one.

    Raises:
        AudioError: as in `blocks`; or silent.
    """

    def limited(samples: Iterator[Samples]) -> Encoding:
        # Lossy files decode to a little over full scale. What is far beyond it overflows to NaN,
        # which no encoder takes; it is refused at the end.
        return encode(np.fmin(np.fmax(block, -1), 1) for block in samples)

    content, judgement = _judged(path, rate, limited)
    if judgement.peak < SILENCE:
        raise AudioError("silent: no sample is louder than -80 dBFS")
    return content, judgement.finding


def _count(samples: Iterator[Samples]) -> int:
    return sum(map(len, samples))


def _judged(
    path: StrPath, rate: int | None, encode: Callable[[Iterator[Samples]], Encoding]
) -> tuple[Encoding, _Judgement]:
    """Encode a file with what it needs; that is known once it has been decoded."""
    treatment = Treatment()
    peak_in_file = 0.0
    while True:
        peak = 0.0

        def measured(samples: Iterator[Samples]) -> Iterator[Samples]:
            nonlocal peak
            for block in samples:
                if len(block):
                    peak = max(peak, float(block.max()), -float(block.min()))
                yield block

        with opened(path) as sound:
            levels = Levels(sound.rate, sound.channels, sound.numbers)
            content = encode(measured(_mono(sound, rate or sound.rate, treatment, levels)))
        peak_in_file = peak_in_file or levels.peak
        if treatment.is_final:
            break
        needed = levels.treatment()
        if needed.swapped and treatment.swapped:  # without an end, each swap would ask for another
            raise AudioError("damaged: a part of its bytes is shifted, or in another order")
        treatment = treatment.then(needed)
        if needed.is_ordinary:
            break
    finding = Finding(
        seconds=levels.seconds,
        rate=levels.rate,
        channels=levels.channels,
        peak=peak_in_file,
        clipped=levels.clipped,
        silent=levels.silence,
        offset=levels.offset,
        done="; ".join(treatment.done),
        doubts="; ".join(treatment.doubts),
    )
    return content, _Judgement(treatment, finding, peak)


def _mono(
    sound: Sound, rate: int, treatment: Treatment, levels: Levels | None = None
) -> Iterator[Samples]:
    stream = soxr.ResampleStream(sound.rate, rate, 1, dtype="float32")
    waiting: Samples | None = None
    for block in sound.blocks:
        if waiting is not None:
            yield waiting if sound.rate == rate else stream.resample_chunk(waiting)
        # What is far beyond full scale overflows here, and is refused at the end.
        with np.errstate(over="ignore", invalid="ignore"):
            block = treatment.apply(block)
            if levels is not None:
                levels.add(block)
            waiting = treatment.mix(block)
    if waiting is not None:
        yield waiting if sound.rate == rate else stream.resample_chunk(waiting, last=True)
