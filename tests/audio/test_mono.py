"""What is done to files that are not ordinary, and that ordinary ones stay as they are."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from coldstart.audio.codec import AudioError, blocks, flac_of, to_flac
from coldstart.audio.levels import Treatment
from coldstart.audio.mono import Finding
from coldstart.audio.storage import content_and_finding, content_of, store_facts

RATE = 22_050
Wave = np.ndarray[Any, Any]


def sine(seconds: float = 3, hz: float = 440, height: float = 0.5) -> Wave:
    return height * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)


def sides(*channels: Wave) -> Wave:
    return np.stack(channels, 1)


def found(path: Path, wave: Wave, subtype: str = "PCM_16") -> tuple[Wave, Finding]:
    """Write a file; what is stored of it, and what was found."""
    soundfile.write(path, wave, RATE, subtype=subtype)
    flac, finding = flac_of(path, RATE)
    return np.asarray(soundfile.read(io.BytesIO(flac), dtype="int16")[0]), finding


def pitch(wave: Wave) -> float:
    return float(np.abs(np.fft.rfft(wave * np.hanning(len(wave)))).argmax() * RATE / len(wave))


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("file_rate", [RATE, 44_100])
def test_ordinary_sound_is_stored_as_the_mean_of_its_channels(
    tmp_path: Path, channels: int, file_rate: int
) -> None:
    """Byte by byte as a plain mean, resampled and clipped."""
    wave = np.random.default_rng(0).normal(0, 0.1, (3 * file_rate, channels)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wave, file_rate)
    read = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)[0]
    mean = soxr.resample(read.mean(axis=1), file_rate, RATE) if file_rate != RATE else read.mean(1)
    expected = io.BytesIO()
    soundfile.write(expected, np.clip(mean, -1, 1), RATE, format="FLAC", subtype="PCM_16")
    flac, finding = flac_of(tmp_path / "a.wav", RATE)
    stored = soundfile.read(io.BytesIO(flac), dtype="int16")[0].astype(int)
    ours = soundfile.read(io.BytesIO(expected.getvalue()), dtype="int16")[0].astype(int)
    assert len(stored) == len(ours)
    assert np.abs(stored - ours).max() <= (0 if file_rate == RATE else 1)
    assert (finding.done, finding.doubts) == ("", "")
    assert (finding.seconds, finding.rate, finding.channels) == (3.0, file_rate, channels)


def test_opposite_phase_is_not_silence(tmp_path: Path) -> None:
    wave = sine()
    stored, finding = found(tmp_path / "a.wav", sides(wave, -wave))
    mono, _ = found(tmp_path / "b.wav", wave)
    assert np.abs(stored.astype(int) - mono).max() <= 1
    assert "opposite phase" in finding.done
    both = np.concatenate(list(blocks(tmp_path / "a.wav", RATE)))
    assert np.abs(both).max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("correlation", [0.9, 0.0, -0.5])
def test_wide_stereo_is_mixed_as_ever(tmp_path: Path, correlation: float) -> None:
    generator = np.random.default_rng(0)
    left, other = generator.normal(0, 0.1, (2, 3 * RATE))
    right = correlation * left + np.sqrt(1 - correlation**2) * other
    stored, finding = found(tmp_path / "a.wav", sides(left, right))
    assert finding.text == ""
    whole = np.asarray(soundfile.read(tmp_path / "a.wav", dtype="float32")[0])
    soundfile.write(tmp_path / "b.flac", whole.mean(1), RATE, subtype="PCM_16")
    np.testing.assert_array_equal(stored, soundfile.read(tmp_path / "b.flac", dtype="int16")[0])


def test_a_file_is_mixed_in_one_way(tmp_path: Path) -> None:
    """What is in phase first and in opposite phase later would cancel in sum or difference."""
    same, opposite = sides(sine(25), sine(25)), sides(sine(60), -sine(60))
    stored, finding = found(tmp_path / "a.wav", np.concatenate([same, opposite]))
    assert "number 1, the loudest, is stored alone" in finding.done
    seconds = np.abs(stored[: 85 * RATE].reshape(85, RATE).astype(int)).max(1)
    assert (seconds > 16_000).all()
    few = np.concatenate([sides(sine(90), sine(90)), opposite[: 10 * RATE]])
    _, finding = found(tmp_path / "b.wav", few)
    assert finding.done == ""
    assert "cancel one another in 10% of the seconds" in finding.doubts


def test_more_channels_that_cancel_leave_the_loudest(tmp_path: Path) -> None:
    wave = sine()
    stored, finding = found(tmp_path / "a.wav", sides(wave, -wave, wave, -1.2 * wave, 0 * wave))
    assert "number 4, the loudest" in finding.done
    assert np.abs(stored.astype(int)).max() == pytest.approx(0.6 * 32767, abs=2)


@pytest.mark.parametrize(("bits", "subtype"), [(16, "FLOAT"), (24, "DOUBLE"), (32, "DOUBLE")])
@pytest.mark.parametrize("channels", [1, 2])
def test_floats_in_the_scale_of_integers_are_brought_to_range(
    tmp_path: Path, bits: int, subtype: str, channels: int
) -> None:
    integers = np.rint(9000 * sine(height=1)).astype(np.int16)
    several = np.repeat(integers[:, None], channels, 1)
    expected, _ = found(tmp_path / "a.wav", several)
    floats = several.astype(np.float64) * 2.0 ** (bits - 16)
    stored, finding = found(tmp_path / "b.wav", floats, subtype)
    np.testing.assert_array_equal(stored, expected)
    assert f"in the scale of {bits}-bit integers" in finding.done
    assert finding.peak == pytest.approx(9000 * 2.0 ** (bits - 16))
    assert finding.clipped == 0


def test_floats_beyond_full_scale_are_not_clipped(tmp_path: Path) -> None:
    for height in (1.3, 5.0, 60.0):
        stored, finding = found(tmp_path / "a.wav", sine(height=height), "FLOAT")
        np.testing.assert_allclose(stored / 32767, sine(height=1), atol=1e-4)
        assert "divided by that" in finding.done
    with pytest.raises(AudioError, match="the scale of no sound"):
        found(tmp_path / "a.wav", sine(height=1e37), "FLOAT")


def test_single_clicks_beyond_full_scale_are_clipped(tmp_path: Path) -> None:
    wave = sine()
    wave[1000] = 40
    stored, finding = found(tmp_path / "a.wav", wave, "FLOAT")
    assert finding.done == ""
    assert "1 of its samples, up to 40.0, are clipped" in finding.doubts
    assert np.abs(stored.astype(int)[2000:]).max() == pytest.approx(0.5 * 32767, abs=2)


@pytest.mark.parametrize("channels", [1, 2])
def test_swapped_bytes_are_put_in_order(tmp_path: Path, channels: int) -> None:
    music = np.rint(9000 * (sine(height=0.6) + sine(hz=1500, height=0.4))).astype(np.int16)
    integers = np.repeat(music[:, None], channels, 1)
    expected, _ = found(tmp_path / "a.wav", integers)
    stored, finding = found(tmp_path / "b.wav", integers.byteswap())
    np.testing.assert_array_equal(stored, expected)
    assert "bytes were in the wrong order" in finding.done


def test_swapped_24_bits_in_opposite_phase_are_mended_twice(tmp_path: Path) -> None:
    whole = np.rint(2e6 * sine(height=1)).astype(np.int32)
    soundfile.write(tmp_path / "a.wav", sides(whole, -whole) << 8, RATE, subtype="PCM_24")
    content = bytearray((tmp_path / "a.wav").read_bytes())
    start = content.index(b"data") + 8
    samples = np.frombuffer(bytes(content[start : start + 6 * len(whole)]), np.uint8)
    content[start : start + 6 * len(whole)] = samples.reshape(-1, 3)[:, ::-1].tobytes()
    (tmp_path / "a.wav").write_bytes(content)
    flac, finding = flac_of(tmp_path / "a.wav", RATE)
    wave = np.asarray(soundfile.read(io.BytesIO(flac))[0])
    np.testing.assert_allclose(wave, sine(height=2e6 / 2**23), atol=1e-4)
    assert "wrong order" in finding.done
    assert "opposite phase" in finding.done


def test_noise_clipping_offset_and_silence_are_said_and_kept(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, 3 * RATE)
    _, finding = found(tmp_path / "a.wav", noise)
    assert (finding.done, "white noise" in finding.doubts) == ("", True)
    _, finding = found(tmp_path / "a.wav", np.clip(sine(height=3), -1, 1))
    assert finding.done == ""
    assert "clipped: 78" in finding.doubts
    assert finding.clipped == pytest.approx(0.784, abs=0.01)
    _, finding = found(tmp_path / "a.wav", 0.5 * sine() + 0.2)
    assert "an offset" in finding.doubts
    assert finding.offset == pytest.approx(0.2, abs=1e-3)
    _, finding = found(tmp_path / "a.wav", np.concatenate([sine(), 0 * sine()]))
    assert (finding.text, finding.silent) == ("", 0.5)
    music = np.random.default_rng(0).normal(0, 0.2, 3 * RATE)  # loud, but no full scale
    assert found(tmp_path / "a.wav", music.clip(-0.9, 0.9))[1].text == ""


def test_silence_in_opposite_phase_is_silence(tmp_path: Path) -> None:
    for wave in (0 * sine(), 1e-5 * sine()):
        with pytest.raises(AudioError, match="silent"):
            found(tmp_path / "a.wav", sides(wave, -wave), "FLOAT")


def test_spectrograms_are_made_of_what_was_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    facts = store_facts("mel", RATE, 1024, 32, 32.7, 8)
    soundfile.write(tmp_path / "a.wav", sine(), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", 9000 * sides(sine(), -sine()), RATE, subtype="FLOAT")
    plain = content_of(tmp_path / "a.wav", facts)
    assert caplog.text == ""
    mended, finding = content_and_finding(tmp_path / "b.wav", facts)
    assert "opposite phase" in finding.done
    levels = [np.frombuffer(content[128:], np.uint8).astype(int) for content in (plain, mended)]
    loud = levels[0] > 255 - 2 * 50
    assert loud.any()
    assert np.abs(levels[0] - levels[1])[loud].max() <= 1
    content_of(tmp_path / "b.wav", facts)
    assert "b.wav: its samples go up to 4,500" in caplog.text


def test_memory_is_flat(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sides(sine(90), -sine(90)), RATE)
    assert max(map(len, blocks(tmp_path / "a.wav", RATE))) <= 20 * RATE + 1


def test_a_wav_by_the_name_of_raw_is_read_by_its_content(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(), RATE)
    expected = to_flac(tmp_path / "a.wav")
    for name in ("a.raw", "a.vox", "a.mp3", "a.txt", "a"):
        (tmp_path / "a.wav").replace(tmp_path / name)
        assert to_flac(tmp_path / name) == expected
        (tmp_path / name).replace(tmp_path / "a.wav")
    (tmp_path / "b.vox").write_bytes(np.random.default_rng(0).bytes(40_000))
    with pytest.raises(AudioError, match="not audio"):
        to_flac(tmp_path / "b.vox")


def test_a_wav_of_more_than_its_header_can_count_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(), RATE)
    os.truncate(tmp_path / "a.wav", (1 << 32) + 200_000)  # as much as the header says, and 4 GiB
    with pytest.raises(AudioError, match="4 GiB more than its header says"):
        to_flac(tmp_path / "a.wav")


def test_an_ordinary_treatment_does_nothing() -> None:
    block = np.ones((3, 1), np.float32)
    assert Treatment().is_ordinary
    assert Treatment().apply(block) is block
