"""A recorded backbone gives what the lean one gives, whatever is exchanged in between; and it is kept only where it pays.

torch's tracer stands in for CUDA graphs: what it records is operations on the very tensors it saw, without any Python between
them, so whatever is not kept in place is computed from what was there when it was recorded.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from adaptation_making import make_adapter, small_checkpoint
from small_networks import TINY, build, random_observations
from torch.fx.experimental.proxy_tensor import make_fx

from worldagen.capturing import capture_backbone
from worldagen.engines.probe import draw_probe
from worldagen.network.captured import CudaGraphs
from worldagen.network.config import BackboneConfig
from worldagen.policy_conventions import PRESET_CONVENTIONS
from worldagen.session import NetworkPolicy, load_policy

CALVIN = PRESET_CONVENTIONS["calvin"]


def trace(work):
    """A recorder: what it gives replays operations, and fails where a tensor has another shape."""
    return make_fx(lambda: work(), tracing_mode="real")()


def captured_policy(network=None, **options):
    """A policy whose backbone is recorded, and what was said about it."""
    policy, said = NetworkPolicy(network or build(TINY), CALVIN, **options), []
    assert record(policy, said)
    return policy, said


def record(policy, said, recorder=trace, recorded_s=0.5):
    """Capture, as if a decision took a second before and so long afterwards, however slow the stand-in is."""
    times = iter([1.0] + [recorded_s] * 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worldagen.capturing.median", lambda _: next(times))
        return capture_backbone(policy, draw_probe(), recorder, said.append)


@pytest.mark.parametrize("history", ["aligned", "reference"])
def test_episodes_of_any_length_give_the_lean_backbones_numbers_and_nothing_is_computed_anew(history):
    captured, said = captured_policy(history=history)
    lean = NetworkPolicy(build(TINY), CALVIN, history)
    seen = random_observations(9)
    for length in (9, 1, 4, 7, 2, 2, 8):
        for policy in (captured, lean):
            policy.reset("open the drawer")
        for observation in seen[:length]:
            expected, found = lean.act(observation), captured.act(observation)
            assert np.abs(found.rows - expected.rows).max() < 1e-6
            assert np.abs(captured.predict_pixels() - lean.predict_pixels()).max() < 1e-5
            lean.prepare()
            captured.prepare()
    assert captured._attender.missed == 0  # type: ignore[union-attr]
    assert "calls recorded; 500.0 ms a decision, before 1000.0" in said[-1]


def test_a_recorded_call_keeps_what_it_reads_though_the_backbone_forgets_it():
    captured, _ = captured_policy()
    backbone: Any = captured._attender
    kept = [(one.mask.data_ptr(), one.cos.data_ptr()) for one in backbone._places.values()]
    backbone._places.clear()
    assert {(call.places.mask.data_ptr(), call.places.cos.data_ptr()) for call in backbone._calls.values()} <= set(kept)
    assert len(backbone._calls) > len(kept)  # the same places with two buffers


def test_a_call_that_was_not_rehearsed_is_computed_anew():
    captured, _ = captured_policy()
    lean = NetworkPolicy(build(TINY), CALVIN)
    for policy in (captured, lean):
        policy.reset("open the drawer")
        policy.act(random_observations(1)[0])
    for observation in random_observations(4)[1:]:  # never prepared: the past and the present in one call
        assert np.abs(captured.act(observation).rows - lean.act(observation).rows).max() < 1e-6
    assert captured._attender.missed > 0  # type: ignore[union-attr]


def test_adapters_are_followed_without_recording_again_and_the_base_comes_back_to_the_bit(tmp_path):
    checkpoint = small_checkpoint(tmp_path / "checkpoint")
    folder = make_adapter(checkpoint, tmp_path)
    captured, lean = load_policy(checkpoint), load_policy(checkpoint)
    assert record(captured, [])
    recorded = captured._attender.recorded  # type: ignore[union-attr]
    seen = random_observations(6)

    def play():
        rows: tuple[list, list] = ([], [])
        for policy, answers in zip((captured, lean), rows, strict=True):
            policy.reset("push the block")
            for observation in seen:
                answers.append(policy.act(observation).rows)
                policy.prepare()
        return np.array(rows)

    base = play()
    for policy in (captured, lean):
        policy.load_adapter(folder)
    adapted = play()
    assert np.abs(adapted[0] - base[0]).max() > 1e-4
    assert np.abs(adapted[0] - adapted[1]).max() < 1e-6
    for policy in (captured, lean):
        policy.use_adapter("")
    assert np.array_equal(play()[0], base[0])
    assert captured._attender.recorded == recorded and captured._attender.missed == 0  # type: ignore[union-attr]


def test_other_numbers_slower_work_and_failures_are_refused_and_the_lean_backbone_stays():
    observation, said = random_observations(1)[0], []

    def wrong(work):
        recorded = trace(work)
        return lambda: recorded() + 1.0

    def failing(work):
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nCompile with ...")

    expected = NetworkPolicy(build(TINY), CALVIN)
    expected.reset("open the drawer")
    rows = expected.act(observation).rows
    for recorder, words in ((wrong, "numbers differ by"), (failing, "not permitted when stream is capturing")):
        policy = NetworkPolicy(build(TINY), CALVIN)
        assert not record(policy, said, recorder)
        assert said[-1].startswith("refused: a captured backbone") and words in said[-1]
        policy.reset("open the drawer")
        assert np.array_equal(policy.act(observation).rows, rows)
    slow = NetworkPolicy(build(TINY), CALVIN)
    assert not record(slow, said, recorded_s=1.0)
    assert "1000.0 ms a decision, before 1000.0" in said[-1]


def test_a_backbone_that_is_not_lean_is_left_alone():
    policy = NetworkPolicy(build(replace(TINY, backbone=BackboneConfig("gpt2", layers=2, heads=2))), CALVIN)
    assert not capture_backbone(policy, draw_probe(), trace)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_cuda_graphs_give_the_same_numbers():
    network = build(TINY).to("cuda")
    policy, said = NetworkPolicy(network, CALVIN), []
    assert record(policy, said, CudaGraphs()), said
