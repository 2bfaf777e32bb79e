"""What a file's samples are like, and what has to be done before they can be used."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldstart.audio.sound import AudioError, NumberFormat, Samples

SILENCE = 1e-4
"""-80 dBFS, below the noise floor of any recording."""

_FULL = 0.99996  # the highest 16-bit value is 0.99997

_LOUDEST = 1.5  # a file of floats may go a little beyond full scale, as lossy codecs do

_INTEGERS = 100.0  # floats as high as this are in the scale of integers

_SCALES = {16: 2.0**15, 24: 2.0**23, 32: 2.0**31}

_RARE, _MANY = 1e-4, 0.01  # shares of samples beyond full scale: single clicks; a loud file

_NEARLY_FULL = 0.98  # every second of what is noise by mistake reaches it

_CANCELLED = 0.2  # of the power of unrelated channels; two of a correlation below -0.8

_CONSTANT = 1e-4  # share of the power: what rounding leaves of channels that are constant

_OFTEN, _SOMETIMES = 0.2, 0.05  # shares of the seconds in which channels cancel one another

_WHITE, _SMOOTH = 1.5, 0.5  # power of the steps between samples, relative to that of the samples

_SECONDS_TRIED = 8  # at full scale, for swapped bytes

_CLIPPED, _OFFSET = 0.01, 0.01  # that are worth a remark

Sums = NDArray[np.floating[Any]]

Mixture = Literal["mean", "difference"] | int


class Treatment(NamedTuple):
    """What is done to a file's samples before they are stored.

    Attributes:
        swapped: bytes of a sample whose order is to be reversed; 0 for none.
        gain: by which samples are multiplied.
        mixture: how channels become one: their `mean`, half the `difference` of two, or the
            number of one.
        done: the same in words; empty if an ordinary file is mixed to its mean.
        doubts: what isn't certain enough to be mended, in words.
    """

    swapped: int = 0
    gain: float = 1.0
    mixture: Mixture = "mean"
    done: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def is_ordinary(self) -> bool:
        """Whether nothing but the mean of the channels is needed."""
        return not self.done

    @property
    def is_final(self) -> bool:
        """Whether it was chosen from samples in the right order: there is nothing more to see."""
        return self.gain != 1 or self.mixture != "mean"

    def then(self, other: Treatment) -> Treatment:
        """This one, and the other after it."""
        return Treatment(
            self.swapped or other.swapped,
            other.gain,
            other.mixture,
            self.done + other.done,
            self.doubts + other.doubts,
        )

    def apply(self, block: Samples) -> Samples:
        """Bring a block to range."""
        if self.swapped:
            block = _swapped(block, self.swapped)
        if self.gain == 1:
            return block
        return np.asarray(block * np.float32(self.gain), np.float32)

    def mix(self, block: Samples) -> Samples:
        """[samples, channels] → [samples]."""
        if self.mixture == "difference":
            return np.asarray((block[:, 0] - block[:, 1]) / 2, np.float32)
        if isinstance(self.mixture, int):
            return np.ascontiguousarray(block[:, self.mixture])
        if block.shape[1] == 1:
            return block[:, 0]
        if block.shape[1] == 2:  # the same as mean(axis=1), in a fifth of the time
            return np.asarray((block[:, 0] + block[:, 1]) / 2, np.float32)
        return np.asarray(block.mean(axis=1), np.float32)


class Levels:
    """Sums over a file, block by block: memory is flat, and a second fits a core's cache."""

    def __init__(self, rate: int, channels: int, numbers: NumberFormat) -> None:
        self.rate, self.channels, self.numbers = rate, channels, numbers
        self.count = self.full = self.beyond = self.silent = 0
        self.peak = 0.0
        self._sums = np.zeros(channels)
        self._products = np.zeros((channels, channels))
        self._ones = np.ones(rate, np.float32)
        self._sounding = self._cancelling = self._alike = 0
        self._white: list[bool] = []
        self._smooth: list[bool] = []

    @property
    def seconds(self) -> float:
        """Length of the sound so far."""
        return self.count / self.rate

    @property
    def clipped(self) -> float:
        """Share of the samples at full scale or beyond."""
        return self.full / max(1, self.count * self.channels)

    @property
    def silence(self) -> float:
        """Share of the seconds that have no sample above -80 dBFS."""
        return self.silent / max(1, self.count)

    @property
    def offset(self) -> float:
        """Mean of the samples of the channel where it is farthest from 0."""
        return float(max(self._sums / max(1, self.count), key=abs))

    def add(self, block: Samples) -> None:
        """Take in a block [samples, channels].

        Raises:
            AudioError: not all samples are finite numbers.
        """
        for start in range(0, len(block), self.rate):
            self._add(block[start : start + self.rate])

    def _add(self, part: Samples) -> None:
        high, low = float(part.max()), float(part.min())
        if not (math.isfinite(high) and math.isfinite(low)):
            raise AudioError("it holds samples that are no finite numbers")
        peak = max(high, -low)
        self.count += len(part)
        self.peak = max(self.peak, peak)
        if peak < SILENCE:
            self.silent += len(part)
        if peak >= _FULL:
            size = np.abs(part)
            self.full += int(np.count_nonzero(size >= _FULL))
            self.beyond += int(np.count_nonzero(size > 1)) if peak > 1 else 0
        if peak >= _NEARLY_FULL and len(self._white) < _SECONDS_TRIED:
            self._try_swapped(part)
        if peak > _INTEGERS:
            part = part.astype(np.float64)
        sums, products = self._ones[: len(part)] @ part, _products(part)
        self._sums += sums
        self._products += products
        if self.channels > 1:
            self._compare(len(part), sums, products)

    def _compare(self, count: int, sums: Sums, products: Sums) -> None:
        """Whether the channels cancel one another in this part, or are as good as the same."""
        power, common = _powers(count, sums, products)
        if power < max(self.channels * SILENCE**2 / 10, _CONSTANT * np.trace(products) / count):
            return
        self._sounding += count
        if common < _CANCELLED * power:
            self._cancelling += count
        elif self.channels == 2 and 2 * power - common < _CANCELLED * power:
            self._alike += count

    def _try_swapped(self, part: Samples) -> None:
        """Whether a second of full scale is white noise, and music with its bytes swapped."""
        width = _WIDTHS.get(self.numbers, 0)
        self._white.append(bool(width) and _roughness(part) > _WHITE)
        if self._white[-1]:
            self._smooth.append(_roughness(_swapped(part, width)) < _SMOOTH)

    def treatment(self) -> Treatment:
        """What this file needs.

        Raises:
            AudioError: its values are in no scale that is known.
        """
        done: list[str] = []
        doubts: list[str] = []
        noise = bool(self._white) and all(self._white)
        swapped = _WIDTHS[self.numbers] if noise and all(self._smooth) else 0
        if swapped:
            done.append("its bytes were in the wrong order (noise at full scale), and are swapped")
            return Treatment(swapped, done=tuple(done))  # the rest is seen when they are swapped
        if noise and self.silence < 0.5 and not any(self._smooth):
            doubts.append("white noise at full scale: if it isn't meant so, it is no sound")
        gain = self._gain(done, doubts)
        mixture = self._mixture(done, doubts)
        if self.clipped >= _CLIPPED and gain == 1:
            doubts.append(f"clipped: {self.clipped:.1%} of its samples are at full scale")
        if abs(self.offset * gain) >= _OFFSET:
            doubts.append(f"an offset: the mean of its samples is {self.offset * gain:.3f}")
        return Treatment(0, gain, mixture, tuple(done), tuple(doubts))

    def _gain(self, done: list[str], doubts: list[str]) -> float:
        share = self.beyond / max(1, self.count * self.channels)
        too_loud = self.numbers == "float" and (self.peak > _LOUDEST or share >= _MANY)
        if not too_loud and self.peak < _INTEGERS:
            return 1.0
        if share < _RARE:
            doubts.append(f"{self.beyond:,} of its samples, up to {self.peak:,.1f}, are clipped")
            return 1.0
        if self.peak < _INTEGERS:
            done.append(f"its samples go up to {self.peak:.2f}; divided by that, not clipped to 1")
            return 1 / self.peak
        for bits, scale in _SCALES.items():
            if self.peak <= _LOUDEST * scale:
                done.append(
                    f"its samples go up to {self.peak:,.0f}, in the scale of {bits}-bit integers; "
                    f"divided by {scale:,.0f}"
                )
                return 1 / scale
        raise AudioError(
            f"its samples go up to {self.peak:.3g}, the scale of no sound; perhaps its bytes are "
            "in the wrong order"
        )

    def _mixture(self, done: list[str], doubts: list[str]) -> Mixture:
        """The mean, unless what the channels have is lost in it.

        The power of the sum of unrelated channels is the sum of their powers; of two in opposite
        phase it is 0. The whole file is judged, so that all its blocks are mixed in one way: by
        its power, and by the seconds in which less than a fifth of the power is left.
        """
        if self.channels == 1 or not self._sounding:
            return "mean"
        power, common = _powers(self.count, self._sums, self._products)
        share = self._cancelling / self._sounding
        if common >= _CANCELLED * power and share < _OFTEN:
            if share >= _SOMETIMES:
                doubts.append(f"its channels cancel one another in {share:.0%} of the seconds")
            return "mean"
        if self.channels == 2 and self._alike < _SOMETIMES * self._sounding:
            done.append("its two channels are in opposite phase; half their difference is stored")
            return "difference"
        powers = np.diag(self._products)
        loudest = int(np.argmax(powers >= powers.max() * (1 - 1e-6)))  # rounding doesn't decide
        done.append(
            f"its channels cancel one another; number {loudest + 1}, the loudest, is stored alone"
        )
        return loudest


