"""A new adapter begins where the mixture is: exactly where there is rank enough, and an adaptation goes on from there."""

from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from adaptation_making import (
    CANVAS,
    RECIPE,
    make_adapter,
    open_exploration,
    plain_training,
    small_checkpoint,
    window_tensors,
    write_exploration,
)  # fmt: skip
from mixed_factors import WEIGHTS, random_factors, two_adapters
from peft import PeftModel
from small_networks import build

from worldagen.adaptation.adapter import digest_of, read_manifest, weights_of
from worldagen.adaptation.recipe import TrainedSection
from worldagen.adaptation.request import AdaptationRequest
from worldagen.adaptation.run import adapt
from worldagen.adaptation.start import read_start
from worldagen.adaptation.trained import lora_names, training_of
from worldagen.adaptation.update import ActionNumbers, WorldLoss, train_adapter
from worldagen.adaptation.windows import plan_windows
from worldagen.checkpoint import load_checkpoint
from worldagen.errors import AdaptationError, BankError
from worldagen.mixture.factors import level_of, projection_widths, read_factors
from worldagen.mixture.merged import merge_mixture
from worldagen.mixture.starting import make_start, write_start
from worldagen.network.config import BackboneConfig

SECTION = TrainedSection(rank=6, alpha=3.0)  # as much as both adapters have together


def start_of(network, section=SECTION, weights=WEIGHTS, **more):
    return make_start(two_adapters(network), weights, section, network.config, weights_of(network), **more)


def sums(network, weights=WEIGHTS, layers: int = 2) -> dict[str, torch.Tensor]:
    """T of every projection, plainly."""
    found = {}
    for place, (outputs, inputs) in projection_widths(network.config, weights_of(network)).items():
        total, level = torch.zeros(outputs, inputs, dtype=torch.float64), level_of(place, layers)
        for name, one in two_adapters(network).items():
            a, b = one.pairs[place]
            total += weights[name][level] * one.scale * b.double() @ a.double()
        found[place] = total
    return found


def added_by(start) -> dict[str, torch.Tensor]:
    """What the start adds, by its weight's name."""
    scale = start.section.alpha / start.section.rank
    names = [name for name in start.tensors if name.endswith("lora_A.weight")]
    found = {}
    for name in names:
        place = name.removeprefix("base_model.model.").replace("lora_A.weight", "weight")
        a, b = (start.tensors[each].double() for each in lora_names(place))
        found[place] = scale * b @ a
    return found


@pytest.mark.parametrize("rank", [6, 9])
def test_with_rank_enough_the_start_is_the_mixture(rank):
    network = build(CANVAS)
    start = start_of(network, replace(SECTION, rank=rank))
    expected, found = sums(network), added_by(start)
    assert set(found) == set(expected)
    for place, total in expected.items():
        assert (found[place] - total).abs().max() <= 1e-6 * total.abs().max(), place
    assert start.overall == pytest.approx(1.0) and not start.from_zero
    assert all(energy == pytest.approx(1.0) for energy in start.energy.values())


def test_with_less_rank_it_is_the_nearest_and_what_it_keeps_grows_with_the_rank():
    network = build(CANVAS)
    expected = sums(network)
    energies = []
    for rank in range(1, 7):
        start = start_of(network, replace(SECTION, rank=rank), least_energy=0.0)
        energies.append(start.overall)
        for place, total in expected.items():
            found, singular = added_by(start)[place], torch.linalg.svdvals(total)
            lost = float(singular[rank:].square().sum())
            assert float((found - total).square().sum()) == pytest.approx(lost, rel=1e-3, abs=1e-9)
            assert start.energy[place] == pytest.approx(1 - lost / float(singular.square().sum()), abs=1e-9)
    assert all(below < above for below, above in pairwise(energies))
    assert energies[-1] == pytest.approx(1.0) and energies[0] < 0.8


def test_a_and_b_are_balanced():
    start = start_of(build(CANVAS))
    for name in start.tensors:
        if name.endswith("lora_A.weight"):
            a, b = start.tensors[name], start.tensors[name.replace("lora_A", "lora_B")]
            torch.testing.assert_close(a.norm(dim=1), b.norm(dim=0), rtol=1e-4, atol=1e-6)


