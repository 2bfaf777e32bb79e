"""Genres: the vocabulary, and tracks of which it knows nothing."""

import pytest
from helpers import batch_of

from coldstart.encoders.genres import Genres
from coldstart.errors import InputError

GENRES = {"vocabulary": ["rock", "pop", "jazz"]}


def test_unknown_genres_are_left_out_and_their_track_is_present() -> None:
    encoder = Genres(hidden=(4,))
    encoder.start(GENRES)
    both = batch_of(encoder, b'["polka", "jazz", "rock"]', [True])
    assert both.values.tolist() == [[1.0, 0.0, 1.0]]
    none = batch_of(encoder, b'["polka"]', [True])
    assert not none.values.any()
    assert none.present.all()


def test_the_vocabulary_is_cut_after_the_most_frequent_genres() -> None:
    encoder = Genres(hidden=(4,), max_genres=2)
    encoder.start(GENRES)
    assert encoder.vocabulary == ["rock", "pop"]
    assert batch_of(encoder, b'["jazz", "pop"]', [True]).values.tolist() == [[0.0, 1.0]]


def test_a_dataset_whose_training_tracks_have_no_genre_is_refused() -> None:
    with pytest.raises(InputError, match="no training track has a genre"):
        Genres().start({"vocabulary": []})


@pytest.mark.parametrize("content", [b"[1]", b"null", b'"rock"', b"[", b'[["rock"]]', b"\xff"])
def test_genres_that_are_no_list_of_names_are_refused(content: bytes) -> None:
    encoder = Genres()
    encoder.start(GENRES)
    with pytest.raises(InputError, match=r"field 'genres\.json': not a JSON list of names"):
        batch_of(encoder, content, [True])
