"""Which demonstrations a recording asks for, which are there already, and how to go on after an interruption.

A recording is a folder:

    recording.json                          what was asked for; a later run must ask for the same
    attempts.jsonl                          one line for each attempt that ended, kept or not
    episodes/SCENE/TASK/SEED/               one bag for each kept episode
    unfinished/                             what is being written; emptied at the next start

Each scene and task has seeds of its own, because a seed draws the whole world: with the same ones everywhere, 36 episodes of
each task were 36 worlds, and a network knew those by heart. They are tried in order until enough episodes are kept; an expert
that fails, fails again with that seed, so the attempt is noted and the next seed is taken. Which seeds are kept is therefore a
function of the request, however many processes record and however often they are interrupted.
"""

import json
import math
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from worldagen.bags.reader import open_bag
from worldagen.errors import RecordingError
from worldagen_sim.claimed_folder import claim_folder
from worldagen_sim.environment import Environment, find_task

REQUEST, ATTEMPTS, EPISODES, UNFINISHED = "recording.json", "attempts.jsonl", "episodes", "unfinished"
EPISODE = "episode"  # name of the bag metadata that says what an episode is
SEEDS_PER_PLACE = 2_000  # of each scene and task; four scenes of all tasks stay below the seeds of evaluations
FIRST_NS = 1000 * 1_000_000_000  # stamp of the first attempt; earlier ones are for what is not recorded
PAUSE_S = 2.0  # between the longest possible episode and the next


@dataclass(frozen=True)
class Request:
    """What to record: so many kept `episodes` of each task in each scene, from this seed on.

    max_steps: of an episode before its tail; tail_steps: control steps played on after success. seeds_per_place: distance of
    the first seeds of one scene and task and the next. picture_every: control steps from one pair of pictures to the next;
    drawing is what recording costs, and a window of a network that answers every m steps uses no others than every m-th.
    """

    environment: str
    version: str
    scenes: tuple[str, ...]
    tasks: tuple[str, ...]
    episodes: int
    first_seed: int
    max_steps: int
    tail_steps: int
    period_s: float
    seeds_per_place: int = SEEDS_PER_PLACE
    picture_every: int = 1

    @property
    def total(self) -> int:
        """Episodes to keep in all."""
        return len(self.scenes) * len(self.tasks) * self.episodes


@dataclass(frozen=True)
class Attempt:
    """One episode to try: what identifies it, its words, and the stamp of its first instant (ns), its alone."""

    scene: str
    task: str
    seed: int
    instruction: str
    begin_ns: int

    @property
    def folder(self) -> Path:
        """Of its bag, relative to the episodes. A scene's name may hold what is no good in a file name."""
        return Path(self.scene.replace(":", "-"), self.task, f"{self.seed:06d}")


@dataclass(frozen=True)
class Ended:
    """How an attempt ended; steps: control steps, tail included; size_bytes: of its bag, 0 when it was not kept."""

    attempt: Attempt
    kept: bool
    steps: int
    size_bytes: int


def draw_words(phrasings: Sequence[str], task: str, seed: int) -> str:
    """The one of a task's phrasings that an episode of this seed is asked with."""
    return phrasings[int(np.random.default_rng([seed, zlib.crc32(task.encode())]).integers(len(phrasings)))]


def check_request(request: Request, environment: Environment) -> None:
    """Raises UnknownName for a task or scene that does not exist, RecordingError for numbers that make no recording."""
    for task in request.tasks:
        find_task(environment, task)
    for scene in request.scenes:
        environment.reset(request.tasks[0], scene, request.first_seed)
    most = request.seeds_per_place // 2
    if not 1 <= request.episodes <= most or request.first_seed < 0:
        raise RecordingError(f"{request.episodes} episodes from seed {request.first_seed}; expected 1 to {most} from 0 up")
    if request.picture_every < 1:
        raise RecordingError(f"pictures of every {request.picture_every} control steps; expected 1 or more")
    last_s = len(request.scenes) * len(request.tasks) * request.seeds_per_place * _spacing_s(request)
    if last_s + 1000 >= 2**31:  # a ROS stamp holds no more
        raise RecordingError(f"{len(request.scenes)} scenes x {len(request.tasks)} tasks are too many for one recording")


