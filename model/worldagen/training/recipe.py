"""A recipe: every choice of a training run, as one frozen tree. Defaults stand here; a YAML says what differs, and why."""

from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from worldagen.config import load_config, setting
from worldagen.errors import UnknownName


@dataclass(frozen=True)
class RecordStage:
    """Demonstrations to record before anything else; no scenes: none, the data are given."""

    environment: str = setting("playtable", "simulator")
    scenes: str = setting("", "names with commas between them; empty: record nothing")
    tasks: str = setting("", "names with commas between them; empty: all")
    episodes_per_task: int = setting(18, "kept episodes of each task in each scene", low=1, high=10_000)
    picture_every: int = setting(1, "control steps from one pair of pictures to the next", low=1, high=100)
    seed: int = setting(0, "seed of the first", low=0)


@dataclass(frozen=True)
class DataSection:
    """What is trained on."""

    held_out_every: int = setting(20, "every so many episodes one is kept for validation; 0: none", low=0, high=1000)
    rule: str = setting(
        "aligned", "which actions belong to which frame (worldagen/windows.py)", choices=("aligned", "published", "paper")
    )
    balance: float = setting(
        0.5, "chance of an episode: its number of windows to this power; 1: every window alike", low=0.0, high=1.0
    )


@dataclass(frozen=True)
class Augmentation:
    """One draw for all frames of a window, or of an episode where features are kept."""

    static_shift: int = setting(3, "largest shift of the static picture, pixels of the network's input", low=0, high=64)
    wrist_shift: int = setting(2, "largest shift of the wrist picture, pixels", low=0, high=64)
    gain: float = setting(0.25, "largest change of one colour channel, share", low=0.0, high=1.0)
    contrast: float = setting(0.2, "largest change of contrast, share", low=0.0, high=1.0)
    brightness: float = setting(0.15, "largest change of brightness, in normalised numbers", low=0.0, high=1.0)


@dataclass(frozen=True)
class Optimiser:
    """AdamW; the learning rate rises linearly, stays, then falls."""

    learning_rate: float = setting(1e-3, "peak", low=0.0, high=1.0)
    schedule: str = setting("linear", "how it falls: linear or cosine", choices=("linear", "cosine"))
    final_share: float = setting(0.02, "share of the peak at the last step", low=0.0, high=1.0)
    warmup_steps: int = setting(60, "steps to the peak", low=0)
    constant_share: float = setting(0.6, "share of all steps up to which it stays at the peak", low=0.0, high=1.0)
    weight_decay: float = setting(0.01, "decoupled, on every weight", low=0.0, high=1.0)
    beta1: float = setting(0.9, "of AdamW", low=0.0, high=1.0)
    beta2: float = setting(0.98, "of AdamW", low=0.0, high=1.0)
    clip: float = setting(1.0, "largest norm of the gradient; 0: as it comes", low=0.0)
    ema: float = setting(0.995, "decay of the moving average that is saved; 0: the weights themselves", low=0.0, high=1.0)


@dataclass(frozen=True)
class Loop:
    """How long, in which portions, and how often one looks."""

    steps: int = setting(1000, "optimiser steps", low=0)
    batch: int = setting(32, "samples of a step, over all processes", low=1)
    save_steps: int = setting(500, "steps between two saved states", low=1)
    validate_steps: int = setting(500, "steps between two validations (an epoch, where one fits)", low=1)


@dataclass(frozen=True)
class EncoderStage:
    """Stage 1. A picture encoder that is trained learns to say where things are; a given one (ViT) skips this stage."""

    loop: Loop = field(default_factory=lambda: Loop(steps=0, batch=96))
    optimiser: Optimiser = field(default_factory=Optimiser)
    augmentation: Augmentation = field(default_factory=Augmentation)
    balance: float = setting(
        1.0, "chance of an episode: its number of frames to this power; 1: every frame alike", low=0.0, high=1.0
    )
    values: str = setting("", "named numbers of the data to regress, patterns with commas between them; the state always is")
    quarter_turns: str = setting("", "angles (rad) that look alike every quarter turn, patterns")
    near: str = setting("", "points to regress as seen from the hand, patterns of names without their axis such as *_block")
    near_m: float = setting(0.05, "distance from the hand at which a point counts as far, m", low=1e-3, high=10.0)
    hand: str = setting("tcp", "name of the hand's pose among the data's numbers")
    picture_weight: float = setting(0.3, "of painting the picture again, 16 x 16 pixels, beside the regression", low=0.0)


