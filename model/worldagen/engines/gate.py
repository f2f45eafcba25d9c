"""What an engine changes, measured on a probe set against the network computed by torch, and whether that is allowed.

Tokens are compared frame by frame. Actions are what counts: both sides decide about every frame of the probe, each with its own
history as on the robot, and the rows they would execute are compared.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from worldagen.engines.config import EngineLimits
from worldagen.engines.encoder import Encoded, EncoderEngine, TorchEngine
from worldagen.engines.probe import Probe
from worldagen.errors import EngineError
from worldagen.network.config import VIEWS
from worldagen.network.worldagen import WorldAgen
from worldagen.policy_conventions import PolicyConventions
from worldagen.scaling import Scaler
from worldagen.session import NetworkPolicy


@dataclass(frozen=True)
class Parity:
    """What an engine changes. Errors are in root mean squares of the view's tokens; flips are a share of all rows.

    cosine, error: per view, of the worst token. encode_s: median of one frame while the probe ran.
    """

    engine: str
    probe: str
    frames: int
    cosine: dict[str, float]
    error: dict[str, float]
    translation_m: float
    rotation_rad: float
    gripper_flips: float
    encode_s: float

    def refusals(self, limits: EngineLimits) -> list[str]:
        """What is beyond the limits, with the numbers; empty for an engine that passes. NaN passes nowhere."""
        found = [
            (f"cosine of {view} tokens {value:.5f}, limit {limits.min_cosine:g}", value >= limits.min_cosine)
            for view, value in self.cosine.items()
        ]
        found += [
            (f"error of {view} tokens {value:.3f} RMS, limit {limits.max_error:g}", value <= limits.max_error)
            for view, value in self.error.items()
        ]
        found += [
            (
                f"translation changes by {self.translation_m * 1e3:.3f} mm, limit {limits.max_translation_m * 1e3:g}",
                self.translation_m <= limits.max_translation_m,
            ),
            (
                f"rotation changes by {self.rotation_rad:.5f} rad, limit {limits.max_rotation_rad:g}",
                self.rotation_rad <= limits.max_rotation_rad,
            ),
            (
                f"{self.gripper_flips:.1%} of rows flip the gripper, limit {limits.max_gripper_flips:.1%}",
                self.gripper_flips <= limits.max_gripper_flips,
            ),
        ]
        return [words for words, passed in found if not passed]

    def told(self) -> str:
        """The figures in one line."""
        return (
            f"cosine {min(self.cosine.values()):.5f}, error {max(self.error.values()):.3f} RMS, actions within "
            f"{self.translation_m * 1e3:.3f} mm, {self.rotation_rad:.5f} rad, {self.gripper_flips:.1%} gripper flips "
            f"on {self.probe}"
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Gate:
    """Torch's answers to a probe set, computed once; engines are judged by them."""

    def __init__(self, network: WorldAgen, conventions: PolicyConventions, probe: Probe, limits: EngineLimits) -> None:
        self._network, self._conventions, self._probe, self.limits = network, conventions, probe, limits
        self._tokens, self._rows, self.torch_encode_s = self._answers(TorchEngine(network), network)

    def judge(self, engine: EncoderEngine, network: WorldAgen | None = None, scaler: Scaler | None = None) -> Parity:
        """Run an engine on the probe set. Raises EngineError where it cannot run; passing is another question.

        network: what decides, the gate's own where it is not given: another is the same in another type. scaler: what makes
        numbers of pictures, Pillow where it is not given.
        """
        tokens, rows, encode_s = self._answers(engine, network or self._network, scaler)
        cosine, error = {}, {}
        for view in VIEWS:
            ours, theirs = self._tokens[view], tokens[view]
            cosine[view] = float(torch.cosine_similarity(ours, theirs, dim=-1).min())
            error[view] = float((ours - theirs).abs().max() / ours.square().mean().sqrt())
        turns = Rotation.from_rotvec(self._rows[:, 3:6]).inv() * Rotation.from_rotvec(rows[:, 3:6])
        return Parity(
            engine=engine.name,
            probe=self._probe.source,
            frames=self._probe.frames,
            cosine=cosine,
            error=error,
            translation_m=float(np.linalg.norm(self._rows[:, :3] - rows[:, :3], axis=1).max()),
            rotation_rad=float(turns.magnitude().max()),
            gripper_flips=float((self._rows[:, 6] != rows[:, 6]).mean()),
            encode_s=encode_s,
        )

    def admit(self, engine: EncoderEngine, network: WorldAgen | None = None, scaler: Scaler | None = None) -> Parity:
        """Judge, and raise EngineError with the numbers for an engine beyond a limit."""
        parity = self.judge(engine, network, scaler)
        refusals = parity.refusals(self.limits)
        if refusals:
            raise EngineError(f"{engine.name} changes too much on {parity.probe}: {'; '.join(refusals)}")
        return parity

    def _answers(
        self, engine: EncoderEngine, network: WorldAgen, scaler: Scaler | None = None
    ) -> tuple[dict[str, torch.Tensor], np.ndarray, float]:
        """Tokens of each view (T, D) of all frames, rows (R, 7), and median seconds of one frame."""
        watched = _Watched(engine)
        policy = NetworkPolicy(network, self._conventions, encoder=watched)
        if scaler is not None:
            policy.use_scaler(scaler)
        between = self._network.config.rows - 1 if self._network.config.frames > 1 else 0
        rows = []
        for instruction, observations in self._probe.runs:
            policy.reset(instruction)
            for observation in observations:
                rows.append(policy.act(observation, [observation] * between).rows)
                if policy.encoder_fault:
                    raise EngineError(policy.encoder_fault)
        return watched.tokens(), np.concatenate(rows), median(watched.seconds)


class _Watched:
    """An engine, and what it gave."""

    def __init__(self, engine: EncoderEngine) -> None:
        self._engine, self.name = engine, engine.name
        self._given: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.seconds: list[float] = []

    def encode(self, static: torch.Tensor, wrist: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        begin = time.perf_counter()
        latents, cls = self._engine.encode(static, wrist)
        given = (latents.float().cpu(), cls.float().cpu())  # waits for a GPU
        self.seconds.append((time.perf_counter() - begin) / len(static))
        self._given.append(given)
        return latents, cls

    def encode_all(self, static: torch.Tensor, wrist: torch.Tensor) -> Encoded:
        return self._engine.encode_all(static, wrist)

    def tokens(self) -> dict[str, torch.Tensor]:
        """Latents and cls of each view, (T, D)."""
        latents, cls = (torch.cat(parts) for parts in zip(*self._given, strict=True))
        return {
            view: torch.cat([part.flatten(0, 1), cls[:, place]])
            for place, (view, part) in enumerate(zip(VIEWS, latents.chunk(2, dim=1), strict=True))
        }


def time_engines(engines: Sequence[EncoderEngine], pictures: tuple[torch.Tensor, torch.Tensor], rounds: int) -> list[float]:
    """Median seconds of one encoding by each, in turns, so that other load on the machine meets all of them."""
    seconds: list[list[float]] = [[] for _ in engines]
    with torch.inference_mode():
        for _ in range(rounds):
            for engine, spent in zip(engines, seconds, strict=True):
                begin = time.perf_counter()
                latents, _ = engine.encode(*pictures)
                latents.cpu()  # waits for a GPU
                spent.append(time.perf_counter() - begin)
    return [median(spent) for spent in seconds]
