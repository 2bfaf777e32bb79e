"""The contract that every encoder keeps, and what is special about lyrics."""

import pytest
import torch
from coldstart_lyrics import Lyrics

from coldstart.errors import InputError
from coldstart.testing import EncoderContract, modality

ROSE, VIOLET = {"lyrics.txt": b"rose red rose"}, {"lyrics.txt": "violet bleu été".encode()}


class TestLyrics(EncoderContract):
    tracks = (ROSE, VIOLET)
    broken = ({"lyrics.txt": b"\xff\xfe"}, {"lyrics.txt": b"rose \xc3"})

    def encoder(self) -> Lyrics:
        return Lyrics(hidden=(8,))


def started(max_words: int = 5000) -> Lyrics:
    encoder = Lyrics(hidden=(8,), max_words=max_words)
    samples = [{"track_id": "a", "shard": "s", **content} for content in (ROSE, VIOLET, ROSE)]
    encoder.start(encoder.learn(samples))
    return encoder


def test_the_vocabulary_is_the_training_tracks_most_frequent_words() -> None:
    assert started().words == ["bleu", "red", "rose", "violet", "été"]
    assert started(max_words=2).words == ["red", "rose"]


def test_a_rare_word_weighs_more_and_each_text_is_of_length_one() -> None:
    values, _ = modality(started(), [{"lyrics.txt": b"Rose, violet; unheard"}])
    rose, violet = values[0, 2], values[0, 3]
    assert violet > rose > 0
    torch.testing.assert_close(values.norm(), torch.tensor(1.0))


@pytest.mark.parametrize("text", [b"", b"nothing known", "日本語".encode()])
def test_a_text_without_known_words_is_present(text: bytes) -> None:
    values, present = modality(started(), [{"lyrics.txt": text}])
    assert present.tolist() == [True]
    assert not values.any()


def test_an_explanation_can_name_the_words() -> None:
    assert started().feature_names() == ["bleu", "red", "rose", "violet", "été"]


def test_the_simple_rivals_get_the_tf_idf_itself() -> None:
    values, _ = modality(started(), [ROSE, VIOLET])
    assert torch.equal(started().describe(values), values)


def test_another_text_is_read_from_the_folder_that_is_named() -> None:
    assert Lyrics(modality="biography").fields == ("biography.txt",)
    with pytest.raises(InputError, match="can't be the name"):
        Lyrics(modality="../lyrics")


def test_training_tracks_without_a_word_or_with_damaged_text_are_named() -> None:
    with pytest.raises(InputError, match=r"lyrics\.txt: no training track has a word"):
        Lyrics().learn([{"track_id": "a", "shard": "s", "lyrics.txt": b"?"}])
    with pytest.raises(InputError, match=r"^shard s, track 'a', field 'lyrics\.txt': not UTF-8"):
        Lyrics().learn([{"track_id": "a", "shard": "s", "lyrics.txt": b"\xff"}])
