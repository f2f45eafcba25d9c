"""Small promises of the encoders and heads."""

from dataclasses import replace

import torch
from small_networks import TINY, build

from worldagen.network.config import VisionConfig, find_preset
from worldagen.network.heads import cut_patches, join_patches
from worldagen.network.positions import grid_positions
from worldagen.network.proprioception import gripper_classes
from worldagen.network.text import build_text
from worldagen.network.vision import _expected_place, build_vision


def test_the_order_of_patches_does_not_matter_to_the_resampler():
    resampler, patches = build(TINY).resampler, torch.randn(2, 20, 32)
    torch.testing.assert_close(resampler(patches), resampler(patches[:, torch.randperm(20)]), atol=1e-5, rtol=1e-5)


def test_grid_positions_encode_the_column_first_and_start_at_sine_zero_cosine_one():
    table = grid_positions(2, 3, 8).reshape(2, 3, 8)
    assert torch.equal(table[0, 1, 4:], table[0, 2, 4:])  # same row
    assert torch.equal(table[0, 1, :4], table[1, 1, :4])  # same column
    assert table[0, 0].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    torch.testing.assert_close(
        table[0, 2, :4],
        torch.tensor([2.0, 0.02, 0, 0]).sin().add(torch.tensor([0, 0, 2.0, 0.02]).cos() * torch.tensor([0, 0, 1, 1])),
    )


def test_a_spot_of_heat_is_found_where_it_is():
    heat = torch.full((1, 1, 5, 5), -50.0)
    heat[0, 0, 1, 4] = 50.0  # second row, last column
    assert _expected_place(heat).tolist() == [[1.0, -0.5]]


def test_pictures_are_encoded_one_by_one():
    encoder = build_vision(VisionConfig("convolution", width=32, static_size=32, wrist_size=16)).eval()
    images = torch.randn(3, 3, 32, 32)
    together, alone = encoder(images), encoder(images[1:2])
    torch.testing.assert_close(together[0][1:2], alone[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together[1][1:2], alone[1], atol=1e-5, rtol=1e-5)


def test_the_gripper_is_open_from_one_upwards_in_either_encoding():
    classes = gripper_classes(torch.tensor([-1.0, 0.0, 0.99, 1.0]), torch.float32)
    assert classes.tolist() == [[1, 0], [1, 0], [1, 0], [0, 1]]


def test_hashed_text_is_fixed_and_tells_instructions_apart():
    encoder = build_text(find_preset("playtable").text)
    lift, also_lift, push = encoder(["lift the red block", "Lift the RED block!", "push the blue block to the left"])
    assert torch.equal(lift, also_lift)
    assert torch.cosine_similarity(lift, push, dim=0) < 0.5
    assert lift[:6].mul(7**0.5).round().tolist() == encoder(["lift the red block"])[0, :6].mul(7**0.5).round().tolist()
    assert lift.abs().max() <= 7**0.5 + 1e-5  # four words and three pairs


def test_patches_hold_row_column_channel_in_raster_order():
    images = torch.randn(2, 3, 8, 8)
    patches = cut_patches(images, 4)
    assert torch.equal(patches[0, 1].reshape(4, 4, 3), images[0, :, :4, 4:].permute(1, 2, 0))
    assert torch.equal(join_patches(patches, 4), images.permute(0, 2, 3, 1))


def test_a_frozen_encoder_takes_no_gradient():
    network = build(replace(TINY, vision=replace(TINY.vision, trained=False)))
    latents, cls = network.encode_frames(torch.randn(1, 3, 32, 32), torch.randn(1, 3, 16, 16))
    (latents.sum() + cls.sum()).backward()
    assert all(parameter.grad is None for parameter in network.vision.parameters())
    assert network.resampler.latents.grad is not None
