"""The training loop: batches of a step in, weights and their moving average out; resumable to the bit, on one device or many.

`accelerate launch` or `torchrun` start it on many processes; each takes its share of every batch, and the gradients are those
of the whole batch. A batch is drawn from (seed, step) in a thread of its own while the step before is computed.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import nn
from tqdm import tqdm

from worldagen.errors import TrainingError
from worldagen.training.recipe import Loop, Machine, Optimiser
from worldagen.training.state import MovingAverage, restore_state, save_state, saved_states, trained_weights
from worldagen.whole_files import write_whole

METRICS = "metrics.jsonl"
KEPT_STATES = 4
TOLD_EVERY = 20  # steps between two lines of metrics
Batch = Mapping[str, torch.Tensor]
Validate = Callable[[nn.Module, int], Mapping[str, float]]


@dataclass(frozen=True)
class Fitted:
    """What a loop left: the states it saved, oldest first, and how it went."""

    states: tuple[Path, ...]
    seconds: float  # of this call
    waiting_share: float  # of that time, waiting for batches
    samples_per_s: float


def learning_rate(optimiser: Optimiser, step: int, steps: int) -> float:
    """Of the step-th step, from 0, of `steps`: linear warm-up, constant, then linear or cosine down to the final share."""
    if step < optimiser.warmup_steps:
        return optimiser.learning_rate * (step + 1) / optimiser.warmup_steps
    constant = max(optimiser.constant_share * steps, optimiser.warmup_steps)
    if step < constant or steps <= constant:
        return optimiser.learning_rate
    way = (step - constant) / (steps - constant)
    left = 1.0 - way if optimiser.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * way))
    return optimiser.learning_rate * (optimiser.final_share + (1 - optimiser.final_share) * left)


def make_accelerator(machine: Machine, folder: Path) -> Accelerator:
    """On whatever devices and processes there are; metrics go to the machine's trackers below the folder."""
    torch.set_num_threads(machine.threads)
    trackers: list[Any] = [name.strip() for name in machine.trackers.split(",") if name.strip()]
    handlers = [
        DistributedDataParallelKwargs(find_unused_parameters=True),  # a loss of weight 0 leaves its head without gradients
        InitProcessGroupKwargs(timeout=timedelta(days=1)),  # the others wait while one decodes or keeps features
    ]
    try:
        return Accelerator(
            cpu=not torch.accelerator.is_available(),  # unless told, processes on CPUs would not find one another
            mixed_precision=machine.precision,
            log_with=trackers or None,
            project_dir=folder,
            kwargs_handlers=handlers,
        )
    except (ValueError, ImportError) as error:
        raise TrainingError(f"machine.precision {machine.precision!r}, trackers {machine.trackers!r}: {error}") from None


