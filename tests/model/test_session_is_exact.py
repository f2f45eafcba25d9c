"""The session leaves out most of the work and none of the result: it is held against the plain evaluation."""

from dataclasses import replace

import numpy as np
import pytest
from plain_evaluation import PlainEvaluation
from small_networks import TINY, build, random_observations

from worldagen.conventions import decode_actions
from worldagen.history import sampled_frames
from worldagen.network.config import BackboneConfig
from worldagen.policy_conventions import PRESET_CONVENTIONS
from worldagen.session import NetworkPolicy

STEPS = 40
BACKBONES = {"qwen3": TINY.backbone, "gpt2": BackboneConfig("gpt2", layers=2, heads=2)}
CALVIN = PRESET_CONVENTIONS["calvin"]

# The reference mode rounds actions to half precision, as published. Where one lies between two of its numbers, the order in
# which a processor adds decides which it becomes: one step of half precision near 1 is 2 ** -11.
ROUNDING = {"aligned": 1e-4, "reference": 2**-11 + 1e-4}


def run_both(config, history, steps=STEPS, prepare=False):
    """Yield (step, rows of both, pictures of both) with the session and the oracle fed the same observations."""
    network = build(config)
    session = NetworkPolicy(network, CALVIN, history)
    session.reset("open the drawer")
    oracle = PlainEvaluation(network, CALVIN, history, "open the drawer")
    seen = random_observations(steps * config.rows)
    for step in range(steps):
        since_last = seen[step * config.rows : (step + 1) * config.rows]
        frames = (
            [since_last[i] for i in sampled_frames(config.frames, config.rows)] if step else [since_last[-1]] * config.frames
        )
        chunk = session.act(since_last[-1], since_last[:-1])
        numbers = oracle.act(frames)
        rows = decode_actions(CALVIN.actions, numbers, since_last[-1].state[3:6])
        yield step, (chunk.rows, rows), (session.predict_pixels(), oracle.imagine(numbers))
        if prepare:
            session.prepare()


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("history", ["aligned", "reference"])
def test_session_equals_two_full_passes_at_every_step(history, backbone, frames):
    config = replace(TINY, frames=frames, backbone=BACKBONES[backbone])
    for step, (rows, expected_rows), (pictures, expected_pictures) in run_both(config, history):
        assert np.abs(rows - expected_rows).max() < ROUNDING[history] * CALVIN.actions.translation_scale_m, step
        assert np.abs(pictures - expected_pictures).max() < ROUNDING[history], step


@pytest.mark.parametrize(
    "change",
    [
        {"goal_attention": True},
        {"state_prediction": True},
        {"rows": 3, "units": 2},
        {"action_steps": 2},
        {"image_head": replace(TINY.image_head, canvas="last")},
        {"image_head": replace(TINY.image_head, canvas="last"), "frames": 2},
    ],
)
def test_session_is_exact_with_every_option(change):
    for step, (rows, expected_rows), (pictures, expected_pictures) in run_both(replace(TINY, **change), "aligned", steps=6):
        assert np.abs(rows - expected_rows).max() < 1e-4 * CALVIN.actions.translation_scale_m, step
        assert np.abs(pictures - expected_pictures).max() < 1e-4, step


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("history", ["aligned", "reference"])
def test_work_done_ahead_changes_nothing(history, frames):
    config = replace(TINY, frames=frames)
    for step, (rows, expected_rows), (pictures, expected_pictures) in run_both(config, history, steps=8, prepare=True):
        assert np.abs(rows - expected_rows).max() < ROUNDING[history] * CALVIN.actions.translation_scale_m, step
        assert np.abs(pictures - expected_pictures).max() < ROUNDING[history], step


def test_the_two_history_modes_agree_until_the_window_slides_and_differ_after():
    aligned = [rows[0] for _, rows, _ in run_both(replace(TINY, shared_action_token=False), "aligned", steps=5)]
    reference = [rows[0] for _, rows, _ in run_both(replace(TINY, shared_action_token=False), "reference", steps=5)]
    gaps = [np.abs(a - r).max() for a, r in zip(aligned, reference, strict=True)]
    assert max(gaps[:3]) < 1e-4  # half-precision rounding of the reference mode
    assert gaps[3] > 2 * max(gaps[:3])