def test_too_little_energy_is_a_start_from_zero_and_told_so():
    network = build(CANVAS)
    start = start_of(network, replace(SECTION, rank=1))
    assert start.from_zero and start.overall < 0.8 and "too little, started from zero" in start.told
    for name, tensor in start.tensors.items():
        assert bool(tensor.any()) == name.endswith("lora_A.weight")
    kept = start_of(network, replace(SECTION, rank=1), least_energy=start.overall)
    assert not kept.from_zero and "rank 1 keeps" in kept.told and kept.overall == start.overall


def test_directions_that_are_left_over_can_still_learn():
    network = build(CANVAS)
    weights = {"kitchen": (0.0, 0.0, 0.0), "garage": (1.0, 0.0, 0.0)}  # rank 2 in layer 0, nothing in layer 1
    start = start_of(network, weights=weights, seed=3)
    for name, tensor in start.tensors.items():
        used = 2 if ".layers.0." in name else 0
        if name.endswith("lora_A.weight"):
            assert tensor[used:].any(dim=1).all() and tensor[used:].abs().max() <= tensor.shape[1] ** -0.5
        else:
            assert not tensor[:, used:].any() and tensor[:, :used].any() == bool(used)
    again, other = start_of(network, weights=weights, seed=3), start_of(network, weights=weights, seed=4)
    assert all(torch.equal(tensor, again.tensors[name]) for name, tensor in start.tensors.items())
    assert not all(torch.equal(tensor, other.tensors[name]) for name, tensor in start.tensors.items())


def test_what_the_recipe_has_no_target_for_counts_as_lost():
    network = build(CANVAS)
    section = replace(SECTION, projections="q,k,v,o,gate,up")
    start = start_of(network, section)
    assert {energy for place, energy in start.energy.items() if "down_proj" in place} == {0.0}
    lost = sum(float(total.square().sum()) for place, total in sums(network).items() if "down_proj" in place)
    everything = sum(float(total.square().sum()) for total in sums(network).values())
    assert start.overall == pytest.approx(1 - lost / everything, abs=1e-6)
    assert not any("down_proj" in name for name in start.tensors)


def test_of_nothing_it_is_a_start_from_zero():
    network = build(CANVAS)
    start = make_start({}, {}, SECTION, network.config, weights_of(network))
    assert not any(tensor.any() for name, tensor in start.tensors.items() if "lora_B" in name)
    assert start.overall == 1.0 and start.energy == {}


@pytest.mark.parametrize("kind", ["qwen3", "gpt2"])
def test_its_folder_is_an_ordinary_adapter_that_must_not_drive(tmp_path, kind):
    backbone = CANVAS.backbone if kind == "qwen3" else BackboneConfig("gpt2", layers=2, heads=2)
    network = build(replace(CANVAS, backbone=backbone))
    base, digest = weights_of(network), digest_of(weights_of(network))
    factors = {"kitchen": random_factors(network, "kitchen", 4, 1), "garage": random_factors(network, "garage", 2, 2)}
    start = make_start(factors, WEIGHTS, SECTION, network.config, base)
    folder = write_start(tmp_path, start, network.config, digest)
    manifest = read_manifest(folder)
    assert manifest["gate"]["verdict"] == "rejected" and manifest["gate"]["checks"][0]["name"] == "adapted"
    assert manifest["recipe_name"] == "mixture" and "-mixture-" in folder.name
    assert manifest["mixture"]["weights"] == {"kitchen": [0.5, 0.1, 0.0], "garage": [0.2, 0.7, 0.4]}
    assert manifest["mixture"]["energy"] == pytest.approx(1.0) and len(manifest["mixture"]["energy_of"]) == len(start.energy)
    one = read_factors(folder, network.config, base, digest)
    whole = merge_mixture(network.config, base, {"one": one}, {"one": (1.0, 1.0, 1.0)})
    for place, weight in merge_mixture(network.config, base, factors, WEIGHTS).items():
        torch.testing.assert_close(whole[place], weight, rtol=0, atol=1e-5)
    with pytest.raises(BankError, match="not 000000000000"):
        write_start(tmp_path, start, network.config, "0" * 64)


def test_peft_reads_it(tmp_path):
    network = build(CANVAS)
    folder = write_start(tmp_path, start_of(network), CANVAS, digest_of(weights_of(network)))
    merged = merge_mixture(CANVAS, weights_of(network), two_adapters(network), WEIGHTS)
    tokens, indices = torch.randn(1, 6, CANVAS.hidden), torch.arange(6)
    plain = build(CANVAS)
    plain.config = None  # type: ignore[assignment] - what peft expects there is transformers' own
    by_peft = PeftModel.from_pretrained(plain, str(folder)).base_model.model  # type: ignore[arg-type]
    for name, parameter in network.named_parameters():
        parameter.data = merged.get(name, parameter.data)
    torch.testing.assert_close(by_peft.attend(tokens, indices), network.attend(tokens, indices), rtol=1e-4, atol=1e-5)


