"""The training forward and its losses."""

from dataclasses import replace

import pytest
import torch
from small_networks import TINY, build

from worldagen.errors import BadObservation
from worldagen.network.losses import LossWeights, Targets, compute_losses
from worldagen.network.worldagen import Windows

CONFIG = replace(TINY, frames=2, rows=3, state_prediction=True)


def random_windows(config, batch=2, seed=0):
    torch.manual_seed(seed)
    frames, vision, side = config.units * config.frames, config.vision, config.image_head.size
    inputs = Windows(
        static=torch.randn(batch, frames, 3, vision.static_size, vision.static_size),
        wrist=torch.randn(batch, frames, 3, vision.wrist_size, vision.wrist_size),
        states=torch.randn(batch, frames, 7),
        actions=torch.randn(batch, config.units * config.rows, 7),
        text=torch.randn(batch, config.text.width),
    )
    targets = Targets(
        actions=torch.randn(batch, config.units * config.rows * config.action_steps, 7).clamp(-1, 1).round(),
        static=torch.randn(batch, frames, 3, side, side),
        wrist=torch.randn(batch, frames, 3, side, side),
        states=torch.randn(batch, frames, 7),
    )
    return inputs, targets


def test_a_batch_of_windows_becomes_named_predictions_of_the_stated_shapes():
    predictions = build(CONFIG)(random_windows(CONFIG)[0])
    assert predictions.arm.shape == (2, 3, 3, 6)
    assert predictions.gripper_logit.shape == (2, 3, 3)
    assert predictions.images.shape == (2, 3, 2, 2, 16, 48)
    assert predictions.arm_state.shape == (2, 3, 2, 6)
    assert predictions.gripper_state_logit.shape == (2, 3, 2)
    assert predictions.arm.abs().max() < 1


def test_windows_of_another_network_are_refused_with_every_shape():
    inputs, _ = random_windows(CONFIG)
    with pytest.raises(BadObservation) as refusal:
        build(CONFIG)(replace(inputs, states=torch.randn(2, 6, 8), static=inputs.static.movedim(2, -1)))
    assert "states: found (2, 6, 8), expected (2, 6, 7)" in str(refusal.value)
    assert "static: found (2, 6, 32, 32, 3), expected (2, 6, 3, 32, 32)" in str(refusal.value)


def test_losses_are_the_published_sum():
    inputs, targets = random_windows(CONFIG)
    predictions = build(CONFIG)(inputs)
    losses = compute_losses(predictions, targets)
    wanted = targets.actions.reshape(2, 3, 3, 7)
    gap = (predictions.arm - wanted[..., :6]).abs()
    chance = predictions.gripper_logit.sigmoid()
    open_ = wanted[..., 6] >= 1
    torch.testing.assert_close(losses.arm, torch.where(gap < 1, gap**2 / 2, gap - 0.5).mean())
    torch.testing.assert_close(losses.gripper, -torch.where(open_, chance.log(), (1 - chance).log()).mean())
    expected = losses.arm + 0.01 * losses.gripper + 0.1 * losses.image + 0.01 * (losses.arm_state + losses.gripper_state)
    torch.testing.assert_close(losses.total, expected)


def test_the_image_loss_is_zero_for_a_perfect_picture_of_each_view():
    inputs, targets = random_windows(CONFIG)
    predictions = build(CONFIG)(inputs)
    views = torch.stack([targets.static, targets.wrist], dim=2)  # (B, K n, 2, 3, S, S)
    pixels = views.permute(0, 1, 2, 4, 5, 3).reshape(2, 3, 2, 2, 4, 4, 4, 4, 3)  # rows and columns of 4 x 4 patches
    perfect = pixels.transpose(5, 6).reshape(2, 3, 2, 2, 16, 48)
    assert compute_losses(replace(predictions, images=perfect), targets).image == 0


@pytest.mark.parametrize("option", ["image_prediction", "state_prediction"])
def test_what_is_not_predicted_has_no_loss(option):
    config = replace(CONFIG, **{option: False})
    inputs, targets = random_windows(config)
    losses = compute_losses(build(config)(inputs), targets)
    assert (losses.image is None) == (option == "image_prediction")
    assert (losses.arm_state is None) == (option == "state_prediction")
    assert losses.total.isfinite()


def test_the_weighting_is_configuration():
    inputs, targets = random_windows(CONFIG)
    losses = compute_losses(build(CONFIG)(inputs), targets, LossWeights(0.0, 0.0, 2.0, 0.0, 0.0))
    torch.testing.assert_close(losses.total, 2 * losses.image)


def test_every_trainable_parameter_learns_but_the_unused_embedding():
    inputs, targets = random_windows(CONFIG)
    network = build(replace(CONFIG, vision=replace(CONFIG.vision, trained=True)))
    compute_losses(network(inputs), targets).total.backward()
    without = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert without == {"backbone.model.embed_tokens.weight"}


def test_a_units_own_actions_reach_its_predicted_picture_but_not_its_predicted_actions():
    network, (inputs, _) = build(TINY), random_windows(TINY)
    changed = inputs.actions.clone()
    changed[:, TINY.rows : 2 * TINY.rows, :6] += 1.0  # unit 1
    before, after = network(inputs), network(replace(inputs, actions=changed))
    assert torch.equal(before.arm[:, :2], after.arm[:, :2])
    assert torch.equal(before.images[:, 0], after.images[:, 0])
    assert not torch.allclose(before.images[:, 1], after.images[:, 1])
    assert not torch.allclose(before.arm[:, 2], after.arm[:, 2])


def test_the_world_model_hears_the_instruction_through_the_actions():
    network, (inputs, _) = build(TINY), random_windows(TINY)
    other = network(replace(inputs, text=inputs.text + 1.0))
    assert not torch.allclose(network(inputs).images[:, 0], other.images[:, 0])
