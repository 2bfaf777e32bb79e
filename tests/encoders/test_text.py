"""Texts: which words count, how much, and what is no text."""

import re
import unicodedata
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor
from torch.nn import functional as F

from coldstart.encoders.base import Modality
from coldstart.encoders.text import Text, words_of
from coldstart.errors import InputError
from coldstart.fusion.base import Solvable
from coldstart.fusion.kernel import Kernel
from coldstart.sample import Sample
from coldstart.testing import modality

CORPUS = ["Rose, rose: RED!", "a red violet", "red rose violets", "A blue_note 7", "rose " * 9]


def samples_of(texts: list[str]) -> list[Sample]:
    return [
        {"track_id": f"t{i}", "shard": "s", "text.txt": text.encode()}
        for i, text in enumerate(texts)
    ]


def learnt(texts: list[str], **settings: Any) -> Text:
    encoder = Text(**settings)
    encoder.start(encoder.learn(samples_of(texts)))
    return encoder


def read(encoder: Text, *texts: str) -> Modality:
    return modality(encoder, [{"text.txt": text.encode()} for text in texts])


def test_words_of_the_most_tracks_come_first_and_rare_ones_are_left_out() -> None:
    assert learnt(CORPUS).words == ["red", "rose", "a"]
    assert learnt(CORPUS, max_words=2).words == ["red", "rose"]
    assert learnt(CORPUS, max_words=1, min_tracks=3).words == ["red"]
    every = ["red", "rose", "a", "7", "blue_note", "violet", "violets"]
    assert learnt(CORPUS, min_tracks=1).words == every
    facts = Text().learn(samples_of(["rose", "", " \n", "rose red red", "red"]))
    assert facts == {"texts": 3, "words": ["red", "rose"], "word_tracks": [2, 2]}


def test_the_weights_are_the_formula_s() -> None:
    values, _ = read(learnt(CORPUS), "rose rose a unheard")
    red, rose, a = 0.0, (1 + np.log(2)) * (np.log(6 / 4) + 1), np.log(6 / 3) + 1
    expected = torch.tensor([[red, rose, a]])
    torch.testing.assert_close(values, F.normalize(expected).float())


def planted_texts(count: int, seed: int = 0) -> tuple[list[str], Tensor]:
    """Each word has a place; a track's place is the mean of those of its words. Fillers have 0."""
    generator = np.random.default_rng(seed)
    places = generator.normal(size=(40, 5))
    texts, vectors = [], []
    for _ in range(count):
        words = generator.choice(40, size=12, p=np.repeat([0.04, 0.01], 20))
        fillers = generator.integers(0, 3, size=20)
        spoken = [*(f"Word{word}" for word in words), *(f"filler{each}" for each in fillers)]
        texts.append(" ".join(generator.permutation(spoken)))
        vectors.append(places[words].mean(0))
    return texts, torch.from_numpy(np.array(vectors)).float()


def test_scikit_learn_gives_the_same_vectors() -> None:
    texts, _ = planted_texts(80)
    encoder = learnt(texts)
    theirs = TfidfVectorizer(
        sublinear_tf=True, token_pattern=r"\w+", vocabulary=encoder.words, dtype=np.float64
    )
    expected = theirs.fit_transform(texts).toarray()
    assert set(encoder.words) == set(
        TfidfVectorizer(min_df=2, token_pattern=r"\w+").fit(texts).get_feature_names_out()
    )
    np.testing.assert_allclose(read(encoder, *texts).values.numpy(), expected, atol=1e-6)


