"""Training in several processes of one machine, as the playtable recipe does it."""

from dataclasses import replace

import pytest
from accelerate.state import AcceleratorState
from training_making import MACHINE, PACE, RECIPE, make_bags

from worldagen.errors import TrainingError
from worldagen.training.launch import train_in_processes
from worldagen.training.loop import told_pace
from worldagen.training.recipe import EncoderStage, Loop, PolicyStage
from worldagen.training.run import prepare, train

SHARED = replace(
    RECIPE,
    preset="playtable",  # the processes know no preset of a test
    encoder=EncoderStage(Loop(steps=0)),
    policy=PolicyStage(Loop(steps=2, batch=4, save_steps=2, validate_steps=2), PACE, painted_share=0.5),
    machine=replace(MACHINE, processes=2),
)


@pytest.fixture(autouse=True)
def _fresh():
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


def test_what_two_processes_trained_is_found_done_and_a_failure_of_theirs_is_one_error(tmp_path, capfd):
    source, folder = make_bags(tmp_path / "bags", (20, 21, 22)), tmp_path / "run"
    prepared = prepare(SHARED, [source], folder / "training")
    train_in_processes(SHARED, [source], folder)
    assert not (folder / "checkpoint").exists()
    pace = told_pace(folder / "training" / "policy_0")
    assert pace["samples_per_s"] > 0 and 0 <= pace["waiting_share"] <= 1
    (state,) = train(prepared).states
    assert state.name == "step_000002"
    assert told_pace(folder / "training" / "policy_0") == pace  # nothing was trained again
    with pytest.raises(TrainingError, match="training in 2 processes ended with exit status 1; what they said is above"):
        train_in_processes(replace(SHARED, data=replace(SHARED.data, held_out_every=2)), [source], folder)
    assert "data.held_out_every 3 instead of 2" in capfd.readouterr().err
