"""The contract that every encoder keeps, and what is special about covers."""

import io

import pytest
import torch
from coldstart_cover import Cover
from PIL import Image

from coldstart.errors import InputError
from coldstart.testing import EncoderContract, modality


def image(
    colour: str, size: tuple[int, int] = (90, 70), mode: str = "RGB", kind: str = "PNG"
) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).convert(mode).save(file, kind)
    return file.getvalue()


RED, BLUE = {"cover.bin": image("red")}, {"cover.bin": image("blue", kind="JPEG")}


class TestCover(EncoderContract):
    tracks = (RED, BLUE)
    broken = tuple(
        {"cover.bin": content}
        for content in (
            b"",
            b"<html>404</html>",
            RED["cover.bin"][:-30],
            image("red", kind="TIFF"),
            image("red", (7100, 7100), mode="1"),
        )
    )

    def encoder(self) -> Cover:
        return Cover(size=16, channels=(4, 8), dim=8)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "PNG"), ("P", "GIF"), ("RGBA", "PNG"), ("CMYK", "JPEG"), ("RGB", "WEBP"), ("1", "PNG")],
)
def test_images_of_any_kind_and_size_become_rgb_of_one_size(mode: str, kind: str) -> None:
    white = {"cover.bin": image("white", (333, 40), mode, kind)}
    values, _ = modality(TestCover().started(), [white])
    assert values.shape == (1, 3, 16, 16)
    torch.testing.assert_close(values, torch.ones_like(values), atol=0.02, rtol=0)


def test_the_simple_rivals_get_the_colours() -> None:
    encoder = TestCover().started()
    values, _ = modality(encoder, [RED])
    grid = encoder.describe(values).reshape(3, 8, 8)
    torch.testing.assert_close(grid.mean(dim=(1, 2)), torch.tensor([1.0, 0.0, 0.0]))


def test_arguments_that_make_no_net_are_refused() -> None:
    for wrong in ({"size": 4}, {"channels": ()}, {"dim": 0}, {"modality": "../cover"}):
        with pytest.raises(InputError, match="Cover: "):
            Cover(**wrong)
