"""The tokens of a window, written out one by one from sections 2 and 3 of the specification, give what the network gives."""

from dataclasses import replace

import torch
from small_networks import TINY, build
from test_losses import random_windows

from worldagen.network.heads import cut_patches
from worldagen.network.worldagen import WorldAgen

CONFIG = replace(TINY, units=2, frames=2, rows=3, state_prediction=True, action_steps=2)


def one_hot(gripper):
    return torch.tensor([0.0, 1.0] if gripper >= 1 else [1.0, 0.0])


def numbers_token(encoder, numbers):
    return encoder.join(torch.cat([encoder.arm(numbers[:6]), encoder.gripper(one_hot(numbers[6]))]))


def unit_tokens(network, windows, unit):
    """Tokens of one unit of the only window, in order."""
    frames = [unit * 2, unit * 2 + 1]
    tokens = [network.text_projector(windows.text[0])]
    tokens += [numbers_token(network.state_encoder, windows.states[0, frame]) for frame in frames]
    tokens += [numbers_token(network.action_encoder, windows.actions[0, unit * 3 + row]) for row in range(3)]
    latents, cls = [], []
    for frame in frames:
        for view in ("static", "wrist"):
            patches, summary = network.vision(getattr(windows, view)[:, frame])
            latents += list(network.latent_projectors[view](network.resampler(patches)[0]))
            cls.append(network.cls_projectors[view](summary[0]))
    tokens += latents + cls
    for _ in frames:
        tokens += list(network.image_tokens)  # nine of the static view, nine of the wrist view
    tokens += [network.state_token for _ in frames]
    for _ in range(3):
        tokens += list(network.action_tokens)  # two steps of each row
    return tokens


def test_the_network_reads_the_window_as_the_specification_writes_it():
    network = build(CONFIG)
    windows, _ = random_windows(CONFIG, batch=1)
    tokens = [token for unit in range(2) for token in unit_tokens(network, windows, unit)]
    embedded = torch.stack(tokens) + network.position
    settled = torch.nn.functional.layer_norm(embedded, (CONFIG.hidden,), eps=1e-5)
    length = 1 + 2 + 3 + 24 + 4 + 36 + 2 + 6
    assert len(tokens) == 2 * length
    hidden = network.backbone(settled[None], network.mask, torch.arange(2 * length))[0].reshape(2, length, -1)

    predictions = network(windows)
    arm, gripper = network.action_head(hidden[:, -6:])
    torch.testing.assert_close(predictions.arm[0], arm, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(predictions.gripper_logit[0], gripper, atol=1e-5, rtol=1e-4)
    arm_state, _ = network.state_head(hidden[:, -8:-6])
    torch.testing.assert_close(predictions.arm_state[0], arm_state, atol=1e-5, rtol=1e-4)
    second_frame_wrist = network.image_head(hidden[1, 34 + 27 : 34 + 36])
    torch.testing.assert_close(predictions.images[0, 1, 1, 1], second_frame_wrist, atol=1e-5, rtol=1e-4)


def test_the_image_head_paints_from_nine_tokens_and_one_mask_token_per_patch():
    network, tokens = build(TINY), torch.randn(9, TINY.hidden)
    head = network.image_head
    canvas = torch.cat([head.project(tokens), head.mask_token.repeat(16, 1)]) + head.positions
    for block in head.blocks:
        canvas = block(canvas[None])[0]
    torch.testing.assert_close(head(tokens), head.paint(head.norm(canvas[9:])), atol=1e-5, rtol=1e-5)
    assert cut_patches(torch.zeros(3, 16, 16), 4).shape == head(tokens).shape


LAST = replace(TINY, image_head=replace(TINY.image_head, canvas="last"))


def test_on_the_last_picture_the_head_sees_its_patches_and_paints_what_changes():
    tokens, last = torch.randn(9, LAST.hidden), torch.randn(16, 48)
    assert torch.equal(WorldAgen(LAST).image_head(tokens, last), last)  # fresh weights change nothing
    head = build(LAST).image_head
    canvas = torch.cat([head.project(tokens), head.mask_token + head.look(last)]) + head.positions
    for block in head.blocks:
        canvas = block(canvas[None])[0]
    torch.testing.assert_close(head(tokens, last), last + head.paint(head.norm(canvas[9:])), atol=1e-5, rtol=1e-5)


def test_the_canvas_is_each_view_in_the_painted_size():
    static, wrist = torch.rand(2, 3, 1, 3, 32, 32), torch.rand(2, 3, 1, 3, 16, 16)
    canvas = build(LAST).canvas(static, wrist)
    assert canvas is not None and canvas.shape == (2, 3, 1, 2, 16, 48)
    torch.testing.assert_close(canvas[..., 1, :, :], cut_patches(wrist, 4))  # the same size: as it is
    assert torch.allclose(canvas[..., 0, :, :].mean(), static.mean(), atol=0.02)
    assert build(TINY).canvas(static, wrist) is None
