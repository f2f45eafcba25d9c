"""A whole run, from two or three short bags to a policy that acts; and every way in which a folder or its data are refused."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from bag_making import STATIC, WORDS, WRIST, write_bag
from demonstration_making import demonstrate, records_of
from small_networks import random_observations
from training_making import MACHINE, RECIPE, add_small_preset, in_two_processes, make_bags

from worldagen.data import cache as caching
from worldagen.errors import CheckpointError, DataError, TrainingError, UnknownName
from worldagen.network.config import PRESETS
from worldagen.policy_conventions import PRESET_CONVENTIONS
from worldagen.session import load_policy
from worldagen.training import run as running
from worldagen.training import state as states
from worldagen.training.recipe import DataSection, Loop, Machine, Optimiser, load_recipe
from worldagen.training.run import ENCODER, build_checkpoint, make_network, prepare, train
from worldagen.training.state import saved_states


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    add_small_preset(
        lambda name, value: monkeypatch.setitem(PRESETS, name, value),
        lambda name, value: monkeypatch.setitem(PRESET_CONVENTIONS, name, value),
    )
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    return make_bags(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def done(source, tmp_path_factory) -> Path:
    """A run that went straight through."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    add_small_preset()
    fitted = train(prepare(RECIPE, [source], folder))
    assert [place.name for place in fitted.states] == ["step_000002", "step_000004"]
    AcceleratorState._reset_state(True)
    return folder


def whole_run(source: str, folder: Path) -> None:
    AcceleratorState._reset_state(True)
    train(prepare(RECIPE, [source], folder))
    assert PartialState().num_processes == 2


def newest(folder: Path) -> dict[str, torch.Tensor]:
    return states._read(saved_states(folder / "policy_0")[-1])


def copy_of(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target))


def test_bags_become_a_policy_that_acts(done, source, tmp_path):
    prepared = prepare(RECIPE, [source], done)
    build_checkpoint(prepared, saved_states(done / "policy_0")[-1], tmp_path / "checkpoint", "a test")
    policy = load_policy(tmp_path / "checkpoint")
    policy.reset("push block 1")
    chunks = [policy.act(observation) for observation in random_observations(3)]
    assert chunks[0].rows.shape == (3, 7) and policy.predict()["static"].shape == (16, 16, 3)
    averaged = newest(done)["average/network.backbone.model.norm.weight"]
    assert torch.equal(policy.network.state_dict()["backbone.model.norm.weight"], averaged)


def test_a_run_tells_its_losses_of_both_stages_and_shows_what_it_painted(done):
    told = {stage: (done / stage / "metrics.jsonl").read_text() for stage in ("encoder", "policy_0")}
    assert {"numbers", "picture"} <= json.loads(told["encoder"].splitlines()[0]).keys()
    assert "validation/copying" in told["policy_0"] and "validation/drawer" in told["encoder"]
    assert (done / "policy_0" / "pictures_000004.png").is_file()


def test_a_run_that_is_done_does_nothing_more(done, source):
    before = {file: file.stat().st_mtime_ns for file in done.rglob("*") if file.is_file() and file.name != "metrics.jsonl"}
    train(prepare(RECIPE, [source], done))
    assert before == {file: file.stat().st_mtime_ns for file in before}


@pytest.mark.parametrize("stage", ["encoder", "features", "policy_0"])
def test_broken_off_in_any_stage_the_same_command_goes_on_to_the_same_weights(done, source, tmp_path, monkeypatch, stage):
    folder = tmp_path / "run"
    where = {"encoder": "encoder_batches", "features": "keep_features", "policy_0": "policy_batches"}[stage]
    real = getattr(running, where)

    def breaks(*arguments, **options):
        if stage == "features":
            raise KeyboardInterrupt
        draw = real(*arguments, **options)

        def drawn(step, *place):
            if step == 3 or (stage == "encoder" and step == 2):
                raise KeyboardInterrupt
            return draw(step, *place)

        return drawn

    monkeypatch.setattr(running, where, breaks)
    with pytest.raises(KeyboardInterrupt):
        train(prepare(RECIPE, [source], folder))
    monkeypatch.setattr(running, where, real)
    train(prepare(RECIPE, [source], folder))
    straight, broken = newest(done), newest(folder)
    assert straight.keys() == broken.keys() and all(torch.equal(straight[name], broken[name]) for name in straight)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="forks, which no accelerator survives")
