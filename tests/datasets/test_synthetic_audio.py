"""Invented sound: every trait is heard, and moves its measure."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile as sf
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.stats import spearmanr

from coldstart.datasets.synthetic_audio import SAMPLE_RATE, render, render_file
from coldstart.datasets.synthetic_world import TRAITS

NAMES = [trait.name for trait in TRAITS]
AUDIBLE = [trait.name for trait in TRAITS if trait.audible]
Wave = NDArray[np.float32]


def truth(folder: Path) -> dict[str, NDArray[np.float32]]:
    return load_file(folder / "truth.safetensors")


def spectrum(wave: Wave) -> NDArray[np.float32]:
    """Magnitudes [frames, 513] of windows of 1024 samples, every 512."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, 1024)[::512]
    return np.abs(np.fft.rfft(frames * np.hanning(1024).astype(np.float32), axis=1))


def centroid(wave: Wave) -> float:
    magnitudes = spectrum(wave)
    return float((magnitudes @ np.arange(513)).sum() / magnitudes.sum())


def onsets(wave: Wave) -> float:
    return float(np.maximum(np.diff(np.log1p(10 * spectrum(wave)), axis=0), 0).mean())


def hats(wave: Wave) -> float:
    """Share of what sounds above the notes' highest harmonic, 9.5 kHz."""
    magnitudes = spectrum(wave)
    return float(magnitudes[:, 450:].sum() / magnitudes.sum())


def level(wave: Wave) -> float:
    return float(np.mean(wave**2))


def flatness(wave: Wave) -> float:
    magnitudes = spectrum(wave) + 1e-6
    return float(np.exp(np.log(magnitudes).mean(1)).sum() / magnitudes.mean(1).sum())


def slowness(wave: Wave) -> float:
    """How alike neighbouring frames are."""
    power = np.log1p(10 * spectrum(wave))
    return -float(np.abs(np.diff(power, axis=0)).mean() / power.mean())


@pytest.mark.parametrize(
    ("trait", "measure"),
    [
        ("tempo", onsets),
        ("brightness", centroid),
        ("density", onsets),
        ("drums", onsets),
        ("register", centroid),
        ("distortion", flatness),
        ("sustain", slowness),
        ("loudness", level),
    ],
)
def test_a_trait_moves_its_measure_in_one_direction(
    trait: str, measure: Callable[[Wave], float]
) -> None:
    curves = []
    for index in range(4):
        traits = dict.fromkeys(AUDIBLE, 0.0)
        curve = [
            measure(render({**traits, trait: value}, seed=0, index=index)[: 12 * SAMPLE_RATE])
            for value in (-2.0, 0.0, 2.0)
        ]
        curves.append(curve)
    assert (np.diff(np.mean(curves, axis=0)) > 0).all(), np.mean(curves, axis=0)


@pytest.mark.parametrize("trait", AUDIBLE)
def test_every_audible_trait_changes_the_sound(trait: str) -> None:
    traits = dict.fromkeys(AUDIBLE, 0.0)
    low, high = (render({**traits, trait: z}, seed=0, index=1) for z in (-1.0, 1.0))
    assert low.shape == high.shape  # the length isn't a trait's
    assert not np.array_equal(low, high)


def test_swing_delays_the_off_beats() -> None:
    def half_beat_likeness(swing: float, index: int) -> float:
        traits = {**dict.fromkeys(AUDIBLE, 0.0), "drums": 2.0, "sustain": -2.0, "swing": swing}
        wave = render(traits, seed=0, index=index)
        envelope = np.abs(wave[: len(wave) // 256 * 256]).reshape(-1, 256).mean(1)
        rise = np.maximum(np.diff(envelope), 0)
        rise -= rise.mean()
        lag = round(60 / 108 / 2 * SAMPLE_RATE / 256)
        return float((rise[lag:] * rise[:-lag]).sum() / (rise**2).sum())

    likeness = [np.mean([half_beat_likeness(z, i) for i in range(4)]) for z in (-2.0, 2.0)]
    assert likeness[1] < likeness[0]


def test_traits_can_be_recovered_from_a_catalogues_audio(small: Path) -> None:
    traits = truth(small)["traits"]
    paths = pl.read_parquet(small / "tracks.parquet")["audio"]
    length = 12 * SAMPLE_RATE
    sounds = [sf.read(small / path, dtype="float32", frames=length)[0] for path in paths]
    waves = [np.asarray(sound, np.float32) for sound in sounds]
    for trait, measure in (("brightness", centroid), ("drums", hats), ("loudness", level)):
        found = spearmanr([measure(wave) for wave in waves], traits[:, NAMES.index(trait)])
        assert found.statistic > 0.3, trait


def test_what_cannot_be_heard_leaves_the_waveform_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    audible = dict(zip(AUDIBLE, rng.normal(size=len(AUDIBLE)), strict=True))
    for name in ("low", "high"):
        hidden = {trait: -2.0 if name == "low" else 2.0 for trait in NAMES if trait not in AUDIBLE}
        render_file((tmp_path / f"{name}.flac", {**audible, **hidden}, 0, 5))
    low, high = ((tmp_path / f"{name}.flac").read_bytes() for name in ("low", "high"))
    assert low == high
