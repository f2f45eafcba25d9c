"""From a bag to a judged adapter: read, encode, train, judge, write. Nothing is written before the end, and then all of it.

The base's weights are never changed on disk, nor in any other process.
"""

import os
import resource
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from worldagen.adaptation.adapter import digest_of, name_adapter, save_adapter, weights_of
from worldagen.adaptation.frame_checks import require_usable_frames
from worldagen.adaptation.gate import Check, Verdict, judge, measure_drift, measure_reduction
from worldagen.adaptation.recipe import load_adaptation_recipe
from worldagen.adaptation.request import ENCODING, FRAMES, JUDGING, READING, TRAINING, AdaptationRequest, Adapted, Progress
from worldagen.adaptation.start import read_start, told_start
from worldagen.adaptation.trained import training_of
from worldagen.adaptation.update import ActionNumbers, Curve, WorldLoss, train_adapter
from worldagen.adaptation.windows import WindowTensors, plan_windows, require_world_model, split_windows
from worldagen.checkpoint import find_checkpoint, load_checkpoint
from worldagen.data.cache import FrameCache, open_cache, picture_sizes
from worldagen.errors import AdaptationError
from worldagen.network.worldagen import WorldAgen
from worldagen.policy_conventions import PolicyConventions
from worldagen.provenance import describe_run
from worldagen.training.samples import network_numbers

NOT_MADE_YET = "asked for and not made yet"


def adapt(
    request: AdaptationRequest, tell: Callable[[Progress], None] = lambda progress: None, command: str = "adapt"
) -> Adapted:
    """The whole run. tell is called after every small piece of work and may raise to end it: then nothing is written.

    Raises AdaptationError, DataError, CheckpointError, UnknownName or ConfigError.
    """
    recipe = load_adaptation_recipe(request.recipe, request.overrides)
    torch.set_num_threads(recipe.threads)
    clock = _Clock()
    network, conventions = load_checkpoint(find_checkpoint(request.checkpoint))
    if torch.accelerator.is_available():
        network = network.to(torch.accelerator.current_accelerator())  # type: ignore[arg-type]
    base = digest_of(weights_of(network))
    require_world_model(network.config)
    start = None
    if request.start:
        start = read_start(Path(request.start), recipe.trained, network.config, weights_of(network), base)
    with _cache_folder(request.cache) as folder, clock.stage(READING):
        tell(Progress(READING, 0, 1, np.nan))
        cache = _open(folder, f"bag:{request.bag}" if ":" not in request.bag else request.bag, network, conventions, tell)
        require_usable_frames(cache, network.config)
        plan = plan_windows(cache.episodes, network.config, recipe.windows)
        learned, judged = split_windows(plan, recipe.windows.held_out_every)
        stored = _open(folder, request.rehearse, network, conventions, tell) if request.rehearse else None
        with clock.stage(ENCODING):
            numbers = network_numbers(cache, conventions)
            tick = _ticker(ENCODING, tell)
            tensors, held_out = (
                WindowTensors(part, cache, numbers, network, conventions.image, recipe.windows.words, tick)
                for part in (learned, judged)
            )
            rehearsed = None
            if stored is not None:
                known = plan_windows(stored.episodes, network.config, recipe.windows)
                some = known.only(np.random.default_rng(recipe.seed).permutation(len(known))[: 4 * len(learned)])
                rehearsed = WindowTensors(
                    some, stored, network_numbers(stored, conventions), network, conventions.image, recipe.windows.words, tick
                )
        loss, actions = WorldLoss(network), ActionNumbers(network)
        encoding, judging = _ticker(ENCODING, tell), _ticker(JUDGING, tell)
        before = loss.all(held_out, recipe.batch, lambda done, of, _: encoding(done, of))
        answers = _answers(actions, held_out, recipe.batch)
        with training_of(network, recipe.trained, recipe.seed, start.tensors if start else None) as trained:
            with clock.stage(TRAINING):
                curve = train_adapter(
                    network,
                    trained,
                    tensors,
                    recipe,
                    lambda done, of, mean: tell(Progress(TRAINING, done, of, mean)),
                    rehearsed,
                )
            with clock.stage(JUDGING):
                after = loss.all(held_out, recipe.batch, lambda done, of, _: judging(done, of))
                moved = _answers(actions, held_out, recipe.batch)
                kept = trained.tensors()
        reduction = measure_reduction(before, after, held_out.plan.rollouts, recipe.gate, recipe.seed)
        drift = measure_drift(answers, moved, conventions.actions)
        finite = all(bool(torch.isfinite(tensor).all()) for tensor in kept.values()) and bool(np.isfinite(after).all())
        verdict = judge(finite, reduction, drift, recipe.gate)
        pending = [Check(name, False, NOT_MADE_YET) for name in request.further_checks]
        verdict = verdict.with_checks(pending)
        if not finite:
            raise AdaptationError("the adapted weights are not finite; nothing was written. Lower optimiser.learning_rate")
        name = name_adapter(request.recipe, kept, datetime.now(timezone.utc))
        tell(Progress(JUDGING, 1, 1, curve.losses[-1]))  # the last chance to end it
        notes = _notes(request, command, cache, tensors, held_out, curve, verdict, clock)
        notes["start"] = told_start(start)
        place = save_adapter(Path(request.out), name, kept, network.config.backbone, base, recipe, notes)
    return Adapted(
        name, str(place), verdict.accepted, tuple(verdict.reasons), reduction.before, reduction.after,
        len(tensors), len(held_out), dict(clock.seconds), peak_memory_mib(),
    )  # fmt: skip