def test_two_processes_make_the_policy_of_one(done, source, tmp_path):
    in_two_processes(whole_run, source, tmp_path / "run")
    one, two = newest(done), newest(tmp_path / "run")
    assert one.keys() == two.keys()
    # The gradients' moments, not the weights: what AdamW makes of a gradient that is nothing but rounding is of full size.
    moments = [name for name in one if name.endswith("exp_avg")]
    assert moments and all(torch.allclose(one[name], two[name], atol=5e-6) for name in moments)


def test_another_seed_shares_the_encoder_and_leaves_the_first_policy_alone(done, source, tmp_path):
    folder = copy_of(done, tmp_path / "run")
    before = (folder / "encoder" / ENCODER).stat().st_mtime_ns, newest(folder)
    train(prepare(replace(RECIPE, seed=1), [source], folder))
    assert (folder / "encoder" / ENCODER).stat().st_mtime_ns == before[0]
    other = states._read(saved_states(folder / "policy_1")[-1])
    assert not torch.equal(other["model/network.position"], before[1]["model/network.position"])
    first = newest(folder)
    assert all(torch.equal(weight, first[name]) for name, weight in before[1].items())


def test_a_state_of_another_network_becomes_no_checkpoint(done, source, tmp_path):
    prepared = prepare(RECIPE, [source], done)
    with pytest.raises(TrainingError, match="weights of another network"):
        build_checkpoint(prepared, saved_states(done / "encoder")[-1], tmp_path / "checkpoint", "")
    assert not (tmp_path / "checkpoint").exists()


def test_a_folder_of_another_recipe_is_refused_with_every_difference(done, source):
    other = replace(RECIPE, encoder_seed=3, policy=replace(RECIPE.policy, action_noise=0.5))
    with pytest.raises(TrainingError) as refused:
        prepare(other, [source, source], done)
    for words in ("encoder_seed 0 instead of 3", "policy.action_noise 0.1 instead of 0.5", "data_sources"):
        assert words in str(refused.value)


def test_what_does_not_change_the_result_may_differ(done, source):
    prepare(replace(RECIPE, seed=7, machine=Machine(threads=2), choice=replace(RECIPE.choice, episodes=9)), [source], done)


