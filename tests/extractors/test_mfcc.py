"""MFCC statistics of sound whose answer is known."""

import numpy as np
import scipy.fft
import torch
from nnAudio.utils import get_mel
from numpy.typing import NDArray

from coldstart.extractors.base import Features, features_of
from coldstart.extractors.mfcc import MFCC
from coldstart.testing import ExtractorContract

RATE = MFCC.rate
Wave = NDArray[np.float32]


class TestMFCC(ExtractorContract):
    def extractor(self) -> MFCC:
        return MFCC()


def harmonics(seconds: float, pitch: float, slope: float) -> Wave:
    """A tone whose harmonics fall by a power: the timbre, whatever the pitch."""
    at = np.arange(int(seconds * RATE)) / RATE
    numbers = np.arange(1, int(10_000 / pitch))[:, None]
    wave = (np.sin(2 * np.pi * pitch * numbers * at) / numbers**slope).sum(0)
    found: Wave = (0.5 * wave / np.abs(wave).max()).astype(np.float32)
    return found


def vector(wave: Wave) -> Wave:
    extractor = MFCC()
    track: Features = extractor.track(features_of(extractor, [wave]))
    assert track.tags.shape == (1, 0)
    return np.asarray(track.vectors[0])


def test_it_is_the_cosine_transform_of_the_mel_spectrum() -> None:
    """By another FFT, another mel basis and another cosine transform."""
    wave = np.random.default_rng(0).normal(0, 0.1, MFCC.window).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(wave, 2048)[::512]
    window = scipy.signal.get_window("hann", 2048)
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    basis = get_mel(RATE, 2048, 128, 0.0, RATE / 2, htk=True, norm=None)
    cepstrum = scipy.fft.dct(10 * np.log10(power @ basis.T), norm="ortho")[:, :20]
    found = vector(wave)
    assert len(found) == 80
    np.testing.assert_allclose(found[:20], cepstrum.mean(0), atol=0.05)
    np.testing.assert_allclose(found[40:60], cepstrum.std(0), atol=0.05)


def test_timbre_is_nearer_than_pitch() -> None:
    waves = [(220, 1.0), (330, 1.0), (220, 2.5), (330, 2.5)]
    bright, bright_higher, dull, dull_higher = (vector(harmonics(6, *each)) for each in waves)
    assert np.linalg.norm(bright - bright_higher) < np.linalg.norm(bright - dull)
    assert np.linalg.norm(dull - dull_higher) < np.linalg.norm(dull - bright)


def test_a_track_of_two_halves_spreads_as_they_differ() -> None:
    seconds = 4 * MFCC.window / RATE
    one, other = harmonics(seconds, 220, 1.0), harmonics(seconds, 220, 2.5)
    means = np.array([vector(wave)[:20] for wave in (one, other)])
    both = vector(np.concatenate([one, other]))
    np.testing.assert_allclose(both[:20], means.mean(0), rtol=0.02, atol=0.5)
    first = np.abs(means[0] - means[1])[:1] / 2
    np.testing.assert_allclose(both[40:41], first, rtol=0.1)


def test_a_window_does_not_depend_on_the_others_of_its_batch() -> None:
    quiet = torch.randn(1, MFCC.window) * 1e-4
    loud = torch.rand(1, MFCC.window)
    extractor = MFCC()
    alone, beside = extractor.hear(quiet), extractor.hear(torch.cat([loud, quiet]))
    assert torch.allclose(alone.vectors[0], beside.vectors[1], atol=1e-3)


def test_silence_between_sounds_gives_finite_numbers() -> None:
    wave = np.concatenate([np.zeros(RATE * 5, np.float32), harmonics(5, 220, 1.0)])
    assert np.isfinite(vector(wave)).all()
