import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
from helpers import noise_flac
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from coldstart.audio.codec import AudioError, blocks, length, to_flac, window
from coldstart.commands.shard import shard
from coldstart.encoders.patches import PatchReader, waveform
from coldstart.errors import InputError
from coldstart.shards.reading import Shards
from coldstart.shards.writing import write_tar

Wave = NDArray[np.float32]
ENDINGS = ["wav", "flac", "ogg", "mp3"]


def sine(seconds: float, rate: int, hz: float = 440.0, channels: int = 1) -> Wave:
    wave = 0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)
    return np.repeat(wave[:, None].astype(np.float32), channels, axis=1)


def decoded(flac: bytes) -> tuple[Wave, int]:
    wave, rate = soundfile.read(io.BytesIO(flac), dtype="float32")
    return np.asarray(wave, np.float32), rate


def frequency(wave: Wave, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return float(spectrum.argmax() * rate / len(wave))


def heard(flac: bytes | memoryview, start: int, size: int) -> NDArray[np.int16]:
    out = np.empty(size, np.int16)
    window(flac, start, out)
    return out


def whole(flac: bytes) -> NDArray[np.int16]:
    return np.asarray(soundfile.read(io.BytesIO(flac), dtype="int16")[0])


def broken_files(folder: Path) -> dict[str, str]:
    """Write files that are no usable audio; give the reason that each should get."""
    reasons = {"missing.wav": "no such file", "empty.mp3": "the file is empty"}
    (folder / "empty.mp3").write_bytes(b"")
    (folder / "text.mp3").write_text("this is no music\n" * 1000)
    (folder / "random.flac").write_bytes(np.random.default_rng(0).bytes(50_000))
    for name in ("text.mp3", "random.flac"):
        reasons[name] = "not audio that can be decoded"
    for ending in ENDINGS:
        whole = folder / f"whole.{ending}"
        soundfile.write(whole, sine(10, 22_050), 22_050)
        content = whole.read_bytes()
        if ending != "ogg":  # a shorter Ogg stream is a whole one
            (folder / f"half.{ending}").write_bytes(content[: len(content) // 2])
            reasons[f"half.{ending}"] = "truncated: |not audio that can be decoded|damaged: "
        (folder / f"stub.{ending}").write_bytes(content[:40])
        reasons[f"stub.{ending}"] = "not audio that can be decoded|only 0"
    soundfile.write(folder / "silent.wav", np.zeros(30_000), 8000)
    reasons["silent.wav"] = "silent"
    soundfile.write(folder / "short.wav", sine(0.1, 8000), 8000)
    reasons["short.wav"] = r"only 0\.10 s long"
    wave = sine(3, 8000)
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        wave[1000] = value
        soundfile.write(folder / f"{name}.wav", wave, 8000, subtype="FLOAT")
        reasons[f"{name}.wav"] = "no finite numbers"
    return reasons


def test_what_cannot_be_used_gets_a_reason_without_the_path(tmp_path: Path) -> None:
    for name, reason in broken_files(tmp_path).items():
        with pytest.raises(AudioError, match=reason) as error:
            to_flac(tmp_path / name)
        assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize(
    ("ending", "rate", "channels", "seconds"),
    [
        ("wav", 8000, 1, 3.0),
        ("wav", 96_000, 2, 3.0),
        ("wav", 22_050, 1, 0.5),
        ("wav", 11_025, 6, 1.0),
        ("flac", 44_100, 2, 41.5),
        ("flac", 22_050, 2, 20.0),
        ("ogg", 48_000, 1, 3.0),
        ("mp3", 44_100, 2, 10.0),
        ("mp3", 16_000, 1, 25.0),
    ],
)
@pytest.mark.parametrize("out_rate", [22_050, 16_000])
def test_any_file_becomes_mono_at_one_rate_and_sounds_the_same(
    tmp_path: Path, ending: str, rate: int, channels: int, seconds: float, out_rate: int
) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, sine(seconds, rate, channels=channels), rate)
    wave, got_rate = decoded(to_flac(path, out_rate))
    assert got_rate == out_rate
    assert wave.ndim == 1
    assert abs(len(wave) - seconds * out_rate) <= 1
    assert frequency(wave, out_rate) == pytest.approx(440, abs=1.5 / seconds)
    middle = wave[len(wave) // 4 : -len(wave) // 4]
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.03)


def test_stereo_is_averaged_and_too_loud_is_clipped(tmp_path: Path) -> None:
    sides = np.stack([np.full(22_050, 0.5), np.full(22_050, -0.1)], axis=1)
    soundfile.write(tmp_path / "a.wav", sides, 22_050, subtype="FLOAT")
    wave, _ = decoded(to_flac(tmp_path / "a.wav"))
    np.testing.assert_allclose(wave, 0.2, atol=1e-4)
    soundfile.write(tmp_path / "b.wav", 10 * sine(1, 22_050), 22_050, subtype="FLOAT")
    wave, _ = decoded(to_flac(tmp_path / "b.wav"))
    assert np.abs(wave).max() <= 1
    assert frequency(wave, 22_050) == pytest.approx(440, abs=1)


def test_a_long_file_is_decoded_in_blocks_without_seams(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(70, 48_000), 48_000, subtype="FLOAT")
    parts = list(blocks(tmp_path / "a.wav", 22_050))
    assert max(map(len, parts)) <= 21 * 22_050
    wave = np.concatenate(parts)
    expected = sine(70, 22_050)[:, 0]
    assert len(wave) == len(expected)
    np.testing.assert_allclose(wave[500:-500], expected[500:-500], atol=1e-3)


def test_an_mp3_that_lacks_a_frame_at_its_end_is_whole(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.mp3", sine(5, 44_100), 44_100)
    content = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "b.mp3").write_bytes(content[:-10])
    wave, rate = decoded(to_flac(tmp_path / "b.mp3"))
    assert 4.9 < len(wave) / rate <= 5


def test_the_guessed_length_of_an_mp3_without_a_count_is_not_held_against_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.mp3"
    options: dict[str, Any] = {"bitrate_mode": "CONSTANT", "compression_level": 0.5}
    soundfile.write(path, sine(20, 44_100), 44_100, **options)
    content = path.read_bytes()
    frames = content[content.index(content[:2], 4) :]  # without the first frame, which counts
    assert b"Info" in content
    assert b"Info" not in frames
    tag = b"ID3\x03\x00\x00\x00\x00\x3f\x76" + bytes(63 * 128 + 118)
    path.write_bytes(tag + frames)
    assert soundfile.info(path).duration > 20.2
    wave, rate = decoded(to_flac(path))
    assert len(wave) / rate == pytest.approx(20, abs=0.15)
    assert frequency(wave, rate) == pytest.approx(440, abs=1)


def test_a_wav_that_was_streamed_does_not_know_its_length(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(3, 22_050), 22_050)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    size = content.index(b"data") + 4
    content[4:8] = content[size : size + 4] = b"\xff" * 4
    (tmp_path / "a.wav").write_bytes(content)
    assert length(to_flac(tmp_path / "a.wav")) == 3 * 22_050


def test_a_flac_that_was_streamed_gets_a_reason(tmp_path: Path) -> None:
    content = bytearray(noise_flac(20_000))
    content[21] &= 0xF0  # the 36 bits of its length
    content[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(content)
    with pytest.raises(AudioError, match="doesn't say how long it is"):
        to_flac(tmp_path / "a.flac")


@given(st.integers(2000, 9000), st.data())
@settings(max_examples=60, deadline=None)
def test_a_window_is_a_slice_of_the_whole(samples: int, data: st.DataObject) -> None:
    flac = noise_flac(samples)
    start = data.draw(st.integers(0, samples - 1))
    size = data.draw(st.integers(1, samples - start))
    assert length(flac) == samples
    np.testing.assert_array_equal(heard(flac, start, size), whole(flac)[start : start + size])
    np.testing.assert_array_equal(heard(memoryview(flac), 0, 1), whole(flac)[:1])


def test_a_window_past_the_end_is_refused() -> None:
    flac = noise_flac(3000)
    for start in (3000, 3001):
        with pytest.raises((RuntimeError, ValueError)):
            heard(flac, start, 10)


def test_a_short_track_is_repeated_to_fill_the_window() -> None:
    flac = noise_flac(3000)
    np.testing.assert_array_equal(heard(flac, 0, 10_000), np.resize(whole(flac), 10_000))


def catalogue(folder: Path, names: list[str]) -> Path:
    columns = {"track_id": [f"id of {name}" for name in names], "audio": names}
    pl.DataFrame({**columns, "title": names, "artist": names}).write_csv(folder / "tracks.csv")
    return folder / "tracks.csv"


def test_a_broken_file_stops_sharding_with_its_track_and_name(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", sine(3, 8000), 8000)
    (tmp_path / "bad.wav").write_bytes(b"")
    with pytest.raises(InputError) as error:
        shard(catalogue(tmp_path, ["good.wav", "bad.wav"]), out=tmp_path / "out", workers=1)
    for part in (
        "tracks.csv",
        "track 'id of bad.wav'",
        "field 'audio'",
        "bad.wav: the file is empty",
    ):
        assert part in str(error.value)
    assert not list(tmp_path.rglob("*.tar"))


def test_broken_files_are_skipped_and_listed_with_reasons(tmp_path: Path) -> None:
    reasons = broken_files(tmp_path)
    good = [f"whole.{ending}" for ending in ENDINGS]
    table = catalogue(tmp_path, [*reasons, *good])
    made = shard(table, out=tmp_path / "out", shard_size=32, workers=1, skip_broken=True)
    heard = [
        sample["track_id"] for sample in made.samples("test", 0, ["audio.flac"]) if len(sample) > 2
    ]
    assert sorted(heard) == sorted(f"id of {name}" for name in good)
    listed = pl.read_csv(tmp_path / "out" / "broken.csv")
    assert sorted(listed["item"]) == sorted(f"track 'id of {name}'" for name in reasons)
    assert set(listed["field"]) == {"audio"}
    for item, reason in listed.select("item", "reason").iter_rows():
        assert item.removeprefix("track 'id of ").removesuffix("'") in reason


def test_a_damaged_flac_in_a_tar_is_named_by_shard_track_and_field(tmp_path: Path) -> None:
    for i in range(3):
        soundfile.write(tmp_path / f"{i}.wav", sine(5, 8000, 200 + i), 8000)
    table = catalogue(tmp_path, ["0.wav", "1.wav", "2.wav"])
    made = shard(table, out=tmp_path / "out", workers=1, sample_rate=8000)
    members = list(made.samples("test", 0, ["audio.flac"]))
    whole = bytes(members[1]["audio.flac"])
    reader = PatchReader("audio.flac", 8000, None, 1.0, 0.0)

    def read(shards: Shards) -> None:
        for sample in shards.samples("test", 0, ["audio.flac"]):
            reader(list(reader.expand(sample, training=False)))

    place = f"shard test/000000, track {members[1]['track_id']!r}, field 'audio.flac': not a"
    wrong = bytearray(whole)
    wrong[len(whole) // 2 : len(whole) // 2 + 500] = bytes(500)
    for damaged in (b"", b"fLaC", whole[:50], whole[: len(whole) // 2], bytes(wrong)):
        members[1]["audio.flac"] = damaged
        write_tar(
            made.tar("audio", "test", 0),
            [(m["track_id"], {"audio.flac": m["audio.flac"]}) for m in members],
        )
        with pytest.raises(InputError) as error:
            read(Shards(made.folder))
        assert str(error.value).startswith(place)


def test_real_music_of_every_kind_goes_through(shared_data: Path, tmp_path: Path) -> None:
    music = shared_data / "audio"
    made = shard(
        music / "tracks.csv",
        out=tmp_path / "out",
        sample_rate=16_000,
        shard_size=64,
        workers=2,
        skip_broken=True,
    )
    broken = pl.read_csv(tmp_path / "out" / "broken.csv")
    assert broken["item"].to_list() == ["track 'odisea_carnavalera'"]
    assert "silent" in broken["reason"][0]  # and so it is
    table = {row["track_id"]: row for row in pl.read_csv(music / "tracks.csv").to_dicts()}
    assert len(table) == 33
    reader = PatchReader("audio.flac", 5 * 16_000, None, 1.0, 0.0)
    counted = 0
    for sample in made.samples("test", 0, ["audio.flac", "genres.json"]):
        if "audio.flac" not in sample:
            continue
        info = soundfile.info(music / table[sample["track_id"]]["audio"])
        heard = length(sample["audio.flac"])
        # For an mp3 without a count of its frames, what the header says is a guess.
        assert heard / 16_000 == pytest.approx(info.frames / info.samplerate, rel=0.005)
        pieces = list(reader.expand(sample, training=False))
        assert len(pieces) == max(1, -(-(heard - 80_000) // 80_000) + 1)
        values = waveform(reader(pieces).values)
        assert values.abs().amax() > 0.01
        counted += 1
    assert counted == 32


def test_real_files_that_are_cut_are_noticed(shared_data: Path, tmp_path: Path) -> None:
    """Ogg and mp3 too, whose decoders pass over a cut end without a word."""
    names = ["a_vacilar.mp3", "Home.mp3", "Kevin_MacLeod_-_Vibe_Ace.ogg", "loop_tabla.flac"]
    for name in names:
        whole = (shared_data / "audio" / name).read_bytes()
        cut = tmp_path / name
        cut.write_bytes(whole[: int(len(whole) * 0.77)])
        with pytest.raises(AudioError):
            list(blocks(cut))
