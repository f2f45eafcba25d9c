"""An adaptation recipe: every choice of a test-time training, as one frozen tree. A YAML says what differs, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from worldagen.config import load_config, setting
from worldagen.errors import ConfigError, UnknownName

PROJECTIONS = ("q", "k", "v", "o", "gate", "up", "down")


@dataclass(frozen=True)
class WindowSection:
    """Which windows of a rollout are learned from.

    Published: 60 frames of a rollout, six windows ten frames apart (`ttt_traj_len`, `repeats`); 34 rollouts give 204.
    """

    frames: int = setting(60, "frames of a rollout that are looked at; it may have more", low=2, high=100_000)
    per_rollout: int = setting(6, "windows of a rollout, evenly apart", low=1, high=10_000)
    words: str = setting(
        "no lang",
        "the text of every window: 'no lang' as published, or 'own' for the words the rollout followed; the bag keeps its own",
        choices=("no lang", "own"),
    )
    held_out_every: int = setting(4, "every so many rollouts one is not learned from but judged with", low=2, high=1000)


@dataclass(frozen=True)
class TrainedSection:
    """What is trained. LoRA: delta = (alpha / rank) B A, A Kaiming-uniform, B zero (Hu et al. 2021), without dropout."""

    what: str = setting(
        "lora",
        "lora: on projections of the backbone; backbone, image_head: all of their weights; full: everything but the encoders",
        choices=("lora", "backbone", "image_head", "full"),
    )
    rank: int = setting(128, "lora: width of the bottleneck", low=1, high=4096)
    alpha: float = setting(32.0, "lora: scale, divided by the rank", low=0.0, high=1e6)
    projections: str = setting(",".join(PROJECTIONS), "lora: which, with commas between them")
    layers: str = setting("", "lora: which of the backbone's layers, from 0, with commas between them; empty: all")


@dataclass(frozen=True)
class OptimiserSection:
    """AdamW. The loss of a window is loss_weight * (MSE static + MSE wrist) / 2, its gradient the mean over a step's."""

    passes: int = setting(1, "how often all windows are gone through", low=1, high=10_000)
    windows_per_step: int = setting(
        0, "windows of each optimiser step, so many steps a pass; 0: all, one step a pass, as published", low=0
    )
    learning_rate: float = setting(5e-3, "of every step, or of the first where it decays", low=0.0, high=1.0)
    decay: bool = setting(False, "let the rate fall to nothing, by the same amount after each step")
    warm_up_rule: str = setting(
        "none",
        "none: the rate as it is; published: one epoch of warm-up counted in windows, while only one step is made, whose rate "
        "is therefore exactly 0",
        choices=("none", "published"),
    )
    weight_decay: float = setting(0.01, "decoupled", low=0.0, high=1.0)
    beta1: float = setting(0.9, "of AdamW", low=0.0, high=0.999999)
    beta2: float = setting(0.999, "of AdamW", low=0.0, high=0.999999)
    clip: float = setting(0.1, "largest norm of the gradient; 0: as it comes", low=0.0)
    clip_running_sum: bool = setting(
        False,
        "clip after every window what has been summed so far, as published: weighs late windows more; one window at a time",
    )
    loss_weight: float = setting(0.1, "of the image loss, as published", low=0.0)
    keep_actions: float = setting(
        0.0, "weight of the squared change of the arm's actions on the same windows, told their own words; 0: none", low=0.0
    )
    rehearsal: float = setting(
        0.0, "share of rehearsed windows from --rehearse in each step, on top of the bag's; 0: none", low=0.0, high=10.0
    )


@dataclass(frozen=True)
class GateSection:
    """What an adapter must fulfil before it may drive."""

    least_reduction: float = setting(0.0, "the interval of the held-out loss's relative reduction must lie above", high=1.0)
    confidence: float = setting(0.95, "of that interval, from a bootstrap over rollouts", low=0.5, high=0.9999)
    resamples: int = setting(2000, "of the bootstrap", low=100, high=1_000_000)
    translation_p99_m: float = setting(0.005, "99 % of the probed rows change by less, m", low=0.0)
    rotation_p99_rad: float = setting(0.052, "the same for their rotations, rad", low=0.0)
    gripper_flips: float = setting(
        0.02, "share of the probed rows whose gripper may be asked for the opposite", low=0.0, high=1.0
    )
    canary_p: float = setting(
        0.05, "in a simulator: a task that gets worse with a smaller one-sided p (McNemar, exact) rejects", low=0.0, high=1.0
    )


@dataclass(frozen=True)
class AdaptationRecipe:
    """The whole."""

    seed: int = setting(42, "of LoRA's first weights, of the order of windows, of the bootstrap", low=0)
    windows: WindowSection = field(default_factory=WindowSection)
    trained: TrainedSection = field(default_factory=TrainedSection)
    optimiser: OptimiserSection = field(default_factory=OptimiserSection)
    gate: GateSection = field(default_factory=GateSection)
    batch: int = setting(
        12, "windows computed at once; changes speed and memory, and the result by rounding only", low=1, high=4096
    )
    threads: int = setting(1, "CPU threads; a policy beside it needs the others", low=1, high=256)


def recipes_folder() -> Path:
    """Where the shipped recipes are."""
    return Path(str(files("worldagen") / "adaptation" / "recipes"))


def load_adaptation_recipe(name: str, overrides: Mapping[str, str] | None = None) -> AdaptationRecipe:
    """A shipped recipe's name ("default") or the path of a YAML file. Raises UnknownName, ConfigError."""
    is_path = name.endswith((".yaml", ".yml"))
    path = Path(name) if is_path else recipes_folder() / f"{name}.yaml"
    if not is_path and not path.is_file():
        raise UnknownName("adaptation recipe", name, [file.stem for file in recipes_folder().glob("*.yaml")])
    recipe = load_config(path, AdaptationRecipe(), overrides)
    require_consistent(recipe)
    return recipe


def require_consistent(recipe: AdaptationRecipe) -> None:
    """Raise ConfigError for choices that contradict each other."""
    chosen_projections(recipe.trained)
    chosen_layers(recipe.trained)
    if recipe.optimiser.decay and recipe.optimiser.warm_up_rule != "none":
        raise ConfigError("optimiser.decay and optimiser.warm_up_rule both say what the rate is; leave one of them")
    if recipe.optimiser.clip_running_sum and recipe.batch != 1:
        raise ConfigError(f"optimiser.clip_running_sum clips after every window; set batch to 1, it is {recipe.batch}")


def chosen_projections(section: TrainedSection) -> tuple[str, ...]:
    """Their names; raises ConfigError for unknown ones, or none."""
    names = tuple(name.strip() for name in section.projections.split(",") if name.strip())
    unknown = [name for name in names if name not in PROJECTIONS]
    if unknown or not names:
        raise ConfigError(f"trained.projections is {section.projections!r}; expected some of: {', '.join(PROJECTIONS)}")
    return names


def chosen_layers(section: TrainedSection) -> tuple[int, ...]:
    """Their numbers, none for all; raises ConfigError for what is no number."""
    try:
        return tuple(int(part) for part in section.layers.split(",") if part.strip())
    except ValueError:
        raise ConfigError(
            f"trained.layers is {section.layers!r}; expected numbers with commas between them, or nothing"
        ) from None