@dataclass(frozen=True)
class FeatureStage:
    """Stage 2. What the frozen encoder makes of every frame, kept on disk: the dear part of a step is then paid once."""

    copies: int = setting(2, "kept versions of a frame: one as it is, the others augmented, a draw an episode", low=1, high=32)
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class LossSection:
    """Weights of the losses; arm_beta: where SmoothL1 turns from a square to a line."""

    arm: float = setting(1.0, "of the six arm numbers", low=0.0)
    gripper: float = setting(0.1, "of the gripper's cross-entropy", low=0.0)
    image: float = setting(0.1, "of the painted pictures", low=0.0)
    arm_beta: float = setting(0.1, "where SmoothL1 turns from a square to a line", low=0.0)


@dataclass(frozen=True)
class PolicyStage:
    """Stage 3. Everything but the encoder."""

    loop: Loop = field(default_factory=Loop)
    optimiser: Optimiser = field(default_factory=Optimiser)
    loss: LossSection = field(default_factory=LossSection)
    painted_share: float = setting(0.25, "share of a batch whose pictures are painted, of one random unit", low=0.0, high=1.0)
    action_noise: float = setting(0.1, "deviation added to past actions, in the convention's full scale", low=0.0, high=1.0)
    history_dropout: float = setting(0.3, "share of windows whose past actions are zeroed", low=0.0, high=1.0)
    state_dropout: float = setting(0.1, "share of windows whose state is zeroed", low=0.0, high=1.0)
    state_noise_m: float = setting(0.003, "deviation added to the position of the state, m", low=0.0, high=1.0)


@dataclass(frozen=True)
class Machine:
    """What it runs on; changes the speed, and with `precision` the rounding."""

    precision: str = setting("no", "no: fp32; bf16: mixed", choices=("no", "bf16", "fp16"))
    processes: int = setting(1, "processes that share each batch; `accelerate launch` has its own count", low=1, high=64)
    threads: int = setting(2, "CPU threads of one process", low=1, high=256)
    decode_processes: int = setting(2, "processes that decode the data", low=1, high=256)
    trackers: str = setting("tensorboard", "where metrics go besides metrics.jsonl: tensorboard, wandb, with commas")


@dataclass(frozen=True)
class Choice:
    """Which saved state becomes the checkpoint: the best in closed loop."""

    candidates: int = setting(3, "how many of the last saved states are tried", low=1, high=100)
    episodes: int = setting(2, "of each task in each scene", low=1, high=1000)
    scenes: str = setting("A,B,C", "names with commas between them")


@dataclass(frozen=True)
class Recipe:
    """The whole run."""

    preset: str = setting("playtable", "network preset and conventions")
    start: str = setting("", "checkpoint (a shipped name or a folder) whose weights it goes on from; empty: fresh ones")
    seed: int = setting(0, "of the policy stage", low=0)
    encoder_seed: int = setting(0, "of the encoder stage, so that several policies can share one", low=0)
    record: RecordStage = field(default_factory=RecordStage)
    data: DataSection = field(default_factory=DataSection)
    encoder: EncoderStage = field(default_factory=EncoderStage)
    features: FeatureStage = field(default_factory=FeatureStage)
    policy: PolicyStage = field(default_factory=PolicyStage)
    choice: Choice = field(default_factory=Choice)
    machine: Machine = field(default_factory=Machine)


def recipes_folder() -> Path:
    """Where the shipped recipes are."""
    return Path(str(files("worldagen") / "recipes"))


def load_recipe(name: str, overrides: dict[str, str] | None = None) -> Recipe:
    """A shipped recipe's name ("playtable") or the path of a YAML file. Raises UnknownName, ConfigError."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else recipes_folder() / f"{name}.yaml"
    if not name.endswith((".yaml", ".yml")) and not path.is_file():
        raise UnknownName("training recipe", name, [file.stem for file in recipes_folder().glob("*.yaml")])
    return load_config(path, Recipe(), overrides)