def test_a_folder_with_something_else_in_it_is_refused_and_stays_as_it_is(source, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(TrainingError, match="not empty and holds no training run"):
        prepare(RECIPE, [source], tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_whose_recipe_is_damaged_or_that_is_a_file_is_refused(source, tmp_path):
    (tmp_path / "recipe.json").write_text('{"preset"')
    with pytest.raises(TrainingError, match=r"recipe.json: cannot be read"):
        prepare(RECIPE, [source], tmp_path)
    with pytest.raises(TrainingError, match="no training run can be kept here"):
        prepare(RECIPE, [source], tmp_path / "recipe.json")


def test_data_that_changed_since_a_run_was_begun_are_refused(tmp_path):
    source = make_bags(tmp_path / "data", [8, 8])
    prepare(RECIPE, [source], tmp_path / "run")
    make_bags(tmp_path / "data" / "more", [8])
    with pytest.raises(TrainingError, match="have changed since it was begun"):
        prepare(RECIPE, [source], tmp_path / "run")


def test_a_run_can_go_on_from_a_checkpoint_and_only_from_one_that_fits(done, source, tmp_path):
    start = tmp_path / "start"
    build_checkpoint(prepare(RECIPE, [source], done), saved_states(done / "policy_0")[-1], start, "a test")
    still = Optimiser(learning_rate=0.0, weight_decay=0.0)
    stages = {"encoder": replace(RECIPE.encoder, optimiser=still), "policy": replace(RECIPE.policy, optimiser=still)}
    recipe = replace(RECIPE, start=str(start), **stages)
    prepared = prepare(recipe, [source], tmp_path / "run")
    train(prepared)
    build_checkpoint(prepared, saved_states(tmp_path / "run" / "policy_0")[-1], tmp_path / "same", "a test")
    before, after = (load_policy(place).network.state_dict() for place in (start, tmp_path / "same"))
    assert all(torch.allclose(value, after[name], atol=1e-6) for name, value in before.items())

    build_checkpoint(prepare(RECIPE, [source], done), saved_states(done / "policy_0")[0], tmp_path / "other", "a test")
    shutil.rmtree(start)
    (tmp_path / "other").rename(start)
    with pytest.raises(TrainingError, match="the checkpoint it starts from have changed"):
        prepare(recipe, [source], tmp_path / "run")
    with pytest.raises(CheckpointError, match="is another network"):
        make_network(prepare(replace(RECIPE, start="playtable"), [source], tmp_path / "foreign"))
    with pytest.raises(CheckpointError, match="there is no checkpoint 'nowhere'"):
        prepare(replace(RECIPE, start="nowhere"), [source], tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def bag(folder: Path, **options) -> str:
    records = records_of(demonstrate(steps=9), **options)
    write_bag(folder / "shown", records)
    return f"bag:{folder}"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: bag(folder, without=(WORDS,)), "shown: no words"),
        (lambda folder: bag(folder, without=(WRIST,)), "no pictures on wrist_camera"),
        (lambda folder: bag(folder, without=(STATIC, WRIST)), "its pictures are on: no topic"),
        (lambda folder: make_bags(folder, [3, 3]), "a window spans 7 frames, the longest of 1 episodes has 3"),
        (lambda folder: make_bags(folder, [9]), "the longest of 0 episodes has 0"),
        (lambda folder: f"bag:{folder}", "no bag"),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused_before_anything_is_trained(tmp_path, make, words):
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match=words):
        train(prepare(replace(RECIPE, data=DataSection(held_out_every=2)), [make(tmp_path / "data")], tmp_path / "run"))
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_data_of_another_convention_than_the_network_are_refused(tmp_path):
    write_bag(tmp_path / "data" / "a", records_of(demonstrate(rate_hz=20)), {"parameters": {"robot.convention": "libero"}})
    with pytest.raises(DataError, match=r"'libero'.*the network is for .*'calvin'"):
        prepare(RECIPE, [f"bag:{tmp_path / 'data'}"], tmp_path / "run")


def test_skipped_episodes_are_told_by_name(source, tmp_path, capsys):
    bad = bag(tmp_path / "bad", without=(WORDS,))
    prepare(RECIPE, [source, bad], tmp_path / "run")
    assert "1 skipped\n  skipped shown: no words" in capsys.readouterr().out


def test_a_cache_that_was_interrupted_is_made_again(source, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(caching, "decode_episode", interrupted)
        prepare(RECIPE, [source], tmp_path / "run")
    assert len(prepare(RECIPE, [source], tmp_path / "run").cache.episodes) == 3


@pytest.mark.parametrize("where", ["step_000004", ENCODER])
def test_a_full_disk_is_told_in_one_line_and_the_run_goes_on_when_there_is_room(done, source, tmp_path, monkeypatch, where):
    module = running if where == ENCODER else states
    real = module.save_file

    def full(tensors, path):
        if where in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(tensors, path)

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(TrainingError, match=r"cannot be saved: .*No space left on device"):
        train(prepare(RECIPE, [source], tmp_path / "run"))
    monkeypatch.setattr(module, "save_file", real)
    train(prepare(RECIPE, [source], tmp_path / "run"))
    straight, broken = newest(done), newest(tmp_path / "run")
    assert all(torch.equal(value, broken[name]) for name, value in straight.items())


def test_without_an_encoder_stage_the_encoder_stays_as_the_seed_made_it(source, tmp_path):
    recipe = replace(
        RECIPE, encoder=replace(RECIPE.encoder, loop=Loop(steps=0)), policy=replace(RECIPE.policy, loop=Loop(steps=0))
    )
    prepared = prepare(recipe, [source], tmp_path / "run")
    train(prepared)
    kept = states.load_file(tmp_path / "run" / "encoder" / ENCODER)
    fresh = running.make_network(prepared).vision.state_dict()
    assert all(torch.equal(weight, kept[f"vision.{name}"]) for name, weight in fresh.items())


def test_a_run_in_half_precision_gives_finite_weights(source, tmp_path):
    recipe = replace(RECIPE, machine=replace(MACHINE, precision="bf16"))
    train(prepare(recipe, [source], tmp_path / "run"))
    assert all(np.isfinite(value.float().numpy()).all() for value in newest(tmp_path / "run").values())


def test_the_shipped_recipe_is_found_by_name_and_another_is_refused():
    recipe = load_recipe("playtable", {"policy.loop.steps": "10"})
    assert (recipe.policy.loop.steps, recipe.policy.loop.batch, recipe.data.rule) == (10, 32, "aligned")
    with pytest.raises(UnknownName, match="training recipe 'kitchen'; choose one of: playtable"):
        load_recipe("kitchen")