# An adaptation that starts from it


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Bags, their frames, a checkpoint, a recipe."""
    folder = tmp_path_factory.mktemp("starting")
    write_exploration(folder / "bags")
    small_checkpoint(folder / "checkpoint")
    (folder / "small.yaml").write_text(yaml.safe_dump(asdict(replace(RECIPE, trained=SECTION))), "utf-8")
    return folder


@pytest.fixture(scope="module")
def exploration(place):
    return open_exploration(place / "bags", place / "cache")


@pytest.mark.parametrize("changes", [{"passes": 1}, {"passes": 3}, {"passes": 1, "clip": 1e-4, "clip_running_sum": True}],
                         ids=["one step", "three steps", "clipped as published"])  # fmt: skip
def test_the_update_from_a_start_is_the_plain_one(exploration, changes):
    """In double precision: AdamW divides gradients by their size, so rounding shows where they are next to nothing."""
    cache, numbers = exploration
    recipe = replace(RECIPE, trained=SECTION, optimiser=replace(RECIPE.optimiser, **changes))
    recipe = replace(recipe, batch=1 if recipe.optimiser.clip_running_sum else 4)
    network = build(CANVAS).double()
    plan = plan_windows(cache.episodes, CANVAS, recipe.windows)
    start = start_of(network)
    with training_of(network, recipe.trained, recipe.seed, start.tensors) as trained:
        before = [pair.a.detach().clone() for pair in trained.pairs]
        train_adapter(network, trained, window_tensors(network, cache, numbers, plan), recipe)
        ours = [parameter.detach().clone() for parameter in trained.parameters]
    decayed = [a * (1 - recipe.optimiser.learning_rate * recipe.optimiser.weight_decay) for a in before]
    moved = [float((mine - a).abs().max()) for mine, a in zip(ours[::2], decayed, strict=True)]
    assert min(moved) > 1e-4  # A has a gradient from the first step on
    with plain_training(build(CANVAS).double(), cache, numbers, plan, recipe, start=start.tensors) as plain:
        assert len(plain) == len(ours) > 0
        for mine, theirs in zip(ours, plain, strict=True):
            np.testing.assert_allclose(mine.numpy(), theirs.detach().numpy(), atol=1e-6)


def test_before_the_first_step_the_network_is_the_mixture_and_afterwards_the_base(exploration):
    cache, numbers = exploration
    network, by_hand = build(CANVAS), build(CANVAS)
    merged = merge_mixture(CANVAS, weights_of(network), two_adapters(network), WEIGHTS)
    for name, parameter in by_hand.named_parameters():
        parameter.data = merged.get(name, parameter.data)
    before = {name: (weight, weight.data_ptr(), weight.clone()) for name, weight in network.state_dict().items()}
    tensors = window_tensors(network, cache, numbers)
    base = WorldLoss(network).all(tensors, 4)
    with training_of(network, SECTION, 0, start_of(network).tensors):
        started = WorldLoss(network).all(tensors, 4)
    assert started == pytest.approx(WorldLoss(by_hand).all(tensors, 4), rel=1e-4)
    assert not np.allclose(started, base, rtol=1e-3)
    for name, (_, address, value) in before.items():
        assert network.state_dict()[name].data_ptr() == address and torch.equal(network.state_dict()[name], value), name


def test_actions_are_held_near_those_of_the_base_not_of_the_start(exploration):
    cache, numbers = exploration
    recipe = replace(RECIPE, trained=SECTION)
    recipe = replace(recipe, optimiser=replace(recipe.optimiser, passes=12, keep_actions=100.0))
    network = build(CANVAS)
    tensors, windows = window_tensors(network, cache, numbers), np.arange(4)
    actions = ActionNumbers(network)
    with torch.no_grad():
        base = actions.of(tensors, windows)[0]
        with training_of(network, SECTION, 0, start_of(network).tensors) as trained:
            started = (actions.of(tensors, windows)[0] - base).pow(2).mean()
            with torch.enable_grad():
                train_adapter(network, trained, tensors, recipe)
            ended = (actions.of(tensors, windows)[0] - base).pow(2).mean()
    assert started > 1e-3 and ended < 0.5 * started


def written_start(place: Path, out: Path, section: TrainedSection = SECTION) -> Path:
    network, _ = load_checkpoint(place / "checkpoint")
    return write_start(out, start_of(network, section), network.config, digest_of(weights_of(network)))


def asked(place: Path, out: Path, start: Path) -> AdaptationRequest:
    paths = [str(place / name) for name in ("checkpoint", "bags", "small.yaml")]
    return AdaptationRequest(*paths, out=str(out), cache=str(place / "cache"), start=str(start))


def test_a_whole_adaptation_tells_what_it_started_from(place, exploration, tmp_path):
    start = written_start(place, tmp_path / "starts")
    made, told = adapt(asked(place, tmp_path / "adapters", start)), read_manifest(start)
    manifest = read_manifest(Path(made.folder))
    assert manifest["start"]["id"] == start.name and manifest["start"]["files"] == told["files"]
    assert manifest["start"]["recipe_name"] == "mixture" and manifest["start"]["mixture"] == told["mixture"]
    from_zero = adapt(replace(asked(place, tmp_path / "adapters", start), start=""))
    assert read_manifest(Path(from_zero.folder))["start"] == {}
    losses = [read_manifest(Path(one.folder))["training"]["losses"][0] for one in (made, from_zero)]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)  # the first is the mixture's, the other the base's
    assert made.loss_before == pytest.approx(from_zero.loss_before)  # both are judged against the base


@pytest.mark.parametrize(
    ("ours", "told"),
    [
        (replace(SECTION, rank=4), r"its trained.rank is 6, this recipe's is 4"),
        (replace(SECTION, alpha=6.0), r"its trained.alpha is 3, this recipe's is 6"),
        (replace(SECTION, projections="q,k"), r"adds to 14 projections .* this recipe to 4 "),
        (replace(SECTION, layers="1"), r"adds to 14 projections .* this recipe to 7 .*layers '1'"),
        (replace(SECTION, what="full"), "only lora starts from an adapter"),
    ],
)
def test_a_start_that_the_recipe_does_not_fit_is_refused(place, tmp_path, ours, told):
    network, _ = load_checkpoint(place / "checkpoint")
    folder = written_start(place, tmp_path)
    base = weights_of(network)
    assert read_start(folder, replace(SECTION, projections="down,up,gate,o,v,k,q"), CANVAS, base, digest_of(base)).tensors
    with pytest.raises(AdaptationError, match=told):
        read_start(folder, ours, CANVAS, base, digest_of(base))


def test_what_is_no_start_is_refused_before_anything_is_read(place, tmp_path):
    whole = make_adapter(place / "checkpoint", tmp_path / "whole", "image_head")
    with pytest.raises(AdaptationError, match="of the kind 'image_head' is no start"):
        adapt(asked(place, tmp_path / "adapters", whole))
    start = written_start(place, tmp_path / "starts")
    small_checkpoint(tmp_path / "other", seed=1)
    with pytest.raises(AdaptationError, match="belongs to a base with the digest"):
        adapt(replace(asked(place, tmp_path / "adapters", start), checkpoint=str(tmp_path / "other")))
    (start / "adapter_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(AdaptationError, match=r"adapter_model\.safetensors: damaged"):
        adapt(asked(place, tmp_path / "adapters", start))
    with pytest.raises(AdaptationError, match="no such file; give the folder of an adapter"):
        adapt(asked(place, tmp_path / "adapters", tmp_path / "nowhere"))
    assert not (tmp_path / "adapters").exists()


@pytest.mark.parametrize(
    ("section", "told"),
    [(replace(SECTION, what="full"), "a start is LoRA"), (replace(SECTION, alpha=0.0), "an alpha above 0")],
)
def test_a_start_of_another_kind_is_refused(section, told):
    with pytest.raises(BankError, match=told):
        start_of(build(CANVAS), section)


def test_adapters_of_several_bases_make_no_start():
    network = build(CANVAS)
    factors = {"a": random_factors(network, "a"), "b": random_factors(network, "b", base="0" * 64)}
    with pytest.raises(BankError, match="belong to several bases: 000000000000"):
        make_start(factors, dict.fromkeys(factors, (0.5, 0.5, 0.5)), SECTION, CANVAS, weights_of(network))
