"""The loop: what it does to weights, and that a run can be broken off anywhere and taken up to the same bits."""

import errno
import json
import multiprocessing
import os
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from torch import nn
from training_making import in_two_processes

from worldagen.errors import TrainingError
from worldagen.training import state as states
from worldagen.training.loop import METRICS, fit, learning_rate, make_accelerator
from worldagen.training.recipe import Loop, Machine, Optimiser
from worldagen.training.state import MovingAverage, averaged_weights, restore_state, save_state, saved_states, trained_weights

MACHINE = Machine(threads=1, trackers="")
PACE = Optimiser(learning_rate=0.01, warmup_steps=2)
LOOP = Loop(steps=7, batch=4, save_steps=3, validate_steps=4)


class Line(nn.Module):
    """A small network with dropout, a part that is frozen and one that nothing reaches."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.line, self.drop = nn.Linear(3, 2), nn.Dropout(0.2)
        self.frozen, self.unused = nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 2)

    def forward(self, batch):
        return {"total": (self.drop(self.frozen(self.line(batch["x"]))) - batch["y"]).pow(2).mean()}


def draw(step: int, process: int, processes: int):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(LOOP.batch, 3, generator=generator)
    return {"x": x[process::processes], "y": x[process::processes, :2] * 2}


@pytest.fixture(autouse=True)
def _fresh_accelerator():
    yield
    AcceleratorState._reset_state(True)


def run(folder: Path, loop=LOOP, pace=PACE, draw=draw, module=None, validate=None, machine=MACHINE):
    AcceleratorState._reset_state(True)
    module = module or Line()
    fitted = fit("test", module, draw, loop, pace, make_accelerator(machine, folder), folder, validate)
    return fitted, module


def contents(folder: Path) -> bytes:
    return (saved_states(folder)[-1] / states.TENSORS).read_bytes()


def lines_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


class Broken(Exception):
    pass


@pytest.mark.parametrize("when", [1, 3, 4, 6])
def test_broken_off_in_any_step_it_goes_on_to_the_same_weights_average_and_moments(tmp_path, when):
    def breaks(step, *place):
        if step == when:
            raise Broken
        return draw(step, *place)

    run(tmp_path / "straight")
    with pytest.raises(Broken):
        run(tmp_path / "broken", draw=breaks)
    run(tmp_path / "broken")
    assert contents(tmp_path / "straight") == contents(tmp_path / "broken")


@pytest.mark.skipif(torch.accelerator.is_available(), reason="forks, which no accelerator survives")
def test_killed_between_two_states_it_goes_on_to_the_same_bits(tmp_path):
    def slow(step, *place):
        time.sleep(60 * (step == 5))
        return draw(step, *place)

    running = multiprocessing.get_context("fork").Process(target=run, args=(tmp_path / "killed", LOOP, PACE, slow), daemon=True)
    running.start()
    deadline = time.monotonic() + 60
    while not saved_states(tmp_path / "killed") and running.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    running.kill()
    running.join()
    assert [place.name for place in saved_states(tmp_path / "killed")] == ["step_000003"]
    run(tmp_path / "killed")
    run(tmp_path / "straight")
    assert contents(tmp_path / "straight") == contents(tmp_path / "killed")


def test_a_run_that_is_done_is_left_as_it_is(tmp_path):
    run(tmp_path)
    before = contents(tmp_path)
    fitted, module = run(tmp_path, draw=lambda *_: pytest.fail("drew a batch"))
    assert contents(tmp_path) == before and fitted.states[-1].name == "step_000007"
    assert averaged_weights(fitted.states[-1]).keys() == trained_weights(module).keys()
    assert torch.equal(states._read(fitted.states[-1])["model/line.weight"], module.line.weight)


def test_only_the_newest_states_are_kept_and_sorted_by_their_steps(tmp_path):
    module = Line()
    average, adam = MovingAverage(trained_weights(module), 0.9), torch.optim.AdamW(module.parameters())
    for step in (1, 999_998, 999_999, 1_000_000, 1_000_001):
        save_state(tmp_path, step, module, average, adam, keep=3)
    assert [place.name for place in saved_states(tmp_path)] == ["step_999999", "step_1000000", "step_1000001"]


def test_what_a_killed_run_half_wrote_is_ignored_and_swept_away(tmp_path):
    run(tmp_path, Loop(steps=3, batch=4, save_steps=3))
    (tmp_path / ".step_000006.77").mkdir()
    (tmp_path / ".step_000006.77" / states.TENSORS).write_bytes(b"half")
    (tmp_path / "step_000005").mkdir()  # without notes: it was being removed
    assert [place.name for place in saved_states(tmp_path)] == ["step_000003"]
    run(tmp_path)
    assert not list(tmp_path.glob(".step_*"))


def test_a_state_that_was_damaged_later_is_refused_and_says_what_to_remove(tmp_path):
    fitted, _ = run(tmp_path)
    for file in (states.TENSORS, states.NOTES):
        whole = (fitted.states[-1] / file).read_bytes()
        (fitted.states[-1] / file).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(TrainingError, match=r"step_000007.*remove this folder to go on from the one before"):
            run(tmp_path)
        (fitted.states[-1] / file).write_bytes(whole)


def test_a_state_of_another_network_is_refused_and_changes_nothing(tmp_path):
    class Wider(Line):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(3, 3)

    fitted, _ = run(tmp_path)
    wider = Wider()
    before = {name: weight.clone() for name, weight in wider.state_dict().items()}
    average, adam = MovingAverage(trained_weights(wider), 0.9), torch.optim.AdamW(wider.parameters())
    with pytest.raises(TrainingError, match="another network"):
        restore_state(fitted.states[-1], wider, average, adam)
    assert all(torch.equal(weight, before[name]) for name, weight in wider.state_dict().items()) and not adam.state


def test_a_full_disk_in_mid_save_ends_the_run_and_the_state_before_is_what_goes_on(tmp_path, monkeypatch):
    real = states.save_file

    def full(tensors, path):
        if "step_000006" in str(path):
            Path(path).write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(tensors, path)

    monkeypatch.setattr(states, "save_file", full)
    with pytest.raises(TrainingError, match=r"step_000006: .*No space left on device; the one before it is whole"):
        run(tmp_path / "full")
    assert [place.name for place in (tmp_path / "full").iterdir() if "step" in place.name] == ["step_000003"]
    monkeypatch.undo()
    run(tmp_path / "full")
    run(tmp_path / "straight")
    assert contents(tmp_path / "full") == contents(tmp_path / "straight")


def test_a_full_disk_while_telling_ends_the_run_in_one_line(tmp_path):
    (tmp_path / METRICS).mkdir()
    with pytest.raises(TrainingError, match="cannot be written"):
        run(tmp_path)


def test_each_step_is_told_once_however_often_the_run_was_broken_off(tmp_path):
    def breaks(step, *place):
        if step == 45:
            raise Broken
        return draw(step, *place)

    loop = Loop(steps=50, batch=4, save_steps=30, validate_steps=25)
    told = []

    def validate(module, step):
        told.append((step, module.training))
        return {"error": 1.0}

    with pytest.raises(Broken):
        run(tmp_path / "broken", loop, draw=breaks, validate=validate)
    with (tmp_path / "broken" / METRICS).open("a") as file:
        file.write('{"step": 2')  # killed while it was telling
    run(tmp_path / "broken", loop, validate=validate)
    assert [(line["step"], "total" in line) for line in lines_of(tmp_path / "broken")] == [
        (20, True),
        (25, False),
        (40, True),
        (50, True),
        (50, False),
    ]
    assert told == [(25, False), (50, False)]


def test_a_loss_is_the_mean_of_the_steps_it_is_told_of_also_after_a_resumption(tmp_path):
    class Constant(Line):
        def forward(self, batch):
            return {"total": 0.0 * self.line.weight.sum() + 2.0}

    run(tmp_path, Loop(steps=10, batch=4, save_steps=10), module=Constant())
    run(tmp_path, Loop(steps=25, batch=4, save_steps=10), module=Constant())
    assert [(line["step"], line["total"]) for line in lines_of(tmp_path)] == [(10, 2.0), (20, 2.0), (25, 2.0)]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_rate_rises_stays_and_falls(schedule):
    pace = Optimiser(learning_rate=1.0, schedule=schedule, warmup_steps=4, constant_share=0.5, final_share=0.1)
    rates = [learning_rate(pace, step, 20) for step in range(20)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0] and set(rates[4:11]) == {1.0}
    middle = 0.55 if schedule == "linear" else 0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi / 2))
    assert rates[15] == pytest.approx(middle)
    assert all(later < sooner for sooner, later in pairwise(rates[10:])) and 0.1 <= rates[-1] < 0.2


def test_a_run_of_a_few_steps_is_all_warm_up():
    assert [learning_rate(Optimiser(learning_rate=1.0, warmup_steps=10), step, 3) for step in range(3)] == [0.1, 0.2, 0.3]


def test_a_clipped_gradient_moves_no_further_than_it_may(tmp_path):
    class Steep(Line):
        def forward(self, batch):
            return {"total": 1e6 * self.line.weight.sum()}

    for clip, expected in ((1.0, 1.0), (0.0, 1e6 * 6**0.5)):
        folder = tmp_path / str(clip)
        run(folder, Loop(steps=1, batch=4), Optimiser(clip=clip, beta1=0.0), module=Steep())
        moment = states._read(saved_states(folder)[-1])["optimiser/line.weight/exp_avg"]
        assert moment.norm().item() == pytest.approx(expected, rel=1e-4)


def test_a_young_average_forgets_fast_and_an_old_one_slowly():
    weights = {"w": torch.zeros(1)}
    average = MovingAverage({"w": torch.ones(1)}, decay=0.9)
    average.update(weights, step=1)
    assert average.weights["w"].item() == pytest.approx(2 / 11)
    for step in range(2, 202):
        average.update({"w": torch.ones(1)}, step)
    average.update(weights, 1000)
    assert average.weights["w"].item() == pytest.approx(0.9, abs=1e-3)


def test_without_decay_the_average_is_the_weights(tmp_path):
    run(tmp_path, pace=Optimiser(ema=0.0))
    tensors = states._read(saved_states(tmp_path)[-1])
    assert torch.equal(tensors["average/line.weight"], tensors["model/line.weight"])


def test_validation_sees_the_average_and_leaves_the_weights(tmp_path):
    seen = []
    _, module = run(tmp_path, validate=lambda module, step: seen.append(module.line.weight.clone()) or {})
    tensors = states._read(saved_states(tmp_path)[-1])
    assert torch.equal(seen[-1], tensors["average/line.weight"]) and module.training
    assert not torch.equal(seen[-1], module.line.weight)


def test_what_is_frozen_stays_and_is_not_saved(tmp_path):
    frozen = Line().frozen.weight
    _, module = run(tmp_path)
    assert torch.equal(module.frozen.weight, frozen)
    assert not [name for name in states._read(saved_states(tmp_path)[-1]) if "frozen" in name]


def test_a_loss_that_is_no_number_ends_the_run_at_once_and_its_weights_are_not_saved(tmp_path):
    def poisoned(step, *place):
        return {key: value * (np.nan if step == 4 else 1.0) for key, value in draw(step, *place).items()}

    with pytest.raises(TrainingError, match="the loss is nan at step 5"):
        run(tmp_path, draw=poisoned)
    assert [place.name for place in saved_states(tmp_path)] == ["step_000003"]


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    module = Line()
    with torch.no_grad():
        module.line.bias[0] = np.inf
    average, adam = MovingAverage(trained_weights(module), 0.9), torch.optim.AdamW(module.parameters())
    with pytest.raises(TrainingError, match=r"step 3: weights that are not finite: line\.bias"):
        save_state(tmp_path, 3, module, average, adam, keep=3)
    assert not saved_states(tmp_path)


def test_bfloat16_keeps_the_weights_in_single_precision(tmp_path):
    _, module = run(tmp_path, machine=Machine(threads=1, trackers="", precision="bf16"))
    assert module.line.weight.dtype == torch.float32 and torch.isfinite(module.line.weight).all()


def test_a_tracker_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="trackers 'paper'"):
        make_accelerator(Machine(threads=1, trackers="paper"), tmp_path)


def test_two_stages_share_one_accelerator_and_both_tell_tensorboard(tmp_path):
    accelerator = make_accelerator(Machine(threads=1, trackers="tensorboard"), tmp_path)
    for name in ("first", "second"):
        fit(name, Line(), draw, LOOP, PACE, accelerator, tmp_path / name)
    assert [folder.name for folder in sorted(tmp_path.iterdir()) if list(folder.glob("events*"))] == ["first", "second"]
    assert PartialState().num_processes == 1


class Two(nn.Module):
    """Without dropout, whose masks are each process's own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers, self.unused = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)), nn.Linear(2, 2)

    def forward(self, batch):
        return {"total": (self.layers(batch["x"]) - batch["y"]).pow(2).mean()}


