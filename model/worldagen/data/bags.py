"""Folders of rosbag2 bags as episodes: decoded by worldagen.decoding, aligned by stamp, the state from the joints as the
running policy makes it.

An instant is a control step: a picture of the static camera; where that is slower, joint states between its pictures too. An
episode is what follows one instruction, up to the next one or to a pause.
Where the policy told its status, what it followed counts, else what was asked for on `instruction`.

What was executed (actions): the rows of `action_chunk`, or, in a bag without chunks (a teleoperated arm), what `target_pose`
and `gripper_command` asked for from one instant to the next. What should have been done (targets): the rows of
`expert/action_chunk` where a demonstrator was disturbed on purpose, else the actions.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from worldagen.bags import metadata_file
from worldagen.bags.reader import Bag, begins_with_header, open_bag
from worldagen.bags.streams import header_stamp_ns
from worldagen.bags.types import Message
from worldagen.config import setting
from worldagen.conventions import Convention, find_convention
from worldagen.data.alignment import Alignment, Rule, Skew, align, skew_report
from worldagen.data.episodes import Episode
from worldagen.decoding import decode_chunk, decode_gripper, decode_joints, decode_picture, decode_pose
from worldagen.errors import BadEpisode, BagError, DataError, WorldAgenError
from worldagen.kinematics import ForwardKinematics
from worldagen.poses import Pose
from worldagen.robot_state import RobotState
from worldagen.types import ActionChunk

STATIC, WRIST, JOINTS = "static_camera/image_raw", "wrist_camera/image_raw", "joint_states"
WORDS, STATUS, CHUNKS, EXPERT = "instruction", "policy/status", "action_chunk", "expert/action_chunk"
TARGET_POSE, GRIPPER, TASK_STATE = "target_pose", "gripper_command", "sim/task_state"


@dataclass(frozen=True)
class BagReading:
    """How bags become episodes. Where a bag says what robot it is of, its word counts."""

    wrist: str = setting("nearest 0.02", "alignment of the wrist camera to the static one; seconds")
    joints: str = setting("nearest 0.02", "alignment of the joint states")
    commands: str = setting("hold 0.1", "alignment of target poses and gripper commands, where there are no chunks")
    pause_s: float = setting(0.5, "a longer silence of the static camera ends an episode, s", low=0.05, high=60.0)
    jitter_share: float = setting(
        0.3, "share of a control period by which the camera's median period may be off", low=0.0, high=1.0
    )
    robot: str = setting("panda", "URDF or a robot's name, where the bag does not say")
    tool_frame: str = setting("panda_hand_tcp", "tool frame, where the bag does not say")
    convention: str = setting("calvin", "control period and full scale, where the bag does not say")


@dataclass(frozen=True, eq=False)
class _Robot:
    kinematics: ForwardKinematics
    convention: Convention
    frame_id: str


@dataclass
class _Streams:
    """Everything but pictures, decoded, by stamp."""

    static_ns: list[int] = field(default_factory=list)
    wrist_ns: list[int] = field(default_factory=list)
    joints: list[tuple[int, Any]] = field(default_factory=list)
    words: list[tuple[int, str]] = field(default_factory=list)
    chunks: list[ActionChunk] = field(default_factory=list)
    expert: list[ActionChunk] = field(default_factory=list)
    poses: list[tuple[int, Pose]] = field(default_factory=list)
    grippers: list[tuple[int, float]] = field(default_factory=list)
    values: list[tuple[int, dict[str, float]]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Span:
    """Where an episode is: its words, when they were given, and its instants (T,), ns."""

    words: str
    begin_ns: int
    instants: np.ndarray


class BagSource:
    """Every bag below a folder, or one bag. Names of episodes are paths below the folder, with #2 for a bag's second."""

    def __init__(self, path: Path, reading: BagReading | None = None) -> None:
        self.spec = f"bag:{path}"
        self._root, self._reading = path, reading or BagReading()
        for rule in (self._reading.wrist, self._reading.joints, self._reading.commands):
            Rule.parse(rule)  # a wrong one is refused here, not with every episode
        bags = sorted(found.parent for found in path.rglob(metadata_file.NAME))
        self._bags = {str(bag.relative_to(path)) if bag != path else path.resolve().name: bag for bag in bags}
        self._kinematics: dict[tuple[Any, ...], ForwardKinematics] = {}
        self._read: tuple[Path, _Robot, _Streams] | None = None  # the bag read last; its episodes are asked for in turn

    def fingerprint(self) -> str:
        """Of names, sizes and times of all files, and of how they are read."""
        digest = hashlib.blake2b(repr(self._reading).encode(), digest_size=16)
        for bag in self._bags.values():
            for file in sorted(bag.iterdir()):
                status = file.stat()
                digest.update(f"{file.relative_to(self._root)} {status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def episodes(self) -> list[str]:
        """Names, bag by bag. A bag that cannot be read, or is of one episode, stands under its own name."""
        if not self._bags:
            raise DataError(f"{self.spec}: no bag; expected folders that hold {metadata_file.NAME}")
        names = []
        for name, bag in self._bags.items():
            names += [name if not number else f"{name}#{number + 1}" for number in range(self._count(bag))]
        return names

    def read(self, name: str) -> Episode:
        """One episode. Raises BadEpisode, naming it, for a bag that is damaged or lacks what training needs."""
        folder, number = self._locate(name)
        with _naming(name):
            robot, streams = self._open(folder)
            return self._episode(folder, name, robot, streams, self._span(streams, number))

    def skew(self, name: str) -> dict[str, Skew]:
        """How far apart the streams of an episode are. Raises BadEpisode."""
        folder, number = self._locate(name)
        with _naming(name):
            _, streams = self._open(folder)
            return skew_report(self._align(streams, self._span(streams, number).instants))

    def _locate(self, name: str) -> tuple[Path, int]:
        """The bag of an episode, and which of its episodes it is, from 1. Raises DataError for a name we did not give."""
        bag, _, number = (name, "", "1") if name in self._bags else name.rpartition("#")
        if bag not in self._bags or not number.isdecimal():
            raise DataError(f"{self.spec}: has no episode {name!r}")
        return self._bags[bag], int(number)

    def _count(self, folder: Path) -> int:
        """Episodes of a bag; one for a bag that cannot be read, so that it is skipped by name. Decodes no picture."""
        try:
            with open_bag(folder) as bag:
                told = [bag.counts.get(_find(bag, name) or "", 0) for name in (WORDS, STATUS)]
                if told[1] == 0 and told[0] <= 1 and not self._pauses(bag):
                    return 1
            return max(1, len(self._spans(self._open(folder)[1])))
        except WorldAgenError:
            return 1

    def _pauses(self, bag: Bag) -> bool:
        """Whether the static camera is silent for a while anywhere."""
        stamps = sorted(header_stamp_ns(message.data) for message in bag.messages([_camera(bag, STATIC)], by_time=False))
        return bool(np.any(np.diff(stamps) > self._reading.pause_s * 1e9))

    def _span(self, streams: _Streams, number: int) -> "_Span":
        spans = self._spans(streams)
        if not spans:
            raise BadEpisode("no instant after an instruction")
        if not 1 <= number <= len(spans):
            raise BadEpisode(f"this bag has {len(spans)} episodes")
        return spans[number - 1]

    def _open(self, folder: Path) -> tuple[_Robot, _Streams]:
        if self._read is None or self._read[0] != folder:
            with open_bag(folder) as bag:
                robot = self._robot(bag)
                self._read = (folder, robot, _read_streams(bag, robot))
        return self._read[1:]

    def _robot(self, bag: Bag) -> _Robot:
        """Whose joints these are: by the bag's parameters, else by our own."""
        said, reading = bag.metadata.get("parameters", {}), self._reading
        poses = [_pose_of(said, f"robot.{name}") for name in ("base_pose", "tool_offset")]
        key = (said.get("robot.urdf", reading.robot), said.get("robot.tool_frame", reading.tool_frame), *poses)
        if key not in self._kinematics:
            self._kinematics[key] = ForwardKinematics(*key)
        convention = find_convention(said.get("robot.convention", reading.convention))
        return _Robot(self._kinematics[key], convention, said.get("robot.frame_id", "world"))

    def _spans(self, streams: _Streams) -> list["_Span"]:
        """Where the episodes are."""
        instants = np.array(streams.static_ns, np.int64)
        spans = []
        for (begin_ns, words), (end_ns, _) in pairwise([*streams.words, (np.iinfo(np.int64).max, "")]):
            if not words.strip():
                continue
            ours = instants[(instants >= begin_ns) & (instants < end_ns)]
            pauses = np.flatnonzero(np.diff(ours) > self._reading.pause_s * 1e9) + 1
            spans += [_Span(words, begin_ns, part) for part in np.split(ours, pauses) if len(part)]
        return spans

    def _align(self, streams: _Streams, instants: np.ndarray, every: int = 1) -> dict[str, Alignment]:
        reading = self._reading
        # The wrist camera has to be near the pictures of the static one, not the steps between.
        wrist = align(Rule.parse(reading.wrist), instants[::every], np.array(streams.wrist_ns))
        joints = align(Rule.parse(reading.joints), instants, np.array([stamp for stamp, _ in streams.joints]))
        aligned = {WRIST: wrist[np.arange(len(instants)) // every], JOINTS: joints}
        if not streams.chunks:
            ends = _ends(instants)
            for name, stamped in ((TARGET_POSE, streams.poses), (GRIPPER, streams.grippers)):
                aligned[name] = align(Rule.parse(reading.commands), ends, np.array([stamp for stamp, _ in stamped]))
        return aligned

    def _episode(self, folder: Path, name: str, robot: _Robot, streams: _Streams, span: "_Span") -> Episode:
        shown = span.instants
        every = self._every(shown, robot.convention)
        instants = _control_steps(shown, every, robot.convention.period_s, streams)
        aligned = self._align(streams, instants, every)
        actions, first, last = _actions(streams, robot, replace(span, instants=instants), aligned)
        first = -(-first // every) * every  # a picture comes first
        if last <= first:
            near = ", ".join(f"{stream} {int(alignment.ok.sum())}" for stream, alignment in aligned.items())
            raise BadEpisode(f"no instant of {len(instants)} has both observations and an action; near enough: {near}")
        instants, actions = instants[first:last], actions[first:last]
        aligned = {stream: alignment[first:last] for stream, alignment in aligned.items()}
        for stream, alignment in aligned.items():
            if not alignment.ok.all():
                place = int(np.flatnonzero(~alignment.ok)[0])
                rule = {WRIST: self._reading.wrist, JOINTS: self._reading.joints}.get(stream, self._reading.commands)
                raise BadEpisode(
                    f"{stream} is {alignment.skew_s[place]:.3f} s from instant {place} of {len(instants)}; declared: {rule}"
                )
        joints = _mixed_joints(streams.joints, aligned[JOINTS])
        expert = _rows(streams.expert, span.begin_ns, instants)[0] if streams.expert else actions
        targets = np.where(np.isnan(expert), actions, expert)
        wrist_ns = np.array(streams.wrist_ns, np.int64)[aligned[WRIST].before]
        return Episode(
            name=name,
            instruction=span.words,
            convention=robot.convention,
            states=_states(robot.kinematics, joints, actions),
            actions=actions,
            targets=targets,
            pictures=lambda: _pictures(folder, name, instants[::every], wrist_ns[::every]),
            values=_values(streams.values, instants),
            every=every,
        )

    def _every(self, shown: np.ndarray, convention: Convention) -> int:
        """Control steps from picture to picture. Raises BadEpisode for a camera that is not in step with them."""
        if len(shown) < 2:
            return 1
        periods = np.diff(shown) * 1e-9 / convention.period_s
        every = max(1, round(float(np.median(periods))))
        # Among pictures of every step a gap shows in the actions; between rarer ones nobody would see that one is missing.
        judged = periods if every > 1 else np.median(periods, keepdims=True)
        worst = judged[np.argmax(np.abs(judged - every))]
        if abs(worst - every) > self._reading.jitter_share:
            raise BadEpisode(
                f"the static camera has {1 / (worst * convention.period_s):.1f} Hz, {convention.name!r} "
                f"{1 / convention.period_s:.1f} Hz; record with pictures of every control step (sim.every_picture in lockstep) "
                "or, without a gap, of every so-many-th"
            )
        return every


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Whatever is wrong with an episode is told with its name."""
    try:
        yield
    except WorldAgenError as error:
        raise BadEpisode(str(error) if str(error).startswith(f"{name}: ") else f"{name}: {error}") from None


def _pose_of(said: Mapping[str, str], name: str) -> tuple[float, ...]:
    told = said.get(name, "(0, 0, 0, 0, 0, 0)")
    try:
        return tuple(float(number) for number in told.strip("([ ])").split(","))
    except ValueError:
        raise BadEpisode(f"its {name} is {told!r}; expected 6 numbers with commas between them") from None


def _find(bag: Bag, name: str) -> str | None:
    """The topic of that relative name: at the root or in a namespace."""
    found = [topic for topic in bag.topics if topic == f"/{name}" or topic.endswith(f"/{name}")]
    exact = [topic for topic in found if topic == f"/{name}"]
    # "action_chunk" also ends "expert/action_chunk"
    others = [topic for topic in found if not topic.endswith(f"/{EXPERT}") or name == EXPERT]
    if exact:
        return exact[0]
    if len(others) > 1:
        raise BadEpisode(f"{len(others)} topics end in {name}: {', '.join(others)}; record one robot a bag")
    return others[0] if others else None


def _camera(bag: Bag, name: str) -> str:
    """The topic of a camera, raw or compressed. Raises BadEpisode listing the pictures there are."""
    both = (_find(bag, name), _find(bag, f"{name}/compressed"))
    topic = next((topic for topic in both if topic and bag.counts.get(topic)), None)
    if topic is None:
        pictures = [other for other, what in bag.topics.items() if what.type.endswith(("/Image", "/CompressedImage"))]
        raise BadEpisode(f"no pictures on {name}; its pictures are on: {', '.join(pictures) or 'no topic'}")
    return topic


def _read_streams(bag: Bag, robot: _Robot) -> _Streams:
    """Decode everything but the pictures. Raises BadEpisode for what is missing, BagError for what is damaged."""
    streams = _Streams()
    static, wrist = _camera(bag, STATIC), _camera(bag, WRIST)
    joints = _find(bag, JOINTS)
    if joints is None or not bag.counts.get(joints):
        raise BadEpisode(f"no messages on {JOINTS}")
    if not any(bag.counts.get(_find(bag, name) or "") for name in (WORDS, STATUS)):
        raise BadEpisode(f"no words: nothing on {WORDS} or {STATUS}; an episode begins with its instruction")
    followed: list[tuple[int, str]] = []
    readers = {
        static: lambda message: _show(streams.static_ns, header_stamp_ns(message.data)),
        wrist: lambda message: _show(streams.wrist_ns, header_stamp_ns(message.data)),
        joints: lambda message: streams.joints.append((_stamp_ns(bag, message), decode_joints(bag.decode(message)))),
        _find(bag, WORDS): lambda message: streams.words.append((message.publish_time_ns, str(bag.decode(message).data))),
        _find(bag, STATUS): lambda message: followed.append((_stamp_ns(bag, message), str(bag.decode(message).instruction))),
        _find(bag, CHUNKS): lambda message: streams.chunks.append(decode_chunk(bag.decode(message), robot.frame_id)),
        _find(bag, EXPERT): lambda message: streams.expert.append(decode_chunk(bag.decode(message), robot.frame_id)),
        _find(bag, TARGET_POSE): lambda message: streams.poses.append(
            (_stamp_ns(bag, message), decode_pose(bag.decode(message)))
        ),
        _find(bag, GRIPPER): lambda message: streams.grippers.append(
            (_stamp_ns(bag, message), decode_gripper(bag.decode(message)))
        ),
        _find(bag, TASK_STATE): lambda message: streams.values.append((_stamp_ns(bag, message), _named(bag.decode(message)))),
    }
    readers = {topic: read for topic, read in readers.items() if topic is not None}
    for message in bag.messages(list(readers)):
        try:
            readers[message.topic](message)
        except (AttributeError, TypeError, ValueError) as error:  # its fields are others than its name promises
            kind = bag.topics[message.topic].type
            raise BadEpisode(f"a message of {message.topic} ({kind}) is not what we know by that name: {error}") from None
    for name, stamps in (("static camera", streams.static_ns), ("wrist camera", streams.wrist_ns)):
        if np.any(np.diff(stamps) <= 0):
            raise BadEpisode(f"stamps of the {name} do not rise; expected each picture later than the one before")
    streams.joints.sort(key=lambda item: item[0])
    if any(words for _, words in followed):  # the policy says what it follows, also when an action asked it to, and until when
        changes = zip(followed, [(0, ""), *followed], strict=False)
        streams.words = [told for told, before in changes if told[1] != before[1]]
    return streams


def _show(shown_ns: list[int], stamp_ns: int) -> None:
    """Note a picture. One that is shown again is the same instant: in lockstep a simulator repeats what nobody answers."""
    if not shown_ns or shown_ns[-1] != stamp_ns:
        shown_ns.append(stamp_ns)


def _stamp_ns(bag: Bag, message: Message) -> int:
    topic = bag.topics[message.topic]
    return header_stamp_ns(message.data) if begins_with_header(topic.type, topic.schema) else message.publish_time_ns


def _named(task_state: Any) -> dict[str, float]:
    return dict(zip(task_state.names, np.asarray(task_state.values, np.float64).tolist(), strict=True))


def _rows(chunks: Sequence[ActionChunk], begin_ns: int, instants: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The row that the newest chunk has for each instant: (T, 7), NaN where none has one; and which instants have one (T,).

    Chunks from before begin_ns answered other words, and were dropped with them.
    """
    chunks = [chunk for chunk in chunks if chunk.stamp_ns >= begin_ns]
    rows = np.full((len(instants), 7), np.nan)
    stamps = np.array([chunk.stamp_ns for chunk in chunks], np.int64)
    order = np.argsort(stamps, kind="stable")
    for index, instant in enumerate(instants):
        newest = np.searchsorted(stamps[order], instant, side="right") - 1
        if newest < 0:
            continue
        chunk = chunks[int(order[newest])]
        row = round((int(instant) - chunk.stamp_ns) / (chunk.period_s * 1e9))
        if row < len(chunk.rows):
            rows[index] = chunk.rows[row]
    return rows, ~np.isnan(rows[:, 0])


def _control_steps(shown: np.ndarray, every: int, period_s: float, streams: _Streams) -> np.ndarray:
    """Instants (T,) of pictures (P,) that are `every` control steps apart, and between them and after them those of the joints.

    A step without joint states near it keeps the moment at which they should have come, and is found wanting by their rule.
    """
    if every == 1:
        return shown
    places = shown[:, None] + np.round(np.arange(every) * period_s * 1e9).astype(np.int64)  # (P, every)
    stamps = np.array([stamp for stamp, _ in streams.joints])
    nearest = align(Rule("nearest", period_s / 2), places.ravel(), stamps)
    steps = np.where(nearest.ok, stamps[nearest.before], places.ravel()).reshape(places.shape)
    steps[:, 0] = shown
    return steps.ravel()


def _ends(instants: np.ndarray) -> np.ndarray:
    """The last nanosecond that belongs to each instant (T,): what was commanded up to then was its action."""
    period = int(np.median(np.diff(instants))) if len(instants) > 1 else 1
    return np.append(instants[1:], instants[-1:] + period) - 1


def _commanded_rows(
    streams: _Streams, robot: _Robot, instants: np.ndarray, aligned: dict[str, Alignment]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows between the poses that were commanded up to the ends of two instants; the first from where the arm was."""
    poses, grippers = aligned[TARGET_POSE], aligned[GRIPPER]
    good = poses.ok & grippers.ok & aligned[JOINTS].ok
    rows = np.full((len(instants), 7), np.nan)
    before: Pose | None = None
    for index in np.flatnonzero(good):
        if before is None:
            joints = streams.joints[int(aligned[JOINTS].before[index])][1]
            before = Pose.from_euler(robot.kinematics.tool_pose(*joints))
        pose = streams.poses[int(poses.before[index])][1]
        opening = streams.grippers[int(grippers.before[index])][1]
        rows[index], before = np.append(before.row_to(pose), opening), pose
    return rows, good


def _actions(streams: _Streams, robot: _Robot, span: _Span, aligned: dict[str, Alignment]) -> tuple[np.ndarray, int, int]:
    """Executed rows (T, 7) and the range of instants, first to last, in which all is known."""
    if streams.chunks:
        rows, known = _rows(streams.chunks, span.begin_ns, span.instants)
    elif streams.poses and streams.grippers:
        rows, known = _commanded_rows(streams, robot, span.instants, aligned)
    else:
        raise BadEpisode(f"no actions: neither {CHUNKS} nor {TARGET_POSE} with {GRIPPER} was recorded")
    good = known & aligned[JOINTS].ok & aligned[WRIST].ok
    if not good.any():
        return rows, 0, 0
    first, last = int(np.argmax(good)), len(good) - int(np.argmax(good[::-1]))
    holes = np.flatnonzero(~known[first:last])
    if len(holes):
        raise BadEpisode(f"no action at {len(holes)} of {last - first} instants, first at {first + int(holes[0])}")
    return rows, first, last


def _mixed_joints(samples: list[tuple[int, Any]], aligned: Alignment) -> list[tuple[Sequence[str], np.ndarray]]:
    """Joints at each instant; a mixture of two only by the rule `interpolate`."""
    mixed = []
    for before, after, share in zip(aligned.before, aligned.after, aligned.share, strict=True):
        names, positions = samples[before][1]
        if share:
            other = dict(zip(*samples[after][1], strict=True))
            positions = np.array([(1 - share) * at + share * other[name] for name, at in zip(names, positions, strict=True)])
        mixed.append((names, positions))
    return mixed


def _states(kinematics: ForwardKinematics, joints: list[tuple[Sequence[str], np.ndarray]], actions: np.ndarray) -> np.ndarray:
    state = RobotState(kinematics)
    states = np.empty((len(joints), 7))
    for index, (sample, row) in enumerate(zip(joints, actions, strict=True)):
        states[index] = state.observe(sample)
        state.commanded(row[6])
    return states


def _values(samples: list[tuple[int, dict[str, float]]], instants: np.ndarray) -> dict[str, np.ndarray]:
    """Named numbers at each instant, of a simulator; none where it does not speak of every instant."""
    by_stamp = dict(samples)
    if any(int(instant) not in by_stamp for instant in instants):
        return {}
    told = [by_stamp[int(instant)] for instant in instants]
    return {name: np.array([values[name] for values in told]) for name in told[0] if all(name in values for values in told)}


def _pictures(folder: Path, name: str, static_ns: np.ndarray, wrist_ns: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs of pictures with these stamps, in order, each decoded once; few are held at a time. Raises BadEpisode."""
    with _naming(name), open_bag(folder) as bag:
        static, wrist = _camera(bag, STATIC), _camera(bag, WRIST)
        wanted = {static: set(static_ns.tolist()), wrist: set(wrist_ns.tolist())}
        held: dict[str, dict[int, np.ndarray]] = {static: {}, wrist: {}}
        pairs = list(zip(static_ns.tolist(), wrist_ns.tolist(), strict=True))
        place = 0
        for message in bag.messages([static, wrist]):
            stamp_ns = header_stamp_ns(message.data)
            if stamp_ns in wanted[message.topic]:
                held[message.topic][stamp_ns] = decode_picture(bag.decode(message))
            while place < len(pairs) and pairs[place][0] in held[static] and pairs[place][1] in held[wrist]:
                one, other = pairs[place]
                yield held[static].pop(one), held[wrist][other]
                place += 1
                for stamp in [stamp for stamp in held[wrist] if stamp < other]:
                    del held[wrist][stamp]
        if place < len(pairs):
            raise BagError(f"{folder}: {len(pairs) - place} of {len(pairs)} pictures are missing")