class Ledger:
    """The books of a recording's folder. One process keeps them; others only write bags into `unfinished`."""

    def __init__(self, folder: Path, request: Request, environment: Environment) -> None:
        """Open or begin a recording. Raises RecordingError, changing nothing, when the folder holds anything else."""
        self.folder, self.request, self._environment = folder, request, environment
        claim_folder(folder, REQUEST, asdict(request), "recording", RecordingError)
        self._ended = {(done.attempt.scene, done.attempt.task, done.attempt.seed): done for done in self._read()}
        shutil.rmtree(folder / UNFINISHED, ignore_errors=True)

    @property
    def kept(self) -> int:
        """Episodes that are there."""
        return sum(done.kept for done in self._ended.values())

    @property
    def failed(self) -> int:
        """Attempts that did not succeed."""
        return len(self._ended) - self.kept

    @property
    def size_bytes(self) -> int:
        """Of all bags."""
        return sum(done.size_bytes for done in self._ended.values())

    def missing(self) -> Iterator[Attempt]:
        """The attempts that are due now; after failures, `missing` has others. In the order of their stamps."""
        for place, (scene, task) in enumerate((scene, task) for scene in self.request.scenes for task in self.request.tasks):
            done = [item for (one, other, _), item in self._ended.items() if (one, other) == (scene, task)]
            for index in range(self.request.episodes + sum(not item.kept for item in done)):
                seed = self._first_seed(place) + index
                if index >= self.request.seeds_per_place:
                    raise RecordingError(f"the expert fails in {task} in scene {scene}: {len(done)} attempts were made")
                if (scene, task, seed) not in self._ended:
                    yield self.attempt(scene, task, seed)

    def attempt(self, scene: str, task: str, seed: int) -> Attempt:
        """The attempt of a seed; one of the task's training phrasings is drawn from it."""
        begin_ns = FIRST_NS + (seed - self.request.first_seed) * _spacing_s(self.request) * 1_000_000_000
        words = draw_words(find_task(self._environment, task).phrasings, task, seed)
        return Attempt(scene, task, seed, words, begin_ns)

    def _first_seed(self, place: int) -> int:
        return self.request.first_seed + place * self.request.seeds_per_place

    def workplace(self, attempt: Attempt) -> Path:
        """Where the bag of an attempt is written; it does not exist yet, and its last part is the bag's final name."""
        return self.folder / UNFINISHED / attempt.folder

    def settle(self, done: Ended) -> None:
        """Note how an attempt ended, after its bag is in its place, or gone."""
        written = self.workplace(done.attempt)
        if done.kept:
            place = self.folder / EPISODES / done.attempt.folder
            place.parent.mkdir(parents=True, exist_ok=True)
            os.rename(written, place)
        else:
            shutil.rmtree(written, ignore_errors=True)
        with (self.folder / ATTEMPTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(done)) + "\n")
        self._ended[(done.attempt.scene, done.attempt.task, done.attempt.seed)] = done

    def _read(self) -> Iterator[Ended]:
        """The attempts that were noted, and bags that were put in their place just before an interruption and were not."""
        file = self.folder / ATTEMPTS
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        noted = set()
        whole = []
        for line in lines:
            try:
                read = json.loads(line)
            except ValueError:
                continue  # the last line of an interrupted run
            done = Ended(Attempt(**read.pop("attempt")), **read)
            if not done.kept or (self.folder / EPISODES / done.attempt.folder).is_dir():
                noted.add(done.attempt.folder)
                whole.append(done)
        yield from whole
        places = ((scene, task) for scene in self.request.scenes for task in self.request.tasks)
        for place, (scene, task) in enumerate(places):
            above = self.folder / EPISODES / self.attempt(scene, task, self._first_seed(place)).folder.parent
            for bag in sorted(above.glob("*")):
                attempt = self.attempt(scene, task, int(bag.name))
                if attempt.folder not in noted:
                    steps = int(open_bag(bag).metadata[EPISODE]["steps"])
                    yield Ended(attempt, True, steps, sum(file.stat().st_size for file in bag.iterdir()))


def _spacing_s(request: Request) -> int:
    return math.ceil((request.max_steps + request.tail_steps) * request.period_s + PAUSE_S)