def _products(part: NDArray[np.float32] | NDArray[np.float64]) -> Sums:
    """Sums of the products of channels: [channels, channels].

    >>> _products(np.array([[1, 2], [3, -1]], np.float32)).tolist()
    [[10.0, -1.0], [-1.0, 5.0]]
    """
    if part.shape[1] != 2:
        return np.asarray(part.T @ part)
    # Two channels as complex numbers: a product of such narrow matrices takes six times as long.
    kind = np.complex64 if part.dtype == np.float32 else np.complex128
    pairs: NDArray[Any] = np.ascontiguousarray(part).view(kind)[:, 0]
    both, difference = float(np.vdot(pairs, pairs).real), complex(np.dot(pairs, pairs))
    first, second = (both + difference.real) / 2, (both - difference.real) / 2
    return np.array([[first, difference.imag / 2], [difference.imag / 2, second]])


def _powers(count: int, sums: Sums, products: Sums) -> tuple[float, float]:
    """Power of all channels together, and of their sum, both without their offsets."""
    covariance = products / count - np.outer(sums, sums) / count**2
    return float(np.trace(covariance)), float(covariance.sum())


_WIDTHS: dict[NumberFormat, int] = {"pcm16": 2, "pcm24": 3}


def _roughness(part: Samples) -> float:
    """Power of the steps from sample to sample, relative to that of the samples; 2 for noise."""
    power = float(np.square(part).sum())
    return float(np.square(np.diff(part, axis=0)).sum()) / power if power else 0.0


def _swapped(block: Samples, width: int) -> Samples:
    """The samples with their 2 or 3 bytes in the opposite order."""
    whole = np.rint(block.astype(np.float64) * 2.0**31).clip(-(2**31), 2**31 - 1)
    # The bytes lie at the upper end of 32 bits, and at the lower end when they are reversed.
    reversed_bytes = whole.astype(np.int32).byteswap() << (32 - 8 * width)
    return reversed_bytes.astype(np.float32) / np.float32(2.0**31)
