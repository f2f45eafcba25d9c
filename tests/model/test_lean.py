"""The backbone of a running network is the one that was trained, computed with less around it."""

import gc
from dataclasses import replace

import numpy as np
import pytest
import torch
from adaptation_making import make_adapter, small_checkpoint
from small_networks import TINY, build, random_observations

from worldagen.checkpoint import load_checkpoint, save_checkpoint
from worldagen.network.config import BackboneConfig
from worldagen.network.lean import JOINED_KEPT, LeanBackbone, fits
from worldagen.policy_conventions import PRESET_CONVENTIONS
from worldagen.session import NetworkPolicy, load_policy

CALVIN = PRESET_CONVENTIONS["calvin"]


def both(dtype=torch.float32):
    """The same weights twice, once lean."""
    plain, other = build(TINY).to(dtype), build(TINY).to(dtype)
    return plain, LeanBackbone(other)


@pytest.mark.parametrize("cuts", [(), (40,), (1, 2, 70)])
@pytest.mark.parametrize(("dtype", "gap"), [(torch.float32, 1e-6), (torch.bfloat16, 0.05)])
@torch.inference_mode()
def test_any_part_of_a_window_in_any_pieces_gives_what_transformers_gives(cuts, dtype, gap):
    plain, lean = both(dtype)
    torch.manual_seed(1)
    places = torch.randperm(plain.layout.length)[:100].sort().values
    tokens = torch.randn(1, 100, TINY.hidden, dtype=dtype)
    theirs, ours = plain.memory(), lean.memory()
    for piece in np.split(np.arange(100), cuts):
        expected = plain.attend(tokens[:, piece], places[piece], theirs)
        found = lean.attend(tokens[:, piece], places[piece], ours)
        readable = plain.mask[places[piece]][:, ours.indices].any(dim=1)  # a row that may read nothing is nobody's
        assert (found - expected)[0, readable].abs().max() <= gap


def test_a_session_decides_and_expects_the_same_either_way():
    lean, plain = NetworkPolicy(build(TINY), CALVIN), NetworkPolicy(build(TINY), CALVIN)
    plain.use_plain_backbone()
    for policy in (lean, plain):
        policy.reset("open the drawer")
    for step, observation in enumerate(random_observations(8)):
        expected, found = plain.act(observation), lean.act(observation)
        assert np.abs(found.rows - expected.rows).max() < 1e-6
        assert np.abs(lean.predict_pixels() - plain.predict_pixels()).max() < 1e-4
        if step % 2:
            lean.prepare()
            plain.prepare()


def test_exchanged_weights_are_followed_and_the_base_comes_back_without_joining_again(tmp_path):
    checkpoint = small_checkpoint(tmp_path / "checkpoint")
    folder = make_adapter(checkpoint, tmp_path)
    lean, plain = load_policy(checkpoint), load_policy(checkpoint)
    plain.use_plain_backbone()
    seen = random_observations(6)
    for policy in (lean, plain):
        policy.reset("push the block")
        policy.act(seen[0])
    layer = lean._attender._layers[0]  # type: ignore[attr-defined]
    base = layer.joined()
    for observation in seen[1:]:
        for policy in (lean, plain):
            policy.load_adapter(folder)
        assert np.abs(lean.act(observation).rows - plain.act(observation).rows).max() < 1e-6
        assert layer.joined()[0] is not base[0]
        for policy in (lean, plain):
            policy.use_adapter("")
        assert layer.joined()[0] is base[0]
    for _ in range(JOINED_KEPT + 2):  # swapped from one to the next, each time with tensors of its own
        lean.load_adapter(folder)
        lean.act(seen[0])
    lean.use_adapter("")
    assert layer.joined()[0] is base[0]
    assert len(layer._kept) <= JOINED_KEPT


def test_buffers_are_used_again_and_weights_are_held_once():
    policy = NetworkPolicy(build(TINY), CALVIN)
    policy.reset("open the drawer")
    lean = policy._attender
    buffers = set()
    for observation in random_observations(12):
        policy.act(observation)
        policy.prepare()
        gc.collect()
        buffers.add(policy._decision.memory.buffer.data_ptr())  # type: ignore[union-attr]
        assert len(lean._spare) <= 2  # type: ignore[attr-defined]
    assert len(buffers) <= 3
    attention = policy.network.backbone.model.layers[0].self_attn  # type: ignore[union-attr, index]
    joined = lean._layers[0].joined()[0]  # type: ignore[attr-defined]
    assert attention.q_proj.weight.data_ptr() == joined.data_ptr()
    NetworkPolicy(policy.network, CALVIN)  # a second session on it leaves the weights where they are
    assert attention.q_proj.weight.data_ptr() == joined.data_ptr()


def test_a_network_that_runs_can_be_saved_and_moved(tmp_path):
    network, reference = build(TINY), build(TINY)
    policy = NetworkPolicy(network, CALVIN)
    save_checkpoint(tmp_path / "saved", network, CALVIN, "a test")
    saved = load_checkpoint(tmp_path / "saved")[0].state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in reference.state_dict().items())
    network.to(torch.float64)
    policy.reset("open the drawer")
    policy.act(random_observations(1)[0])


def test_other_backbones_stay_with_transformers():
    gpt2 = build(replace(TINY, backbone=BackboneConfig("gpt2", layers=2, heads=2)))
    assert not fits(gpt2) and NetworkPolicy(gpt2, CALVIN)._attender is gpt2
    mixed = build(TINY)
    mixed.backbone.model.layers[0].mlp.up_proj.to(torch.float64)  # type: ignore[union-attr, index]
    assert not fits(mixed)
