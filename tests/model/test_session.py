"""How the running policy behaves towards its owner."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_networks import TINY, build, random_observations

from worldagen.errors import BadChunk, BadInstruction, BadObservation, ConfigError, PredictionUnavailable
from worldagen.policy_conventions import PRESET_CONVENTIONS
from worldagen.session import NetworkPolicy, make_policy

CALVIN = PRESET_CONVENTIONS["calvin"]


def new_policy(config=TINY, **options):
    policy = NetworkPolicy(build(config), CALVIN, **options)
    policy.reset("open the drawer")
    return policy


def test_a_chunk_answers_its_observation_in_si_units():
    policy, observation = new_policy(), random_observations(1)[0]
    chunk = policy.act(observation)
    assert chunk.stamp_ns == observation.stamp_ns
    assert (chunk.sequence, chunk.convention, chunk.period_s) == (0, "calvin", 1 / 30)
    assert chunk.rows.shape == (5, 7)
    assert np.abs(chunk.rows[:, :3]).max() <= 0.02  # metres
    assert set(chunk.rows[:, 6]) <= {0.0, 1.0}


def test_a_chunk_says_how_long_its_parts_took():
    chunk = new_policy().act(random_observations(1)[0])
    assert chunk.preprocess_s > 0.0 and chunk.encode_s > 0.0
    assert chunk.preprocess_s + chunk.encode_s < chunk.inference_s


def test_reset_forgets_the_history():
    policy, seen = new_policy(), random_observations(4)
    first = [policy.act(observation).rows for observation in seen]
    policy.reset("open the drawer")
    again = [policy.act(observation).rows for observation in seen]
    assert np.array_equal(first, again)


def test_the_instruction_and_the_history_matter():
    seen = random_observations(2)
    policy, other = new_policy(), new_policy()
    other.reset("push the blue block to the left")
    assert not np.array_equal(policy.act(seen[0]).rows, other.act(seen[0]).rows)
    with_history = policy.act(seen[1]).rows
    policy.reset("open the drawer")
    assert not np.array_equal(policy.act(seen[1]).rows, with_history)


def test_an_instruction_is_encoded_once_however_often_it_comes_back():
    policy = new_policy()
    calls = []
    policy.network.text.register_forward_hook(lambda *_: calls.append(1))
    for instruction in ("open the drawer", "lift the red block", "open the drawer", "lift the red block"):
        policy.reset(instruction)
    assert len(calls) == 1  # the drawer was known already


def test_a_frame_is_encoded_once_and_only_the_tokens_that_are_read_reach_the_backbone(monkeypatch):
    policy, seen = new_policy(), random_observations(6)
    pictures, tokens = [], []
    policy.network.vision.register_forward_hook(lambda _, inputs, __: pictures.append(len(inputs[0])))
    attend = policy._attender.attend
    monkeypatch.setattr(
        policy._attender, "attend", lambda given, *others: (tokens.append(given.shape[1]), attend(given, *others))[1]
    )
    for observation in seen:
        policy.act(observation)
    assert sum(pictures) == 2 * len(seen)
    assert tokens == [21, 42, 63, 63, 63, 63]  # 16 own and 5 prompts, and 21 for each past unit
    policy.predict()
    assert tokens[-1] == 23  # 5 actions and 18 image prompts; the rest is remembered
    policy.prepare()
    policy.act(seen[0])
    assert tokens[-2:] == [42, 21]


def test_the_pictures_are_painted_only_when_asked_for():
    policy, painted = new_policy(), []
    policy.network.image_head.register_forward_hook(lambda *_: painted.append(1))
    policy.act(random_observations(1)[0])
    assert not painted
    policy.predict()
    assert len(painted) == 1


def test_numbers_that_are_not_finite_never_leave_and_never_enter_the_history():
    seen, policy, undisturbed = random_observations(2), new_policy(), new_policy()
    policy.act(seen[0])
    undisturbed.act(seen[0])
    good = policy.network.action_head.arm.bias.detach().clone()
    with torch.no_grad():
        policy.network.action_head.arm.bias.fill_(float("nan"))
    with pytest.raises(BadChunk):
        policy.act(seen[1])
    with torch.no_grad():
        policy.network.action_head.arm.bias.copy_(good)
    assert np.array_equal(policy.act(seen[1]).rows, undisturbed.act(seen[1]).rows)


def test_asking_for_pictures_changes_no_action():
    seen, silent, curious = random_observations(5), new_policy(), new_policy()
    for observation in seen:
        expected = silent.act(observation).rows
        assert np.array_equal(curious.act(observation).rows, expected)
        curious.predict()


def test_predicted_pictures_are_upright_rgb_of_the_painted_size_and_stay_the_same_when_asked_again():
    policy = new_policy()
    policy.act(random_observations(1)[0])
    pictures = policy.predict()
    assert {view: (image.shape, image.dtype.name) for view, image in pictures.items()} == {
        "static": ((16, 16, 3), "uint8"),
        "wrist": ((16, 16, 3), "uint8"),
    }
    assert np.array_equal(policy.predict()["static"], pictures["static"])


def test_a_bad_observation_leaves_the_history_as_it_was():
    seen, policy, undisturbed = random_observations(3), new_policy(), new_policy()
    for observation in seen:
        with pytest.raises(BadObservation, match="expected an Observation"):
            policy.act({"static": observation.static_image})  # type: ignore[arg-type]
        assert np.array_equal(policy.act(observation).rows, undisturbed.act(observation).rows)


def test_more_frames_per_unit_need_the_observations_in_between():
    policy, seen = new_policy(replace(TINY, frames=2)), random_observations(6)
    policy.act(seen[0])
    with pytest.raises(BadObservation, match="got 0 earlier observations; this network needs 4"):
        policy.act(seen[5])
    assert policy.act(seen[5], seen[1:5]).sequence == 1


@pytest.mark.parametrize("instruction", ["", "  \n", None])
def test_an_empty_instruction_is_refused_and_the_old_one_stays(instruction):
    seen, policy, undisturbed = random_observations(2), new_policy(), new_policy()
    policy.act(seen[0])
    undisturbed.act(seen[0])
    with pytest.raises(BadInstruction, match="expected words"):
        policy.reset(instruction)
    assert np.array_equal(policy.act(seen[1]).rows, undisturbed.act(seen[1]).rows)


def test_acting_before_an_instruction_is_refused():
    with pytest.raises(BadInstruction, match="before reset"):
        NetworkPolicy(build(TINY), CALVIN).act(random_observations(1)[0])


def test_there_is_no_picture_before_the_first_chunk_nor_without_image_prediction():
    with pytest.raises(PredictionUnavailable, match="before the first chunk"):
        new_policy().predict()
    blind = new_policy(replace(TINY, image_prediction=False))
    blind.act(random_observations(1)[0])
    with pytest.raises(PredictionUnavailable, match="without image prediction"):
        blind.predict()


@pytest.mark.parametrize("part", ["vision", "everything"])
def test_half_precision_acts_nearly_alike(part):
    half, full, seen = new_policy(), new_policy(), random_observations(4)
    (half.network.vision if part == "vision" else half.network).to(torch.bfloat16)
    half.reset("lift the red block")  # its words are encoded anew, in the new type
    full.reset("lift the red block")
    for observation in seen:
        gap = np.abs(half.act(observation).rows - full.act(observation).rows)[:, :3].max()
        assert gap < 0.1 * CALVIN.actions.translation_scale_m
        assert np.abs(half.predict_pixels() - full.predict_pixels()).max() < 0.5


def test_an_unknown_history_mode_is_refused():
    with pytest.raises(ConfigError, match="aligned, reference"):
        NetworkPolicy(build(TINY), CALVIN, "newest")  # type: ignore[arg-type]


TWO_PROCESSES = """
import sys
sys.path.insert(0, sys.argv[1])
import hashlib
from small_networks import random_observations
from worldagen.session import make_policy

policy = make_policy("playtable", seed=3)
policy.reset("lift the red block")
digest = hashlib.sha256()
for observation in random_observations(5, size=64):
    digest.update(policy.act(observation).rows.tobytes())
    digest.update(policy.predict()["static"].tobytes())
print(digest.hexdigest())
"""


def test_the_same_seed_gives_the_same_bytes_in_another_process():
    here = os.path.dirname(__file__)
    answer = subprocess.run(
        [sys.executable, "-c", TWO_PROCESSES, here], capture_output=True, text=True, check=True, timeout=100
    )
    policy = make_policy("playtable", seed=3)
    policy.reset("lift the red block")
    digest = hashlib.sha256()
    for observation in random_observations(5, size=64):
        digest.update(policy.act(observation).rows.tobytes())
        digest.update(policy.predict()["static"].tobytes())
    assert digest.hexdigest() == answer.stdout.strip()