def two_stages(folder: Path) -> None:
    AcceleratorState._reset_state(True)
    accelerator = make_accelerator(Machine(threads=1, trackers="tensorboard"), folder)
    assert accelerator.num_processes == 2
    for stage in ("first", "second"):
        fit(stage, Two(), draw, LOOP, PACE, accelerator, folder / stage)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="forks, which no accelerator survives")
def test_two_processes_that_share_each_batch_make_the_weights_of_one(tmp_path):
    in_two_processes(two_stages, tmp_path / "two")
    run(tmp_path / "one", module=Two())
    one = states._read(saved_states(tmp_path / "one")[-1])
    for stage in ("first", "second"):
        two = states._read(saved_states(tmp_path / "two" / stage)[-1])
        assert one.keys() == two.keys()
        for name in one:
            assert torch.allclose(one[name], two[name], atol=1e-6), name


def test_a_batch_that_cannot_be_shared_out_is_refused(tmp_path, monkeypatch):
    accelerator = make_accelerator(MACHINE, tmp_path)
    monkeypatch.setattr(type(accelerator), "num_processes", 3)
    with pytest.raises(TrainingError, match="a batch of 4 cannot be shared out over 3 processes"):
        fit("test", Line(), draw, LOOP, PACE, accelerator, tmp_path)