def test_a_solved_head_finds_the_places_of_unheard_tracks() -> None:
    texts, vectors = planted_texts(400)
    encoder = learnt(texts[:300])
    head = Kernel(kernel="linear")
    head.build({"text": encoder.dim}, vectors.shape[1])
    values, present = read(encoder, *texts)
    encoded = encoder(Modality(values, present)).detach()

    def rows() -> list[Solvable]:
        group = torch.arange(300)
        there = {"text": present[:300]}
        return [Solvable({"text": encoded[:300]}, there, vectors[:300], group)]

    head.solve(rows)
    predicted = head({"text": encoded[300:]}, {"text": present[300:]})
    right = torch.cdist(predicted, vectors[300:]).argmin(1) == torch.arange(100)
    assert right.float().mean() > 0.9  # by chance: 0.01


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't STOP_it: 1999!", ["don", "t", "stop_it", "1999"]),
        ("Straße, ﬁre; ΣΊΣΥΦΟΣ", ["strasse", "fire", "σίσυφοσ"]),
        (unicodedata.normalize("NFD", "Été Ångström"), ["été", "ångström"]),
        ("हिन्दी गीत", ["हिन्दी", "गीत"]),
        ("می‌خواهم", ["می‌خواهم"]),
        ("愛 ❤️ \u0301 …", ["愛"]),
        ("", []),
    ],
)
def test_words_of_any_script_are_whole_and_capitals_don_t_count(
    text: str, words: list[str]
) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize("text", ["", " ", "\n\t\u3000"])
def test_an_empty_text_is_missing(text: str) -> None:
    values, present = read(learnt(CORPUS), text, "red")
    assert present.tolist() == [False, True]
    assert not values[0].any()


@pytest.mark.parametrize("text", ["unheard", "!?", "日本語", "\ufeff", "\0"])
def test_a_text_without_a_known_word_is_present(text: str) -> None:
    values, present = read(learnt(CORPUS), text)
    assert present.tolist() == [True]
    assert not values.any()


@given(st.lists(st.one_of(st.text(), st.sampled_from(CORPUS)), max_size=5))
def test_any_text_gives_length_1_or_0_whatever_stands_beside_it(texts: list[str]) -> None:
    encoder = learnt(CORPUS)
    texts = [text.encode(errors="ignore").decode() for text in texts]
    values, present = read(encoder, *texts)
    known = [bool(set(words_of(text)) & set(encoder.words)) for text in texts]
    torch.testing.assert_close(values.norm(dim=1), torch.tensor(known).float())
    assert present.tolist() == [bool(text.strip()) for text in texts]
    for i, text in enumerate(texts):
        assert torch.equal(read(encoder, text).values[0], values[i])


@given(st.binary(max_size=40))
def test_no_bytes_can_break_it(garbage: bytes) -> None:
    sample: Sample = {"track_id": "a", "shard": "val/000001", "text.txt": garbage}
    encoder = learnt(CORPUS)
    try:
        garbage.decode()
    except UnicodeDecodeError:
        place = r"shard val/000001, track 'a', field 'text\.txt': not UTF-8"
        for use in (encoder.reader(), encoder.learn):
            with pytest.raises(InputError, match=place):
                use([sample])
    else:
        assert encoder.reader()([sample]).values.isfinite().all()


@pytest.mark.parametrize("texts", [[], [""], ["one", "two"], ["?!", "?!"]])
def test_training_tracks_without_a_common_word_are_refused(texts: list[str]) -> None:
    several = f"(min_tracks), of which {sum(map(bool, texts))} have a text"
    with pytest.raises(InputError, match=rf"^text\.txt: no word is in .*{re.escape(several)}"):
        learnt(texts)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"hidden": [0]}, r"hidden: \[0\] are not widths"),
        ({"max_words": 0}, "max_words and min_tracks are at least 1"),
        ({"min_tracks": 0}, "max_words and min_tracks are at least 1"),
        ({"modality": "a/b"}, "modality 'a/b' is not a name"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Text(**settings)


def test_it_has_layers_only_where_widths_are_given() -> None:
    assert not Text().has_layers()
    assert Text(hidden=(4,)).has_layers()
    assert learnt(CORPUS, hidden=(4,)).dim == 4
    encoder = learnt(CORPUS)
    values, present = read(encoder, *CORPUS)
    assert torch.equal(encoder(Modality(values, present)), values)
    assert encoder.feature_names() == encoder.words
    assert not encoder.feature_baseline().any()


def test_another_folder_is_read_where_it_is_named() -> None:
    assert (Text().fields, Text("lyrics").fields) == (("text.txt",), ("lyrics.txt",))
