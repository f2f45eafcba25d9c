"""Pictures and poses become the numbers a checkpoint was trained on, and painted pictures come back."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from torchvision.transforms import v2

from worldagen.policy_conventions import PRESET_CONVENTIONS
from worldagen.preprocess import StateScaling, ViewScaler, restore_image, scale_image, scale_images, scale_pose, square_image

CLIP = PRESET_CONVENTIONS["calvin"].image


@pytest.mark.parametrize("shape", [(200, 200), (84, 84), (128, 128), (480, 640), (641, 359)])
def test_images_equal_the_clip_transform(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    published = v2.Compose(
        [
            v2.ToPILImage(),
            v2.Resize(224, interpolation=v2.InterpolationMode.BICUBIC),
            v2.CenterCrop(224),
            v2.PILToTensor(),
        ]
    )
    pixels = published(image).numpy() / 255.0
    expected = (pixels - np.array(CLIP.mean)[:, None, None]) / np.array(CLIP.std)[:, None, None]
    np.testing.assert_allclose(scale_image(CLIP, image, 224), expected, atol=1e-5)


def test_numbers_are_to_the_bit_those_of_arithmetic_on_whole_pictures():
    images = [np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8) for seed in range(2)]
    images.append(np.arange(3 * 256, dtype=np.uint8).reshape(16, 16, 3))  # every level, not scaled
    mean, std = np.asarray(CLIP.mean, np.float32), np.asarray(CLIP.std, np.float32)
    squares = np.stack([square_image(CLIP, image, 16) for image in images]).astype(np.float32)
    expected = ((squares / 255.0 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(scale_images(CLIP, images, 16), expected)
    np.testing.assert_array_equal(scale_image(CLIP, images[1], 16), expected[1])


def test_two_views_at_the_same_time_are_each_as_if_alone_and_an_error_of_either_is_told():
    draw, scaler = np.random.default_rng(0), ViewScaler()
    static, wrist = (list(draw.integers(0, 256, (2, *shape, 3), dtype=np.uint8)) for shape in ((48, 64), (20, 20)))
    for _ in range(3):
        scaled = scaler.scale(CLIP, (static, 16), (wrist, 8))
        for one, (pictures, side) in zip(scaled, ((static, 16), (wrist, 8)), strict=True):
            np.testing.assert_array_equal(one, scale_images(CLIP, pictures, side))
    with pytest.raises(ZeroDivisionError):
        scaler.scale(CLIP, (static, 16), ([np.empty((0, 0, 3), np.uint8)], 8))


def test_scaling_a_picture_allocates_its_numbers_and_no_floats_besides():
    image, side = np.zeros((480, 640, 3), np.uint8), 224
    scale_image(CLIP, image, side)
    tracemalloc.start()
    numbers = scale_image(CLIP, image, side)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < numbers.nbytes + 3 * numbers.size  # bytes: the scaled picture while PIL hands it over


@pytest.mark.parametrize("flip_rows", [False, True])
def test_a_painted_picture_comes_back_upright_in_uint8(flip_rows):
    scaling = replace(CLIP, flip_rows=flip_rows)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    painted = scale_image(scaling, image, 32).transpose(1, 2, 0)
    np.testing.assert_array_equal(restore_image(scaling, painted), image)


def test_libero_pictures_are_turned_upside_down_as_its_simulator_gives_them():
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    image[0] = 255  # white at the top
    libero = scale_image(PRESET_CONVENTIONS["libero"].image, image, 8)
    assert libero[:, -1].min() > libero[:, 0].max()


def test_poses_are_raw_unless_the_checkpoint_says_otherwise():
    pose = np.array([0.4, -0.1, 0.3, 3.1, -0.2, 1.0])
    np.testing.assert_array_equal(scale_pose(StateScaling(), pose), pose)


def test_rolls_on_both_sides_of_the_seam_are_neighbours_once_wrapped():
    scaling = PRESET_CONVENTIONS["playtable"].state
    above = scale_pose(scaling, np.array([0, 0, 0, np.pi - 0.01, 0, 0]))
    below = scale_pose(scaling, np.array([0, 0, 0, -np.pi + 0.01, 0, 0]))
    np.testing.assert_allclose([above[3], below[3]], [-0.01, 0.01])
