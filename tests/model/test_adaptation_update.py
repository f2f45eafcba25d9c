"""The fast update against the plain one: same windows, same seeds, equal weights; and what one step does in closed form."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from adaptation_making import (
    CANVAS,
    CONVENTIONS,
    RECIPE,
    WINDOWS,
    open_exploration,
    plain_loss,
    plain_training,
    window_tensors,
    write_exploration,
)  # fmt: skip
from small_networks import TINY, build

from worldagen.adaptation.recipe import TrainedSection, load_adaptation_recipe
from worldagen.adaptation.trained import training_of
from worldagen.adaptation.update import ActionNumbers, WorldLoss, learning_rate, train_adapter
from worldagen.adaptation.windows import plan_windows
from worldagen.errors import AdaptationError
from worldagen.network.config import BackboneConfig
from worldagen.network.worldagen import Windows
from worldagen.training.samples import normalise

GPT2 = replace(CANVAS, backbone=BackboneConfig(kind="gpt2", layers=2, heads=2, dropout=0.0))


@pytest.fixture(scope="module")
def exploration(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exploration")
    return open_exploration(write_exploration(folder / "bags", 2), folder / "cache")


def trained_by(network, exploration, recipe):
    cache, numbers = exploration
    plan = plan_windows(cache.episodes, network.config, recipe.windows)
    tensors = window_tensors(network, cache, numbers, plan)
    with training_of(network, recipe.trained, recipe.seed) as trained:
        curve = train_adapter(network, trained, tensors, recipe)
        return [parameter.detach().clone() for parameter in trained.parameters], curve


@pytest.mark.parametrize("config", [CANVAS, TINY, GPT2], ids=["painted on the last", "blank", "gpt2"])
@pytest.mark.parametrize(
    "changes",
    [
        {"passes": 1},
        {"passes": 3},
        {"passes": 2, "windows_per_step": 3},
        {"clip": 1e-4},
        {"clip": 1e-4, "clip_running_sum": True},
    ],
    ids=["one step", "three steps", "small steps", "clipped", "clipped as published"],
)
def test_the_update_is_the_plain_one(exploration, config, changes):
    """In double precision: AdamW divides gradients by their size, so rounding shows where they are next to nothing."""
    recipe = replace(RECIPE, optimiser=replace(RECIPE.optimiser, **changes))
    if recipe.optimiser.clip_running_sum:
        recipe = replace(recipe, batch=1)
    cache, numbers = exploration
    network = build(config).double()
    plan = plan_windows(cache.episodes, config, recipe.windows)
    ours, _ = trained_by(network, exploration, recipe)
    with plain_training(build(config).double(), cache, numbers, plan, recipe) as plain:
        assert len(plain) == len(ours) > 0
        for mine, theirs in zip(ours, plain, strict=True):
            assert mine.shape == theirs.shape
            np.testing.assert_allclose(mine.numpy(), theirs.detach().numpy(), atol=1e-6)
    assert any(part.abs().max() > 1e-4 for part in ours[1::2])  # B has moved


def test_a_rate_that_decays_falls_by_the_same_after_each_step(exploration):
    recipe = replace(RECIPE, optimiser=replace(RECIPE.optimiser, passes=4, learning_rate=0.008, decay=True))
    _, curve = trained_by(build(CANVAS), exploration, recipe)
    assert curve.rates == pytest.approx((0.008, 0.006, 0.004, 0.002))


def test_small_steps_use_every_window_once_in_a_pass(exploration, monkeypatch):
    cache, numbers = exploration
    network = build(CANVAS)
    recipe = replace(RECIPE, batch=2, optimiser=replace(RECIPE.optimiser, passes=2, windows_per_step=3))
    tensors = window_tensors(network, cache, numbers)
    seen: list[int] = []
    told: list[tuple[int, int]] = []
    each = WorldLoss.each
    monkeypatch.setattr(WorldLoss, "each", lambda self, of, windows: seen.extend(windows.tolist()) or each(self, of, windows))
    with training_of(network, recipe.trained, recipe.seed) as trained:
        curve = train_adapter(network, trained, tensors, recipe, lambda done, of, _: told.append((done, of)))
    steps = len(tensors) // 3
    assert steps > 1 and len(curve.losses) == 2 * steps and told[-1] == (6 * steps, 6 * steps)
    for once in (seen[: 3 * steps], seen[3 * steps :]):
        assert len(once) == len(set(once)) == 3 * steps


def test_fewer_windows_than_a_step_asks_for_are_all_of_it(exploration):
    few = replace(RECIPE, optimiser=replace(RECIPE.optimiser, passes=2, windows_per_step=1000))
    (some, curve), (others, _) = (
        trained_by(build(CANVAS), exploration, recipe)
        for recipe in (few, replace(RECIPE, optimiser=replace(RECIPE.optimiser, passes=2)))
    )
    assert len(curve.losses) == 2 and all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


def test_the_loss_of_a_window_is_that_of_the_whole_network(exploration):
    cache, numbers = exploration
    network = build(CANVAS)
    tensors = window_tensors(network, cache, numbers)
    with torch.no_grad():
        plain = [float(plain_loss(network, cache, numbers, tensors.plan, window)) for window in range(len(tensors))]
    assert WorldLoss(network).all(tensors, batch=4) == pytest.approx(plain, rel=1e-5)


def test_each_frame_is_encoded_once_though_windows_share_it(exploration):
    cache, numbers = exploration
    tensors = window_tensors(build(CANVAS), cache, numbers)
    assert tensors.plan.frames.size > tensors.distinct_frames == len(np.unique(tensors.plan.frames))


def test_one_step_from_zero_is_known_in_closed_form(exploration):
    """B becomes -lr g / (|g| + eps), A shrinks by 1 - lr decay: the first step of AdamW is the sign of the gradient."""
    recipe = replace(RECIPE, optimiser=replace(RECIPE.optimiser, passes=1))
    network = build(CANVAS)
    cache, numbers = exploration
    tensors = window_tensors(network, cache, numbers)
    section = recipe.optimiser
    with training_of(network, recipe.trained, recipe.seed) as trained:
        before = [(pair.a.detach().clone(), pair.b.detach().clone()) for pair in trained.pairs]
        (section.loss_weight * WorldLoss(network).each(tensors, np.arange(len(tensors))).mean()).backward()
        gradients = [tuple(part.grad.clone() for part in (pair.a, pair.b) if part.grad is not None) for pair in trained.pairs]
        train_adapter(network, trained, tensors, recipe)
        for pair, (a, b), (to_a, to_b) in zip(trained.pairs, before, gradients, strict=True):
            assert torch.equal(to_a, torch.zeros_like(to_a)) and torch.equal(b, torch.zeros_like(b))
            torch.testing.assert_close(pair.a, a * (1 - section.learning_rate * section.weight_decay), rtol=1e-6, atol=0)
            large = to_b.abs() > 1e-6  # smaller ones come near AdamW's eps, where rounding decides
            expected = -section.learning_rate * to_b / (to_b.abs() + 1e-8)
            torch.testing.assert_close(pair.b[large], expected[large], rtol=1e-3, atol=0)


def test_as_published_the_rate_of_the_only_step_is_zero(exploration):
    recipe = load_adaptation_recipe("published")
    recipe = replace(recipe, windows=WINDOWS, trained=replace(recipe.trained, rank=4))
    weights, curve = trained_by(build(CANVAS), exploration, recipe)
    assert curve.rates == (0.0,)
    assert all(torch.equal(b, torch.zeros_like(b)) for b in weights[1::2])
    assert learning_rate(recipe.optimiser, 102, 1, 204) == pytest.approx(0.5 * recipe.optimiser.learning_rate)
    assert load_adaptation_recipe("paper").optimiser.learning_rate == 0.005


@pytest.mark.parametrize("what", ["lora", "backbone", "image_head", "full"])
def test_the_base_is_put_back_to_the_last_bit(exploration, what):
    network = build(CANVAS)
    before = {name: (weight, weight.data_ptr(), weight.clone()) for name, weight in network.state_dict().items()}
    recipe = replace(RECIPE, trained=TrainedSection(what=what, rank=4))
    weights, curve = trained_by(network, exploration, recipe)
    assert curve.losses[1] < curve.losses[0] and weights
    after = network.state_dict()
    assert list(after) == list(before)
    for name, (_, place, value) in before.items():
        assert after[name].data_ptr() == place and torch.equal(after[name], value), name


def test_only_the_chosen_layers_and_projections_are_trained(exploration):
    network = build(CANVAS)
    with training_of(network, TrainedSection(rank=2, projections="k,v", layers="1"), 0) as trained:
        assert [pair.name for pair in trained.pairs] == [
            f"backbone.model.layers.1.self_attn.{name}_proj.weight" for name in ("k", "v")
        ]
    with pytest.raises(AdaptationError, match="layers 0 to 1"), training_of(network, TrainedSection(layers="5"), 0):
        pass


def test_keeping_the_actions_keeps_them_closer(exploration):
    def moved(weight: float) -> float:
        network = build(CANVAS)
        cache, numbers = exploration
        tensors = window_tensors(network, cache, numbers)
        windows, actions = np.arange(len(tensors)), ActionNumbers(network)
        with torch.no_grad():
            before = actions.of(tensors, windows)[0]
        recipe = replace(RECIPE, optimiser=replace(RECIPE.optimiser, passes=8, keep_actions=weight))
        with training_of(network, recipe.trained, recipe.seed) as trained:
            train_adapter(network, trained, tensors, recipe)
            with torch.no_grad():
                return float((actions.of(tensors, windows)[0] - before).pow(2).mean())

    assert moved(10.0) < 0.5 * moved(0.0)


def test_what_the_policy_answers_in_a_window_is_what_the_whole_network_answers(exploration):
    cache, numbers = exploration
    network = build(CANVAS)
    tensors = window_tensors(network, cache, numbers)
    frames = tensors.plan.frames[0]
    with torch.no_grad():
        plain = network(
            Windows(
                normalise(cache.pictures("static", 32)[frames], CONVENTIONS.image)[None],
                normalise(cache.pictures("wrist", 16)[frames], CONVENTIONS.image)[None],
                torch.from_numpy(numbers.states[frames])[None],
                torch.from_numpy(numbers.actions[tensors.plan.rows[0]])[None],
                network.text([tensors.plan.words[0]]),
            )
        )
        arm, logits = ActionNumbers(network).of(tensors, np.arange(1))
    torch.testing.assert_close(arm, plain.arm.flatten(1, 2), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(logits, plain.gripper_logit.flatten(1, 2), rtol=1e-4, atol=1e-6)


def test_a_loss_that_is_no_number_ends_it_in_words(exploration):
    recipe = replace(RECIPE, optimiser=replace(RECIPE.optimiser, passes=30, learning_rate=1.0, clip=0.0))
    network = build(CANVAS)
    with torch.no_grad():
        network.image_head.norm.weight.fill_(1e25)
    with pytest.raises(AdaptationError, match="nothing was written"):
        trained_by(network, exploration, recipe)
