"""A training run small enough for a test: two short demonstrations, a network of a few thousand weights, a few steps."""

import multiprocessing
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from demonstration_making import demonstrate, write_demonstration
from small_networks import TINY

from worldagen.network.config import PRESETS
from worldagen.policy_conventions import PRESET_CONVENTIONS
from worldagen.training.recipe import (
    DataSection,
    EncoderStage,
    FeatureStage,
    Loop,
    LossSection,
    Machine,
    Optimiser,
    PolicyStage,
    Recipe,
)

SMALL = replace(TINY, units=2, rows=3, vision=replace(TINY.vision, trained=True), shared_action_token=False)
MACHINE = Machine(threads=1, decode_processes=1, trackers="")
PACE = Optimiser(learning_rate=1e-3, warmup_steps=2)
RECIPE = Recipe(
    preset="small",
    data=DataSection(held_out_every=3),
    encoder=EncoderStage(Loop(steps=3, batch=4, save_steps=2, validate_steps=3), PACE, values="dra*", quarter_turns="lamp"),
    features=FeatureStage(copies=2),
    policy=PolicyStage(Loop(steps=4, batch=4, save_steps=2, validate_steps=4), PACE, LossSection(), painted_share=0.5),
    machine=MACHINE,
)


def add_small_preset(presets=PRESETS.__setitem__, conventions=PRESET_CONVENTIONS.__setitem__) -> None:
    """Make the small network known by name."""
    presets("small", SMALL)
    conventions("small", PRESET_CONVENTIONS["playtable"])


def make_bags(folder: Path, lengths: Sequence[int] = (9, 8, 10)) -> str:
    """Demonstrations of these lengths; returns the source that reads them."""
    for seed, steps in enumerate(lengths):
        write_demonstration(folder / f"demo_{seed}", demonstrate(f"push block {seed}", steps, seed))
    return f"bag:{folder}"


def in_two_processes(work: Callable[..., None], *arguments: object) -> None:
    """What torchrun does: the same work in two processes that know each other by their environment. Forked: torch is dear."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def begin(rank: int) -> None:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
        os.environ.update({"MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in place.items()}})
        work(*arguments)

    processes = [multiprocessing.get_context("fork").Process(target=begin, args=(rank,), daemon=True) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
    assert [process.exitcode for process in processes] == [0, 0]