def peak_memory_mib() -> float:
    """The most that this process has held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _open(
    folder: Path, spec: str, network: WorldAgen, conventions: PolicyConventions, tell: Callable[[Progress], None]
) -> FrameCache:
    def progress(items: Any, total: int) -> Any:
        for done, item in enumerate(items, start=1):
            tell(Progress(READING, done, total, np.nan))
            yield item

    return open_cache(folder, [spec], picture_sizes(network.config), conventions.image, 1, progress)


def _ticker(stage: str, tell: Callable[[Progress], None]) -> Callable[[int, int], None]:
    return lambda done, of: tell(Progress(stage, done, of, np.nan))


@torch.no_grad()
def _answers(actions: ActionNumbers, tensors: WindowTensors, batch: int) -> np.ndarray:
    """(V, K m, 7) action numbers; the gripper's sign is what it is asked for."""
    parts = [actions.of(tensors, np.arange(s, min(s + batch, len(tensors)))) for s in range(0, len(tensors), batch)]
    return torch.cat([torch.cat([arm, logits[..., None]], dim=-1) for arm, logits in parts]).cpu().numpy()


@contextmanager
def _cache_folder(given: str):
    if given:
        yield Path(given)
    else:
        with tempfile.TemporaryDirectory(prefix=f"{FRAMES}{os.getpid()}-") as folder:
            yield Path(folder)


def _notes(
    request: AdaptationRequest,
    command: str,
    cache: FrameCache,
    tensors: WindowTensors,
    held_out: WindowTensors,
    curve: Curve,
    verdict: Verdict,
    clock: "_Clock",
) -> dict[str, Any]:
    return {
        "made": describe_run(command),
        "checkpoint": Path(request.checkpoint).name,
        "recipe_name": Path(request.recipe).stem,
        "data": {
            "bag": Path(request.bag).name,
            "frames_digest": cache.folder.name,
            "rollouts": len(cache.episodes),
            "frames": cache.frames,
            "skipped": [skipped.reason for skipped in cache.skipped],
            "rehearsed": Path(request.rehearse).name if request.rehearse else "",
        },
        "windows": {
            "learned": {"count": len(tensors), "digest": tensors.plan.digest, "distinct_frames": tensors.distinct_frames},
            "held_out": {"count": len(held_out), "digest": held_out.plan.digest, "distinct_frames": held_out.distinct_frames},
        },
        "training": asdict(curve),
        "gate": verdict.to_json(),
        "seconds": dict(clock.seconds),
        "peak_memory_mib": peak_memory_mib(),
    }


class _Clock:
    """Wall seconds of each stage, without the stages inside it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[float] = []  # of inner stages

    @contextmanager
    def stage(self, name: str):
        began_s = time.perf_counter()
        self._open.append(0.0)
        try:
            yield
        finally:
            spent_s = time.perf_counter() - began_s
            inner_s = self._open.pop()
            if self._open:
                self._open[-1] += spent_s
            self.seconds[name] = self.seconds.get(name, 0.0) + spent_s - inner_s
