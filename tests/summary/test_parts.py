"""Parts of a page with planted answers."""

import numpy as np
import pytest
from helpers import World, noise_flac

from coldstart.shards.reading import Shards
from coldstart.shards.sound import has_sound, sounds_of
from coldstart.summary.clips import clip_of, clips_of
from coldstart.summary.factor_map import in_a_plane, main_axes
from coldstart.summary.genres import genres_of
from coldstart.summary.provenance import shortened


def test_groups_of_the_space_stay_together_on_the_map() -> None:
    generator = np.random.default_rng(0)
    centres = np.eye(12)[:3]
    group = np.repeat(np.arange(3), 20)
    points = centres[group] + 0.05 * generator.standard_normal((60, 12))
    for plane in (main_axes(points), in_a_plane(points, 0)[0]):
        middle = np.stack([plane[group == g].mean(0) for g in range(3)])
        nearest = np.linalg.norm(plane[:, None] - middle[None], axis=2).argmin(1)
        assert (nearest == group).all()
    assert np.array_equal(in_a_plane(points, 0)[0], in_a_plane(points, 0)[0])


def test_main_axes_of_points_on_a_line() -> None:
    line = np.outer(np.arange(5.0), np.array([3.0, 4.0]))
    assert np.allclose(np.abs(main_axes(line)[:, 0]), [10, 5, 0, 5, 10])
    assert np.allclose(main_axes(line)[:, 1], 0)


def test_a_clip_is_short_and_small() -> None:
    clip = clip_of(memoryview(noise_flac(40 * 8000)))
    assert clip.startswith("data:audio/")
    assert len(clip) < 200_000
    assert clip_of(memoryview(noise_flac(100))).startswith("data:audio/")


def test_what_does_not_fit_is_left_out_and_counted(tiny_world: World) -> None:
    shards = Shards(tiny_world.shards)
    assert has_sound(shards)
    ids = [track["track_id"] for track in shards.all_tracks(["test"])][:3]
    assert {track for track, _ in sounds_of(shards, ids)} == set(ids)
    everything, nothing_said = clips_of(shards, ids, 10_000_000)
    assert list(everything) == ids
    assert nothing_said == ""
    room = len(everything[ids[0]])
    first, said = clips_of(shards, [*ids, "nobody"], room)
    assert list(first) == ids[:1]
    assert "the sound of 2 tracks" in said
    assert "that of 1 tracks" in said


def test_genres_are_the_tracks_own(tiny_world: World) -> None:
    shards = Shards(tiny_world.shards)
    own = {track["track_id"]: track["genres"] for track in shards.tracks_in_use()}
    found = genres_of(shards)
    assert found
    assert all(genre in own[track] for track, genre in found.items())


@pytest.mark.parametrize(
    ("place", "shown"),
    [(None, None), ("shards", "shards"), ("/a/b/c/d", "…/c/d"), ("C:/a/b", "…/a/b")],
)
def test_a_page_tells_no_stranger_where_data_lies(place: str | None, shown: str | None) -> None:
    assert shortened(place) == shown
