"""The policy stage: its partial computation is the plain network's, the encoder stays as it is, kept features are its own."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from demonstration_making import demonstrate, write_demonstration
from small_networks import build
from torch.nn import functional as F
from training_making import SMALL

from worldagen.data.cache import FrameCache, open_cache, picture_sizes
from worldagen.errors import DataError
from worldagen.network.heads import cut_patches
from worldagen.network.losses import LossWeights, Targets, compute_losses
from worldagen.network.worldagen import Windows
from worldagen.policy_conventions import find_preset_conventions
from worldagen.training.encoder import EncoderLoss
from worldagen.training.features import keep_features
from worldagen.training.pictures import save_pictures
from worldagen.training.policy import PolicyLoss, policy_report
from worldagen.training.recipe import DataSection, FeatureStage, LossSection
from worldagen.training.samples import WindowPlaces, network_numbers, normalise

IMAGES = find_preset_conventions("playtable").image
WEIGHTS = LossSection(arm=1.0, gripper=0.5, image=0.3, arm_beta=0.1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> FrameCache:
    folder = tmp_path_factory.mktemp("policy")
    for seed in range(2):
        write_demonstration(folder / "bags" / str(seed), demonstrate(f"push {seed}", 9, seed))
    return open_cache(folder / "cache", [f"bag:{folder / 'bags'}"], picture_sizes(SMALL), IMAGES)


def windows(config, count=3, seed=0):
    """Random windows, and what they should predict."""
    random = torch.Generator().manual_seed(seed)

    def numbers(*shape):
        return torch.randn(*shape, generator=random)

    units, rows, side = config.units, config.units * config.rows, config.image_head.size
    shown = Windows(
        numbers(count, units, 3, config.vision.static_size, config.vision.static_size),
        numbers(count, units, 3, config.vision.wrist_size, config.vision.wrist_size),
        numbers(count, units, 7),
        numbers(count, rows, 7),
        numbers(count, config.text.width),
    )
    wanted = torch.cat([numbers(count, rows, 6).clamp(-1, 1), numbers(count, rows, 1).sign()], dim=2)
    return shown, Targets(wanted, *(numbers(count, units, 3, side, side) for _ in range(2)))


def batch_of(network, shown, targets, painted, unit):
    with torch.no_grad():
        summaries = network.summarise(shown.static.flatten(0, 1), shown.wrist.flatten(0, 1)).unflatten(
            0, shown.static.shape[:2]
        )
    return {
        "summaries": summaries,
        "states": shown.states,
        "actions": shown.actions,
        "targets": targets.actions,
        "text": shown.text,
        "unit": torch.tensor(unit),
        "static": targets.static[:painted, unit],
        "wrist": targets.wrist[:painted, unit],
        "last_static": shown.static[:painted, [unit]],
        "last_wrist": shown.wrist[:painted, [unit]],
    }


OTHERS = [
    replace(SMALL, state_prediction=True),
    replace(SMALL, goal_attention=True),
    replace(SMALL, image_head=replace(SMALL.image_head, canvas="last")),
]


@pytest.mark.parametrize("config", [SMALL, *OTHERS])
@pytest.mark.parametrize(("painted", "unit"), [(3, 0), (2, 1), (1, 0), (0, 1)])
def test_what_is_left_out_changes_no_loss_and_no_gradient(config, painted, unit):
    network = build(config)
    shown, targets = windows(config)
    losses = PolicyLoss(network, WEIGHTS)(batch_of(network, shown, targets, painted, unit))
    predictions = network(shown)
    weights = LossWeights(WEIGHTS.arm, WEIGHTS.gripper, 0.0, 0.0, 0.0, arm_beta=WEIGHTS.arm_beta)
    whole = compute_losses(predictions, replace(targets, static=None, wrist=None), weights)
    total = whole.total
    assert losses["arm"].item() == pytest.approx(whole.arm.item(), abs=1e-5)
    assert losses["gripper"].item() == pytest.approx(whole.gripper.item(), abs=1e-5)
    if painted:
        assert predictions.images is not None and targets.static is not None and targets.wrist is not None
        pictures = predictions.images[:painted, unit, 0]
        static, wrist = (cut_patches(view[:painted, unit], config.image_head.patch) for view in (targets.static, targets.wrist))
        image = (F.mse_loss(pictures[:, 0], static) + F.mse_loss(pictures[:, 1], wrist)) / 2
        assert losses["image"].item() == pytest.approx(image.item(), abs=1e-5)
        total = total + WEIGHTS.image * image
    else:
        assert "image" not in losses
    assert losses["total"].item() == pytest.approx(total.item(), abs=1e-5)
    weights = [weight for name, weight in network.named_parameters() if weight.requires_grad]
    ours, theirs = (
        torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True) for loss in (losses["total"], total)
    )
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(ours, theirs, strict=True))


def test_a_network_that_paints_nothing_has_no_image_loss():
    config = replace(SMALL, image_prediction=False)
    network = build(config)
    shown, targets = windows(config)
    batch = batch_of(network, shown, targets, 0, 0) | {"static": torch.empty(0), "wrist": torch.empty(0)}
    assert set(PolicyLoss(network, WEIGHTS)(batch)) == {"total", "arm", "gripper"}


def test_the_encoder_receives_no_gradient_and_everything_else_does():
    network = build(SMALL)
    module = PolicyLoss(network, WEIGHTS)
    module(batch_of(network, *windows(SMALL), 3, 1))["total"].backward()
    without = {name for name, weight in network.named_parameters() if weight.grad is None}
    assert {name.split(".")[0] for name in without} == {"vision", "resampler", "state_head", "backbone"}
    assert [name for name in without if "backbone" in name] == ["backbone.model.embed_tokens.weight"]  # our tokens are no words


def test_the_encoder_stage_trains_the_encoder_and_nothing_else_of_the_network():
    network = build(SMALL)
    module = EncoderLoss(network, 6, 0.3)
    names = {name.split(".")[0] for name, weight in module.named_parameters() if weight.requires_grad}
    assert names == {"vision", "resampler", "numbers", "picture"}
    frames = {"static": torch.randn(2, 3, 32, 32), "wrist": torch.randn(2, 3, 16, 16)}
    losses = module({**frames, "numbers": torch.randn(2, 6), "small": torch.randn(2, 2, 3, 16, 16)})
    assert losses["total"].item() == pytest.approx(losses["numbers"].item() + 0.3 * losses["picture"].item())
    losses["total"].backward()
    assert all(weight.grad is not None for weight in network.vision.parameters())


def test_the_first_copy_is_what_the_network_makes_of_clean_frames_and_the_others_are_disturbed_alike(tmp_path, cache):
    network = build(SMALL)
    clean, other = keep_features(tmp_path, network, cache, IMAGES, FeatureStage(copies=2), seed=3)
    with torch.no_grad():
        shown = [normalise(cache.pictures(view, side), IMAGES) for view, side in (("static", 32), ("wrist", 16))]
        expected = network.summarise(*shown)
    assert clean.dtype == np.float16 and torch.equal(torch.from_numpy(np.array(clean)), expected.half())
    assert not np.array_equal(clean, other)
    again = keep_features(tmp_path / "again", network, cache, IMAGES, FeatureStage(copies=2), seed=3)
    assert np.array_equal(again[1], other)
    changed = keep_features(tmp_path / "changed", network, cache, IMAGES, FeatureStage(copies=2), seed=4)
    assert np.array_equal(changed[0], clean) and not np.array_equal(changed[1], other)


def test_kept_features_are_not_made_again_and_what_a_killed_run_left_is_swept_away(tmp_path, cache):
    network = build(SMALL)
    keep_features(tmp_path, network, cache, IMAGES, FeatureStage(copies=1), 0)
    (tmp_path / ".copy_1.99.npy").write_bytes(b"half")
    first = (tmp_path / "copy_0.npy").stat().st_mtime_ns
    assert len(keep_features(tmp_path, network, cache, IMAGES, FeatureStage(copies=2), 0)) == 2
    assert (tmp_path / "copy_0.npy").stat().st_mtime_ns == first
    assert sorted(file.name for file in tmp_path.iterdir()) == ["copy_0.npy", "copy_1.npy"]


def test_a_full_disk_leaves_no_half_features(tmp_path, cache, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(DataError, match=r"features cannot be written: .*No space left"):
        keep_features(tmp_path, build(SMALL), cache, IMAGES, FeatureStage(copies=1), 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [-10, None])
def test_features_of_other_data_or_damaged_ones_are_refused(tmp_path, cache, length):
    network = build(SMALL)
    keep_features(tmp_path, network, cache, IMAGES, FeatureStage(copies=1), 0)
    file = tmp_path / "copy_0.npy"
    if length:
        file.write_bytes(file.read_bytes()[:length])
    else:
        np.save(file, np.load(file)[:-1])
    with pytest.raises(DataError, match="remove this folder"):
        keep_features(tmp_path, network, cache, IMAGES, FeatureStage(copies=1), 0)


def test_the_report_scores_held_out_windows_beside_copying_the_last_frame_and_shows_some(tmp_path, cache):
    network = build(SMALL)
    numbers, places = (
        network_numbers(cache, find_preset_conventions("playtable")),
        WindowPlaces(cache.episodes, SMALL, DataSection()),
    )
    clean = keep_features(tmp_path, network, cache, IMAGES, FeatureStage(copies=1), 0)[0]
    text = network.text(list(places.words))
    score = policy_report(places, cache, numbers, clean, text, network, IMAGES)(PolicyLoss(network, WEIGHTS), 0)
    assert set(score) == {"total", "arm", "gripper", "image", "copying"}
    firsts, _ = places.spread(384)
    last, came = (
        torch.stack([normalise(cache.pictures(view, 16)[firsts + step], IMAGES) for view in ("static", "wrist")])
        for step in (0, 3)
    )
    assert score["copying"] == pytest.approx(F.mse_loss(last, came).item(), rel=1e-5)
    save_pictures(tmp_path / "shown.png", places, cache, numbers, clean, text, network, IMAGES)
    assert (tmp_path / "shown.png").stat().st_size > 1000