def fit(
    name: str,
    module: nn.Module,
    draw: Callable[[int, int, int], Batch],
    loop: Loop,
    optimiser: Optimiser,
    accelerator: Accelerator,
    folder: Path,
    validate: Validate | None = None,
) -> Fitted:
    """Train until `loop.steps` steps are made, going on from the newest state in the folder.

    module: a batch in, a mapping of losses out, with "total". draw: (step, process, processes) -> that process's share.
    validate: called with the module holding the moving average. Raises TrainingError; what was saved before stays whole.
    """
    if loop.batch % accelerator.num_processes:
        raise TrainingError(f"{name}: a batch of {loop.batch} cannot be shared out over {accelerator.num_processes} processes")
    weights = trained_weights(module)
    adam = torch.optim.AdamW(
        list(weights.values()),
        lr=optimiser.learning_rate,
        betas=(optimiser.beta1, optimiser.beta2),
        weight_decay=optimiser.weight_decay,
        fused=accelerator.device.type in ("cpu", "cuda"),
    )
    prepared, adam = accelerator.prepare(module, adam)
    bare = accelerator.unwrap_model(prepared)
    weights = trained_weights(bare)
    average = MovingAverage(weights, optimiser.ema)
    states = saved_states(folder)
    step = restore_state(states[-1], bare, average, adam.optimizer) if states else 0
    if accelerator.is_main_process:
        _cut_metrics(folder / METRICS, step)
    if accelerator.log_with and step < loop.steps:
        accelerator.init_trackers(name)
    began_s, waited_s, begun_at, told_s = time.perf_counter(), 0.0, step, time.perf_counter()
    sums, summed = dict[str, float](), 0
    shown = tqdm(
        total=loop.steps, initial=step, desc=name, unit="step", disable=not accelerator.is_main_process, mininterval=1.0
    )
    with _saving(folder), ThreadPoolExecutor(1, thread_name_prefix="batches") as ahead, shown:
        place = (accelerator.process_index, accelerator.num_processes)
        following = ahead.submit(draw, step, *place) if step < loop.steps else None
        while step < loop.steps:
            assert following is not None
            waits_s = time.perf_counter()
            batch = {key: value.to(accelerator.device) for key, value in following.result().items()}
            waited_s += time.perf_counter() - waits_s
            following = ahead.submit(draw, step + 1, *place) if step + 1 < loop.steps else None
            torch.manual_seed(step * accelerator.num_processes + accelerator.process_index)  # of dropout, where there is any
            losses = _step(prepared, adam, accelerator, batch, learning_rate(optimiser, step, loop.steps), optimiser.clip)
            step, summed = step + 1, summed + 1
            if not math.isfinite(losses["total"]):
                raise TrainingError(f"{name}: the loss is {losses['total']} at step {step}; the states in {folder} are from "
                                    "before; lower the learning rate")  # fmt: skip
            average.update(weights, step)
            shown.update()
            for key, value in losses.items():
                sums[key] = sums.get(key, 0.0) + value
            if step % TOLD_EVERY == 0 or step == loop.steps:
                told = {key: value / summed for key, value in sums.items()}
                now_s = time.perf_counter()
                told["samples_per_s"] = summed * loop.batch / (now_s - told_s)
                told["waiting_share"] = waited_s / max(now_s - began_s, 1e-9)
                told_s, sums, summed = now_s, {}, 0
                shown.set_postfix_str(f"loss {told['total']:.4f}, waiting {waited_s / max(now_s - began_s, 1e-9):.0%}")
                _tell(accelerator, folder, step, told)
            if validate is not None and (step % loop.validate_steps == 0 or step == loop.steps):
                with _averaged(bare, average):
                    _tell(accelerator, folder, step, validate(bare, step), "validation/")
                told_s = time.perf_counter()
            if (step % loop.save_steps == 0 or step == loop.steps) and accelerator.is_main_process:
                save_state(folder, step, bare, average, adam.optimizer, KEPT_STATES)
        accelerator.wait_for_everyone()
    spent_s = time.perf_counter() - began_s
    if accelerator.log_with and begun_at < loop.steps:
        for tracker in accelerator.trackers:  # not end_training: that parts the processes, and the next stage needs them
            tracker.finish()
    return Fitted(
        tuple(saved_states(folder)), spent_s, waited_s / max(spent_s, 1e-9), (step - begun_at) * loop.batch / max(spent_s, 1e-9)
    )


def _step(module: nn.Module, adam: Any, accelerator: Accelerator, batch: Batch, rate: float, clip: float) -> dict[str, float]:
    for group in adam.param_groups:
        group["lr"] = rate
    with accelerator.autocast():
        losses = module(batch)
    accelerator.backward(losses["total"])
    if clip:
        accelerator.clip_grad_norm_(module.parameters(), clip)
    adam.step()
    adam.zero_grad()
    return {key: float(value.detach()) for key, value in losses.items()}


@contextmanager
def _averaged(module: nn.Module, average: MovingAverage) -> Iterator[None]:
    """The module with the averaged weights inside, for looking at them."""
    weights = trained_weights(module)
    kept = {name: weight.detach().clone() for name, weight in weights.items()}
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(average.weights[name])
        module.eval()
        try:
            yield
        finally:
            module.train()
            for name, weight in weights.items():
                weight.copy_(kept[name])


def _tell(accelerator: Accelerator, folder: Path, step: int, numbers: Mapping[str, float], prefix: str = "") -> None:
    if not accelerator.is_main_process:
        return
    named = {f"{prefix}{key}": float(value) for key, value in numbers.items()}
    with (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, **named}) + "\n")
    accelerator.log(named, step=step)


@contextmanager
def _saving(folder: Path) -> Iterator[None]:
    """What the disk refuses ends a run in one line."""
    try:
        yield
    except OSError as error:
        raise TrainingError(f"{folder}: cannot be written: {error}; what was saved before is whole") from None


def _cut_metrics(path: Path, step: int) -> None:
    """Forget what was told after the state that the run goes on from."""
    with _saving(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            lines = [line for line in path.read_text("utf-8").splitlines() if _step_of(line) <= step]
            write_whole(path, "".join(f"{line}\n" for line in lines))


def told_pace(folder: Path) -> dict[str, float]:
    """How a stage went, from its metrics, over however many calls: median samples a second, share of time without a batch."""
    lines = [json.loads(line) for line in (folder / METRICS).read_text("utf-8").splitlines()]
    paces = [line for line in lines if "samples_per_s" in line]
    return {key: round(median(line[key] for line in paces), 4) for key in ("samples_per_s", "waiting_share")}


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # the last line of a run that was killed
        return math.inf
