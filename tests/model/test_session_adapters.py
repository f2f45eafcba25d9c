"""Adapters in the running network: swapped between two decisions, taken back exactly, compared without being obeyed."""

from pathlib import Path

import numpy as np
import pytest
from adaptation_making import CONVENTIONS, make_adapter, small_checkpoint
from small_networks import random_observations

from worldagen.adaptation.shadowing import Shadow
from worldagen.errors import AdaptationError, PredictionUnavailable
from worldagen.session import NetworkPolicy, load_policy


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return small_checkpoint(tmp_path_factory.mktemp("session") / "checkpoint")


def begun(checkpoint: Path, decisions: int = 4, seed: int = 0) -> NetworkPolicy:
    policy = load_policy(checkpoint)
    policy.reset("push the block")
    for observation in random_observations(decisions, seed):
        policy.act(observation)
    return policy


LATER = random_observations(3, seed=9)


def test_the_base_comes_back_to_the_last_bit(checkpoint, tmp_path):
    plain, swapped = begun(checkpoint), begun(checkpoint)
    name = swapped.load_adapter(make_adapter(checkpoint, tmp_path))
    assert swapped.adapter == name
    swapped.use_adapter("")
    for observation in LATER:
        assert np.array_equal(plain.act(observation).rows, swapped.act(observation).rows)
        for view, picture in plain.predict().items():
            assert np.array_equal(picture, swapped.predict()[view])


def test_after_a_swap_nothing_of_the_other_weights_is_left(checkpoint, tmp_path):
    """What was prepared with the base is computed anew; the history of what was seen and done stays."""
    folder = make_adapter(checkpoint, tmp_path)
    swapped, by_hand = begun(checkpoint), begun(checkpoint)
    swapped.prepare()
    swapped.load_adapter(folder)
    merged = by_hand.adapters.load(folder).weights
    for name, parameter in by_hand.network.named_parameters():
        if name in merged:
            parameter.data = merged[name].clone()
    for observation in LATER:
        one, other = swapped.act(observation), by_hand.act(observation)
        assert one.rows == pytest.approx(other.rows, abs=1e-6) and one.sequence == other.sequence
        assert one.adapter == folder.name and other.adapter == ""
    assert swapped.predict_pixels() == pytest.approx(by_hand.predict_pixels(), abs=1e-4)


def test_a_picture_foreseen_after_a_swap_is_by_the_new_weights_alone(checkpoint, tmp_path):
    folder = make_adapter(checkpoint, tmp_path)
    swapped, by_hand = begun(checkpoint), begun(checkpoint)
    before = swapped.predict_pixels().copy()
    swapped.load_adapter(folder)
    merged = by_hand.adapters.load(folder).weights
    for name, parameter in by_hand.network.named_parameters():
        if name in merged:
            parameter.data = merged[name].clone()
    by_hand._decision = None if by_hand._decision is None else type(by_hand._decision)(
        by_hand._decision.step, None, by_hand._decision.seen
    )  # fmt: skip
    assert swapped.predict_pixels() == pytest.approx(by_hand.predict_pixels(), abs=1e-4)
    assert not np.allclose(swapped.predict_pixels(), before, atol=1e-3)


def test_an_adapter_that_changes_what_is_seen_makes_the_past_void(checkpoint, tmp_path):
    folder = make_adapter(checkpoint, tmp_path, "full", size=0.02)
    swapped, fresh = begun(checkpoint), load_policy(checkpoint)
    swapped.load_adapter(folder)
    assert not swapped.can_predict
    fresh.load_adapter(folder)
    fresh.reset("push the block")
    for observation in LATER:
        assert np.array_equal(swapped.act(observation).rows, fresh.act(observation).rows)


def test_what_is_refused_changes_nothing(checkpoint, tmp_path):
    plain, asked = begun(checkpoint), begun(checkpoint)
    with pytest.raises(AdaptationError, match="rejected by its gate"):
        asked.load_adapter(make_adapter(checkpoint, tmp_path, verdict="rejected"))
    with pytest.raises(AdaptationError, match="no such file"):
        asked.load_adapter(tmp_path / "nowhere")
    with pytest.raises(AdaptationError, match="no adapter 'other' is loaded"):
        asked.use_adapter("other")
    assert asked.adapter == ""
    assert np.array_equal(plain.act(LATER[0]).rows, asked.act(LATER[0]).rows)


def test_an_answer_that_is_only_compared_is_the_one_it_would_have_given(checkpoint, tmp_path):
    folder = make_adapter(checkpoint, tmp_path, verdict="rejected")  # nobody acts on it, so this is no matter
    policy, would_be = begun(checkpoint), begun(checkpoint)
    policy.adapters.keep(policy.adapters.load(folder))
    would_be.load_adapter(folder, override="test")
    given = policy.act(LATER[0])
    answered = policy.answer_as(folder.name)
    expected = would_be.act(LATER[0])
    from worldagen.conventions import decode_actions

    assert decode_actions(CONVENTIONS.actions, answered, LATER[0].state[3:6]) == pytest.approx(expected.rows, abs=1e-6)
    assert policy.answer_as("") is not None and policy.adapter == ""
    untouched = begun(checkpoint)
    assert np.array_equal(untouched.act(LATER[0]).rows, given.rows)
    assert np.array_equal(untouched.act(LATER[1]).rows, policy.act(LATER[1]).rows)


def test_there_is_nothing_to_compare_before_the_first_chunk(checkpoint):
    policy = load_policy(checkpoint)
    with pytest.raises(PredictionUnavailable):
        policy.answer_as("")
    policy = NetworkPolicy(policy.network, policy.conventions, "reference")
    policy.reset("push")
    policy.act(LATER[0])
    with pytest.raises(AdaptationError, match="use 'aligned'"):
        policy.answer_as("")


def test_a_comparison_adds_up_its_decisions():
    shadow = Shadow("some", 2, CONVENTIONS.actions)
    given = np.zeros((5, 7))
    given[:, 6] = 1.0
    moved = given.copy()
    moved[:, 0] = 0.5  # of 0.02 m
    told = shadow.compare(7, given, given)
    assert (told.decisions, told.translation_p99_m, told.gripper_flips) == (1, 0.0, 0.0)
    moved[:, 6] = -1.0
    told = shadow.compare(8, given, moved)
    assert told.translation_p99_m == pytest.approx(0.01) and told.gripper_flips == 0.5 and told.stamp_ns == 8
