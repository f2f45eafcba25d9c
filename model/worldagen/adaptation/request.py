"""What an adaptation is asked for, how it tells of its progress, and what comes of it. Plain values, and no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

READING, ENCODING, TRAINING, JUDGING = "reading", "encoding", "training", "judging"
FRAMES = "worldagen-frames-"  # a run's folder for decoded frames, where none is given; its process id follows


@dataclass(frozen=True)
class AdaptationRequest:
    """What to do. bag: folder of one bag or of many. out: where adapters go. cache: where decoded frames stay, "" for nowhere.

    rehearse: further data ("bag:PATH"), of the places the base knows. further_checks: names of checks that somebody makes
    afterwards, such as "canary"; until then the adapter counts as rejected. start: folder of an adapter of the same base, rank,
    alpha and targets whose LoRA is trained on, "" for zero.
    """

    checkpoint: str
    bag: str
    recipe: str = "default"
    out: str = "adapters"
    cache: str = ""
    rehearse: str = ""
    overrides: Mapping[str, str] = field(default_factory=dict)
    further_checks: tuple[str, ...] = ()
    start: str = ""


@dataclass(frozen=True)
class Progress:
    """Where a run is. loss: the newest of training, nan before the first."""

    stage: str
    done: int
    of: int
    loss: float


@dataclass(frozen=True)
class Adapted:
    """What came of it. folder: of the adapter; seconds: of each stage."""

    adapter_id: str
    folder: str
    accepted: bool
    reasons: tuple[str, ...]
    loss_before: float
    loss_after: float
    windows: int
    held_out_windows: int
    seconds: Mapping[str, float]
    peak_memory_mib: float
