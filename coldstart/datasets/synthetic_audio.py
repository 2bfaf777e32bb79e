"""Renders one track of the demo's catalogue: from latent traits to a real waveform.

Every audible trait moves one property of the sound in one direction. All other choices (key,
chords, motif, length, ...) come from the track's own random stream, whose draws don't depend on the
traits: changing one trait leaves the rest of the piece as it was. Nothing heavy is imported here,
since worker processes must start fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from coldstart.files import atomic

Wave = NDArray[np.float32]

SAMPLE_RATE = 22_050  # Hz

SHORTEST, LONGEST = 12.0, 60.0  # s

STEPS = 64  # a motif: four bars of sixteenths

AUDIO_STREAM = 3  # keeps a track's random stream apart from those that made the world

MODES = (  # by darkness, in semitones above the root: each flattens one more note
    (0, 2, 4, 5, 7, 9, 11),
    (0, 2, 4, 5, 7, 9, 10),
    (0, 2, 3, 5, 7, 9, 10),
    (0, 2, 3, 5, 7, 8, 10),
    (0, 1, 3, 5, 7, 8, 10),
)


# Primary chords only: the modes share their other triads, so these are what tells them apart.
PROGRESSIONS = ((0, 3, 4, 0), (0, 4, 3, 0), (0, 3, 0, 4), (0, 0, 3, 4), (0, 4, 0, 3), (3, 4, 0, 0))


GROOVES = (  # kick, snare: one bar of sixteenths
    ("x...x...x...x...", "....x.......x..."),
    ("x.....x.x.......", "....x.......x..."),
    ("x..x......x..x..", "....x..x.x..x..."),
    ("x.......x.x.....", "....x.......x..x"),
    ("x.........x.....", "........x......."),
)


STRESS = np.tile([1.0, 0.3, 0.7, 0.4], STEPS // 4)  # how readily a step within a beat gets a note


TABLE = 2048  # samples in one period of an instrument's wave


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def _note(
    midi: int, decay: float, attack: float, rolloff: float, colour: Wave, vibrato: float
) -> Wave:
    """One note [samples]: a band-limited period read at the note's pitch, under an envelope."""
    pitch = 440.0 * 2 ** ((midi - 69) / 12)
    harmonics = np.arange(1, min(len(colour), int(9_500 / pitch)) + 1)
    spectrum = np.zeros(TABLE // 2 + 1, np.complex64)
    spectrum[harmonics] = -1j * colour[: len(harmonics)] * harmonics ** np.float32(-rolloff)
    period = np.fft.irfft(spectrum).astype(np.float32)
    period /= np.sqrt(np.mean(period**2))
    t = np.arange(int(min(attack + 3 * decay, 2.0) * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    turns = pitch * t - pitch * vibrato * np.cos(np.float32(2 * np.pi * 5.5) * t)
    wave: Wave = period[(turns * TABLE).astype(np.int32) & (TABLE - 1)]
    wave *= np.minimum(t / np.float32(attack), 1) * np.exp(t * np.float32(-1 / decay))
    wave[-220:] *= np.linspace(1, 0, 220, dtype=np.float32)  # 10 ms, or the end would click
    return wave


def _drums(rng: np.random.Generator) -> tuple[Wave, Wave, Wave]:
    """Kick, snare and hat [samples each], the same whatever the traits are."""
    t = np.arange(SAMPLE_RATE // 4, dtype=np.float32) / SAMPLE_RATE
    noise = rng.standard_normal((2, len(t)), dtype=np.float32)
    kick = np.sin(2 * np.pi * (55 * t + 4 * (1 - np.exp(-25 * t)))) * np.exp(-14 * t)
    snare = (0.5 * noise[0] + np.sin(2 * np.pi * 190 * t)) * np.exp(-22 * t)
    hat = np.diff(noise[1], prepend=np.float32(0)) * np.exp(-70 * t)
    return kick, 0.6 * snare, 0.25 * hat


def _place(
    buffer: Wave, sound: Wave, starts: NDArray[np.int64], gains: NDArray[np.float64]
) -> None:
    """Add `sound` to `buffer` [samples] at every start (samples), cut at the buffer's end."""
    for start, gain in zip(starts.tolist(), gains.tolist(), strict=True):
        part = buffer[start : start + len(sound)]
        part += np.float32(gain) * sound[: len(part)]


def render(traits: Mapping[str, float], *, seed: int, index: int) -> Wave:
    """The track's waveform.

    Args:
        traits: value of every audible trait by name, about standard normal (read within +-2.5);
            other entries, such as the traits that nobody can hear, are ignored.
        seed: the catalogue's seed, 0 or more.
        index: the track's row in the catalogue, 0 or more.

    Returns:
        Mono samples [n] at 22,050 Hz, 12 to 60 s long, with a peak of -3 to -1 dBFS.

    Raises:
        KeyError: an audible trait is missing.

    >>> flat = dict.fromkeys(("tempo", "darkness", "brightness", "density", "drums", "swing",
    ...                       "register", "distortion", "sustain", "loudness"), 0.0)
    >>> wave = render(flat, seed=0, index=1)
    >>> 12 <= len(wave) / SAMPLE_RATE <= 60, bool(0.7 < abs(wave).max() < 0.9)
    (True, True)
    """
    rng = np.random.default_rng([seed, AUDIO_STREAM, index])
    z = {name: float(np.clip(value, -2.5, 2.5)) for name, value in traits.items()}

    # What the traits don't decide.
    length = int((SHORTEST + (LONGEST - SHORTEST) * rng.beta(2.0, 1.4)) * SAMPLE_RATE)
    chords = np.repeat(PROGRESSIONS[rng.integers(len(PROGRESSIONS))], STEPS // 4)
    groove = GROOVES[rng.integers(len(GROOVES))]
    colour = rng.uniform(0.6, 1.0, 40).astype(np.float32)  # harmonic by harmonic
    colour[1::2] *= np.float32(rng.uniform(0.1, 1.0))  # from hollow to full
    vibrato, key_shift = float(rng.uniform(0, 8e-5)), float(rng.uniform(-2, 2))
    walk = np.clip(np.cumsum(rng.integers(-2, 3, (2, STEPS)), axis=1), -4, 7)  # two motifs
    chance = rng.random((4, 2, STEPS))  # melody, chords, bass, hats; by motif
    form = rng.permutation([0, 0, 0, 1])  # which motif each section plays
    section_gain = rng.uniform(0.7, 1.0, 32)
    kick, snare, hat = _drums(rng)

    # Time: sixteenths, the off-beats late by as much as the swing says.
    beat = 60 / (108 * 2 ** (0.3 * z["tempo"]))
    swing = 0.5 + 0.2 * _sigmoid(1.5 * z["swing"] - 1)
    step = np.arange(int(length / SAMPLE_RATE / beat * 4) + 1)
    delay = np.array([0.0, swing / 2, swing, (1 + swing) / 2])[step % 4]
    start = ((step // 4 + delay) * beat * SAMPLE_RATE).astype(np.int64)
    inside = start < length - 1000
    step, start = step[inside], start[inside]
    section, place = step // STEPS, step % STEPS
    motif = form[section % len(form)]
    gain = section_gain[section % len(section_gain)] * np.where(step % 4 == 0, 1.0, 0.75)

    # Pitch: scale degrees over a root, all kept between A1 (55 Hz) and A6 (1760 Hz).
    mode = np.floor(z["darkness"] + len(MODES) / 2)
    scale = np.array(MODES[int(np.clip(mode, 0, len(MODES) - 1))])
    root = round(57 + 7 * z["register"] + key_shift)

    def pitches(degrees: NDArray[np.int64], octave: int) -> NDArray[np.int64]:
        midi = root + 12 * (octave + degrees // 7) + scale[degrees % 7]
        midi = np.where(midi < 33, 33 + (midi - 33) % 12, midi)
        return np.asarray(np.where(midi > 93, 93 - (93 - midi) % 12, midi))

    density = 1.4 * _sigmoid(1.1 * z["density"] - 0.5)
    plays = chance[:, motif, place] < np.minimum(density * STRESS[place], 1)
    plays[1:3] = (plays[1:3] & (step % 2 == 0)) | (step % 16 == 0)
    parts = [(plays[0], walk[motif, place] // 2 * 2 + chords[place] % 7, 1, 1.0)]
    parts += [(plays[1], chords[place] + third, 0, 0.6) for third in (0, 2, 4)]
    parts += [(plays[2], chords[place], -1, 0.9)]

    decay = 0.35 * 2 ** (1.0 * z["sustain"])
    attack = 0.02 * 2 ** (1.2 * z["sustain"])
    rolloff = 1.9 - 0.5 * z["brightness"]
    music = np.zeros(length, np.float32)
    notes: dict[int, Wave] = {}
    for sounding, degrees, octave, level in parts:
        midi = pitches(degrees, octave)
        for pitch in np.unique(midi[sounding]).tolist():
            if pitch not in notes:  # each distinct note is made once, then copied
                notes[pitch] = _note(pitch, decay, attack, rolloff, colour, vibrato)
            where = sounding & (midi == pitch)
            _place(music, notes[pitch], start[where], level * gain[where])
    music /= np.sqrt(np.mean(music**2)) + np.float32(1e-9)
    drive = np.float32(0.5 * 2 ** (1.3 * z["distortion"]))
    music = np.tanh(drive * music)
    music /= np.sqrt(np.mean(music**2)) + np.float32(1e-9)

    # Drums get louder, and their hats busier.
    rhythm = np.zeros(length, np.float32)
    hats = (step % 4 == 0) | (chance[3, motif, place] < _sigmoid(1.2 * z["drums"]))
    hits = [np.array([mark == "x" for mark in line])[step % 16] for line in groove] + [hats]
    for sound, sounding in zip((kick, snare, hat), hits, strict=True):
        _place(rhythm, sound, start[sounding], gain[sounding])
    music += np.float32(1.6 * _sigmoid(1.4 * z["drums"] - 0.5)) * rhythm

    # A limiter: the harder it is driven, the higher the level under the same peak.
    music /= np.abs(music).max()
    music = np.tanh(np.float32(2 ** (0.8 * z["loudness"] - 0.4)) * music)
    peak_db = -2 + 0.4 * z["loudness"]
    return np.asarray(music * (10 ** (peak_db / 20) / np.abs(music).max()), np.float32)


def render_file(job: tuple[Path, Mapping[str, float], int, int]) -> None:
    """Render job (path, traits, seed, index) to a FLAC, whole or not at all."""
    path, traits, seed, index = job
    with atomic(path) as temporary:
        sf.write(temporary, render(traits, seed=seed, index=index), SAMPLE_RATE, "PCM_16")
