"""A checkpoint folder comes back bit for bit, and whatever does not fit is refused with the whole list of reasons."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_networks import TINY, build, random_observations

from worldagen.checkpoint import load_checkpoint, load_weights, read_config, read_notes, save_checkpoint
from worldagen.conventions import find_convention
from worldagen.errors import CheckpointError
from worldagen.policy_conventions import PRESET_CONVENTIONS, require_match
from worldagen.session import NetworkPolicy, load_policy

CONVENTIONS = PRESET_CONVENTIONS["playtable"]


@pytest.fixture
def saved(tmp_path):
    folder, network = tmp_path / "checkpoint", build(replace(TINY, state_prediction=True))
    save_checkpoint(folder, network, CONVENTIONS, notes="made for a test")
    return folder, network


def edit_json(path, change):
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


def edit_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_a_checkpoint_comes_back_bit_for_bit(saved):
    folder, network = saved
    loaded, conventions = load_checkpoint(folder)
    assert loaded.config == network.config
    assert conventions == CONVENTIONS
    assert read_notes(folder) == "made for a test"
    expected = network.state_dict()
    assert list(loaded.state_dict()) == list(expected)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_checkpoints_stay_half_precision(tmp_path, dtype):
    network = build(TINY).to(dtype)
    save_checkpoint(tmp_path / "half", network, CONVENTIONS)
    loaded, _ = load_checkpoint(tmp_path / "half")
    assert loaded.position.dtype == dtype
    assert torch.equal(loaded.resampler.latents, network.resampler.latents)


def test_a_network_of_mixed_types_is_not_saved(tmp_path):
    network = build(TINY)
    network.vision.to(torch.bfloat16)
    with pytest.raises(CheckpointError, match=r"torch\.bfloat16, torch\.float32"):
        save_checkpoint(tmp_path / "mixed", network, CONVENTIONS)


def test_a_loaded_policy_acts_like_the_one_that_was_saved(saved):
    folder, network = saved
    policies = [NetworkPolicy(network, CONVENTIONS), load_policy(folder)]
    chunks = []
    for policy in policies:
        policy.reset("open the drawer")
        chunks.append([policy.act(observation).rows.tobytes() for observation in random_observations(3)])
    assert chunks[0] == chunks[1]


def test_loading_leaves_the_callers_random_numbers_alone(saved):
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    load_checkpoint(saved[0])
    assert torch.equal(torch.randn(3), expected)


def test_a_checkpoint_is_never_overwritten(saved):
    folder, network = saved
    with pytest.raises(CheckpointError, match="exists"):
        save_checkpoint(folder, network, CONVENTIONS)


def test_a_file_cut_short_is_refused(saved):
    path = saved[0] / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_checkpoint(saved[0])


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "conventions.json"])
def test_a_missing_file_is_named(saved, name):
    (saved[0] / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name}: no such file"):
        load_checkpoint(saved[0])


def test_all_differences_are_listed_and_nothing_is_changed(saved):
    folder, network = saved

    def spoil(tensors):
        del tensors["position"]
        tensors["surprise"] = torch.zeros(3)
        tensors["resampler.latents"] = torch.zeros(5, 32)
        tensors["input_norm.weight"] = tensors["input_norm.weight"].half()

    edit_weights(folder, spoil)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(CheckpointError) as refusal:
        load_weights(folder, network)
    text = str(refusal.value)
    assert "4 differences" in text
    assert "missing: position [32]" in text
    assert "unexpected: surprise [3]" in text
    assert "shape of resampler.latents: found (5, 32), expected (6, 32)" in text
    assert "type of input_norm.weight: found F16, expected F32" in text
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_another_network_is_refused_with_what_differs(saved):
    other = build(replace(TINY, rows=4))
    with pytest.raises(CheckpointError, match=r"rows: found 5, expected 4"):
        load_weights(saved[0], other)


def test_a_key_of_the_configuration_that_is_missing_or_unknown_is_named(saved):
    config = saved[0] / "config.json"
    edit_json(config, lambda tree: tree["network"]["backbone"].pop("layers"))
    with pytest.raises(CheckpointError, match=r"missing keys: backbone\.layers"):
        read_config(saved[0])
    edit_json(config, lambda tree: tree["network"]["backbone"].update(layers=2, depth=3))
    with pytest.raises(CheckpointError, match=r"unknown key backbone\.depth"):
        read_config(saved[0])


def test_a_value_no_network_has_is_refused(saved):
    edit_json(saved[0] / "config.json", lambda tree: tree["network"]["backbone"].update(kind="mamba"))
    with pytest.raises(CheckpointError, match="qwen3, gpt2"):
        read_config(saved[0])


def test_a_file_that_is_not_ours_is_refused(saved):
    (saved[0] / "config.json").write_text('{"model_type": "qwen3"}')
    with pytest.raises(CheckpointError, match="format is None"):
        load_checkpoint(saved[0])


def test_a_policy_starts_where_the_conventions_match():
    require_match(PRESET_CONVENTIONS["calvin"], find_convention("calvin"), ["wrist", "static", "tactile"], "CALVIN")


def test_a_policy_refuses_a_robot_that_means_something_else_by_its_numbers():
    with pytest.raises(CheckpointError) as refusal:
        require_match(PRESET_CONVENTIONS["calvin"], find_convention("libero"), ["static"], "LIBERO")
    text = str(refusal.value)
    for part in ("period_s", "translation_scale_m", "rotation_scale_rad", "rotation:", "gripper_open", "camera 'wrist'"):
        assert part in text
