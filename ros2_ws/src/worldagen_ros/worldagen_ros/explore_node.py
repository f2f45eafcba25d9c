"""Explore node: runs the policy under one instruction after another inside an envelope, while the recorder writes a bag.

The story of an exploration is told by `story`, a generator that yields while it waits; a timer goes on with it. Before every
step of it `guard` looks at inputs, time and disk, and a state outside the envelope ends it at once. Whatever ends it, `closing`
stops policy and recorder, so that the bag is whole, and the result says why.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.action import ActionClient
from rclpy.clock import Clock, ClockType
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from worldagen.bags.disk import MIB, DiskGuard
from worldagen.bags.reader import open_bag
from worldagen.conventions import find_convention
from worldagen.errors import ConfigError, DiskFull, WorldAgenError
from worldagen.exploring import Breach, Exploration, ExplorationReport, Reason, Rollout, plan_rollouts
from worldagen.homing import is_home, rows_home, rows_standing
from worldagen.poses import Pose
from worldagen.types import ActionChunk
from worldagen_msgs.action import ExecuteInstruction
from worldagen_msgs.msg import ActionChunk as ActionChunkMsg
from worldagen_msgs.msg import TaskState
from worldagen_msgs.srv import ResetSimulator, StartRecording, StopRecording
from worldagen_ros import messages, qos, topics
from worldagen_ros.acquaintance import Acquaintance
from worldagen_ros.diagnostics import ERROR, OK
from worldagen_ros.explore_metadata import exploration_metadata
from worldagen_ros.explore_senses import Senses
from worldagen_ros.explore_server import ExploreServer
from worldagen_ros.managed import ManagedNode
from worldagen_ros.runtime import run_node
from worldagen_sim.environment import Environment, make_environment
from worldagen_sim.exploring import plain_instructions, task_of

STEADY = Clock(clock_type=ClockType.STEADY_TIME)
TICK_S = 0.02
FEEDBACK_S, DISK_S = 0.5, 1.0  # between two of each
PATIENCE_S = 60.0  # with the other nodes, wall time
CLOSING_S = 10.0  # for policy and recorder to end
MEETING_S = 10.0  # from the subscription to the first message, on a machine that is busy
BUTTON_PATIENCE_S, BUTTON_SLIP_S = 20.0, 0.5  # to take hold of the deadman's button; to let it slip
HOME_ROWS = 6  # of one chunk toward home; the next comes when half of them are played

Story = Iterator[None]


class Ending(Exception):
    """The exploration is over: why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass
class Run:
    """What is known of the exploration under way."""

    asked: Exploration
    bag: str
    begun_ns: int  # 0: in lockstep, before the first rollout, when the simulated time is not known yet
    recorded_ns: int = 0  # when the recording began
    closing: bool = False
    whole: int = 0  # rollouts
    rollout: int = 0
    recording: bool = False
    folder: str = ""
    pictures_before: int = 0
    supervised: bool = False  # the deadman's button was held, and has to be
    slipped_s: float | None = None  # monotonic; since when it is not
    watched_since_s: float | None = None  # monotonic; inputs are expected since
    told_s: float = 0.0
    disk_s: float = 0.0


class ExploreNode(ManagedNode):
    """All of it in the executor's thread."""

    sections = ("timing", "robot", "cameras", "policy", "sim", "recorder", "explore")

    def __init__(self) -> None:
        super().__init__("explore")

    def configure(self) -> None:
        self.deployment = self.read_deployment()
        self.config, self.timing, self.robot = self.deployment.explore, self.deployment.timing, self.deployment.robot
        self.lockstep = self.timing.mode == "lockstep"
        simulated = self.robot.source == "simulator"
        self.begins = {"auto": "reset" if simulated else "home"}.get(self.config.begin, self.config.begin)
        self.home = Pose.from_euler(np.array(self.config.home_pose))
        self.period_s = find_convention(self.robot.convention).period_s
        self.require_sense()
        # To ask for tasks and words; it draws nothing.
        sim = self.deployment.sim
        self.environment: Environment | None = make_environment(sim.environment, "raycast", sim.options) if simulated else None

    def activate(self) -> None:
        self.run: Run | None = None
        self.telling: Story | None = None  # the story under way, or its closing
        self.execution: Any = None  # future of the goal that was sent to the policy
        self.outcome: Any = None  # future of its result
        self.senses = Senses(self, self.robot, self.deployment.cameras, self.config, self.on_breach)
        self.chunks = self.create_publisher(ActionChunkMsg, topics.ACTION_CHUNK, qos.CHUNKS)
        self.deadman = self.create_publisher(Bool, topics.DEADMAN_REQUIRED, qos.LATCHED)
        self.execute = ActionClient(self, ExecuteInstruction, topics.EXECUTE)
        self.start_recording = self.create_client(StartRecording, topics.START_RECORDING)
        self.stop_recording = self.create_client(StopRecording, topics.STOP_RECORDING)
        self.reset_simulator = self.create_client(ResetSimulator, topics.RESET_SIMULATOR)
        self.reset_scene = self.create_client(Trigger, topics.RESET_SCENE)
        others = ("policy", "recorder", "sim") if self.begins == "reset" else ("policy", "recorder")
        self.acquaintances = {node: Acquaintance(self, node) for node in others}  # made last, on purpose
        self.server = ExploreServer(self, self.instructions(), self.begin, self.on_cancel)
        self.ticking = self.create_timer(TICK_S, self.tick, clock=STEADY)
        self.ticking.cancel()  # until there is something to go on with
        self.diagnostics.set("exploration", OK, "idle")
        self.get_logger().info(f"ready: rollouts begin with {'a reset' if self.begins == 'reset' else 'the way home'}")

    # -- the story ---------------------------------------------------------------------------------------------------------

    def story(self, run: Run) -> Story:
        """An exploration from begin to end. Raises Ending, in the end with FINISHED."""
        self.check_disk(run)
        for node, acquaintance in self.acquaintances.items():  # a goal whose answer is lost cannot be asked twice
            yield from self.until(
                acquaintance.made, f"an answer of node {node}; start it, the recorder with recorder.enabled=true"
            )
        if self.robot.source == "hardware":
            yield from self.await_button(run)
        if not self.lockstep:  # there pictures come when somebody answers them
            yield from self.await_inputs()
        yield from self.record(run)
        plan = plan_rollouts(run.asked)
        for rollout in plan:
            run.rollout, run.told_s = rollout.number, 0.0  # told at once, however short it will be
            not_before_ns = yield from self.reset(run, rollout) if self.begins == "reset" else self.go_home(run)
            if run.begun_ns == 0:
                run.begun_ns = run.recorded_ns = not_before_ns
            yield from self.roll_out(run, rollout, not_before_ns)
            run.whole += 1
        raise Ending(Reason.FINISHED, f"all {len(plan)} rollouts were played")

    def await_button(self, run: Run) -> Story:
        """On a robot nothing is explored unless somebody holds the deadman's button; the command node sees to it."""
        self.deadman.publish(Bool(data=True))
        told = lambda: self.senses.command_status  # noqa: E731
        what = "the command node to ask for the deadman's button; command.deadman must not be never"
        yield from self.until(lambda: told().deadman_required, what, CLOSING_S)
        self.get_logger().info("hold the deadman's button")
        yield from self.until(lambda: told().deadman_held, "somebody to hold the deadman's button", BUTTON_PATIENCE_S)
        run.supervised = True

    def await_inputs(self) -> Story:
        """Until joint states and both cameras were heard. Raises Ending with INPUT_LOST."""
        deadline_s = time.monotonic() + MEETING_S
        while missing := self.senses.missing():
            if time.monotonic() > deadline_s:
                raise Ending(Reason.INPUT_LOST, f"nothing came within {MEETING_S:g} s of {', '.join(missing)}")
            yield

    def record(self, run: Run) -> Story:
        """Begin the bag."""
        version = self.environment.version if self.environment else ""
        notes = exploration_metadata(self.deployment, run.asked, version)
        self.senses.begin_recording()
        request = StartRecording.Request(bag=run.bag, names=list(notes), values=list(notes.values()))
        run.recording = True  # from here on it has to be stopped, answered or not
        answer = yield from self.answer(self.start_recording, request)
        if not answer.success:
            run.recording = False
            raise Ending(Reason.FAULT, f"nothing is recorded: {answer.message}")
        run.folder, run.pictures_before = answer.bag, self.senses.pictures
        run.recorded_ns = self.now_ns()

    def reset(self, run: Run, rollout: Rollout) -> Iterator[Any]:
        """A fresh episode of the simulator, in its scene; returns the stamp of its first instant."""
        sim = self.deployment.sim
        assert self.environment is not None
        request = ResetSimulator.Request(
            task=task_of(self.environment, rollout.instruction) or sim.task,
            scene=sim.scene,
            seed=rollout.episode_seed,
            # In real time the episode goes on until its rollout, which begins with the first chunk, is over.
            max_steps=run.asked.steps if self.lockstep else 0,
            instruction=rollout.instruction,
        )
        answer = yield from self.answer(self.reset_simulator, request)
        if not answer.success:
            raise Ending(Reason.FAULT, f"the simulator was not reset: {answer.message}")
        yield from self.until(lambda: self.senses.task_state.episode >= answer.episode, "the new episode")
        return messages.stamp_to_ns(self.senses.task_state.header.stamp)

    def go_home(self, run: Run) -> Iterator[Any]:
        """The arm drives home, then somebody may put the scene in order; returns the time."""
        config, begun_ns = self.config, self.now_ns()
        run.watched_since_s = time.monotonic()
        while not is_home(self.pose(), self.home, config.home_tolerance_m, config.home_tolerance_rad):
            if (self.now_ns() - begun_ns) * 1e-9 > config.home_timeout_s:
                way = self.pose().row_to(self.home)
                raise Ending(
                    Reason.FAULT,
                    f"the arm is not home after {config.home_timeout_s:g} s: {np.linalg.norm(way[:3]):.3f} m and "
                    f"{np.linalg.norm(way[3:]):.2f} rad are left; see explore.home_pose and the limits of the command node",
                )
            steps = config.home_speed_mps * self.period_s, config.home_speed_radps * self.period_s
            self.publish(rows_home(self.pose(), self.home, *steps, self.senses.opening, HOME_ROWS))
            next_s = time.monotonic() + HOME_ROWS / 2 * self.period_s
            while time.monotonic() < next_s:
                yield
        run.watched_since_s = None  # people may stand before the cameras
        if config.scene_reset != "never":
            yield from self.ask_for_order()
        return self.now_ns()

    def ask_for_order(self) -> Story:
        """Somebody puts the scene in order, if somebody offers to."""
        config, client = self.config, self.reset_scene
        deadline_s = time.monotonic() + config.scene_reset_wait_s
        while not client.service_is_ready() and time.monotonic() < deadline_s:
            yield
        if not client.service_is_ready():
            if config.scene_reset == "required":
                raise Ending(Reason.FAULT, f"nobody offers {topics.RESET_SCENE}; start who does, or set explore.scene_reset")
            self.get_logger().info(f"nobody offers {topics.RESET_SCENE}: going on with the scene as it is", once=True)
            return
        self.get_logger().info(f"waiting for {topics.RESET_SCENE}")
        answer = yield from self.answer(client, Trigger.Request(), config.scene_reset_timeout_s)
        if not answer.success:
            raise Ending(Reason.FAULT, f"the scene was not put in order: {answer.message}")

    def roll_out(self, run: Run, rollout: Rollout, not_before_ns: int) -> Story:
        """The policy follows the instruction for as many control steps as were asked for."""
        self.get_logger().info(f"rollout {rollout.number} of {run.asked.rollouts}: {rollout.instruction!r}")
        self.senses.await_chunk(not_before_ns)
        episode = self.senses.task_state.episode
        goal = ExecuteInstruction.Goal(
            instruction=rollout.instruction,
            not_before=messages.ns_to_stamp(not_before_ns),
            action_noise=run.asked.action_noise,
            noise_seed=rollout.noise_seed,
        )
        self.execution = self.execute.send_goal_async(goal)
        yield from self.until(self.execution.done, "the policy to take up the instruction")
        handle = self.execution.result()
        if not handle.accepted:
            raise Ending(Reason.FAULT, f"the policy rejected {rollout.instruction!r}; its log says why")
        self.outcome = handle.get_result_async()
        run.watched_since_s = time.monotonic()
        while not self.is_over(run, episode):
            if self.outcome.done():
                ended = self.outcome.result().result
                raise Ending(Reason.FAULT, f"the policy stopped in rollout {rollout.number}: {ended.message}")
            yield
        run.watched_since_s = None
        yield from self.stop_policy()

    def is_over(self, run: Run, episode: int) -> bool:
        """Whether the rollout has had its control steps: by the simulator's count, else by time since the first chunk."""
        told, senses = self.senses.task_state, self.senses
        if self.begins == "reset" and told.episode == episode:
            if told.status == TaskState.FAILED:
                raise Ending(Reason.FAULT, f"the simulator could not go on: {told.detail}")
            if self.lockstep:
                return told.status != TaskState.RUNNING
        steps_ns = round(run.asked.steps * self.period_s * 1e9)
        return senses.first_chunk_ns > 0 and senses.state_ns - senses.first_chunk_ns >= steps_ns

    def stop_policy(self) -> Story:
        """Cancel whatever the policy was asked, and wait until it has ended."""
        if self.execution is None:
            return
        yield from self.until(self.execution.done, "the policy's answer", CLOSING_S)
        handle = self.execution.result()
        if handle.accepted:
            self.outcome = self.outcome or handle.get_result_async()
            if not self.outcome.done():
                handle.cancel_goal_async()
                yield from self.until(self.outcome.done, "the policy to stop", CLOSING_S)
        self.execution = self.outcome = None
        self.hold()  # once more: a chunk may have come between

    def closing(self, run: Run, reason: Reason, message: str) -> Story:
        """Stop policy and recorder, both at once, and tell how it ended."""
        self.get_logger().info(f"{reason.name.lower()}: {message}")
        self.hold()
        stopping, stopped = self.stop_policy(), None
        if run.recording:
            with suppress(Ending):  # a start that is not answered yet, or never will be
                yield from self.until(self.stop_recording.service_is_ready, "the recorder", CLOSING_S)
                next(stopping, None)
                stopped = yield from self.answer(self.stop_recording, StopRecording.Request(), CLOSING_S)
            run.folder = run.folder or (stopped.bag if stopped else "")
        try:
            yield from stopping
        except Ending as error:
            self.get_logger().error(f"closing: {error}")
        if run.recording and (stopped is None or not stopped.success):
            why = stopped.message if stopped else "the recorder does not answer"
            message = f"{message}; the bag was not finished: {self.senses.recorder_stopped or why}"
            reason = Reason.FAULT if reason is Reason.FINISHED else reason
        if self.robot.source == "hardware":
            self.deadman.publish(Bool(data=False))
        report = self.report(run, reason, message)
        self.diagnostics.set("exploration", OK if reason in (Reason.FINISHED, Reason.CANCELED) else ERROR, f"idle; {report}")
        self.get_logger().info(str(report))
        self.run = None
        self.senses.rest()
        self.ticking.cancel()
        self.server.finish(report)

    # -- what goes on with it, and what ends it ----------------------------------------------------------------------------

    def begin(self, asked: Exploration, bag: str) -> None:
        """A goal was accepted."""
        # Absolute, for the recorder may have been started elsewhere.
        folder = str(Path(bag).expanduser().absolute()) if bag else ""
        self.run = Run(asked, folder, 0 if self.lockstep else self.now_ns())
        self.telling = self.story(self.run)
        self.senses.listen()
        self.ticking.reset()
        self.diagnostics.set("exploration", OK, f"{asked.rollouts} rollouts into {folder or 'a new bag'}")
        self.tick()

    def tick(self) -> None:
        """Look around, then go on with the story."""
        run, telling = self.run, self.telling
        if run is None or telling is None:
            return
        try:
            self.guard(run)
            next(telling)
        except StopIteration:
            self.telling = None
        except Ending as ending:
            self.end(run, ending.reason, str(ending))
        except WorldAgenError as error:
            self.end(run, Reason.FAULT, str(error))

    def guard(self, run: Run) -> None:
        """What may end it at any time. Raises Ending."""
        now_s = time.monotonic()
        if now_s - run.told_s >= FEEDBACK_S:
            run.told_s = now_s
            self.server.tell(run.rollout, self.pictures_of(run), self.time_left_s(run))
        if run.closing:
            return
        elapsed_s = (self.now_ns() - run.begun_ns) * 1e-9 if run.begun_ns else 0.0
        limit_s = run.asked.time_limit_s or self.config.envelope.time_limit_s
        if elapsed_s > limit_s:
            raise Ending(Reason.ENVELOPE, f"{elapsed_s:.1f} s are over; the time limit is {limit_s:g} s")
        if now_s - run.disk_s >= DISK_S:
            run.disk_s = now_s
            self.check_disk(run)
        if run.recording and self.senses.recorder_stopped:
            self.check_disk(run)
            raise Ending(Reason.FAULT, f"the recorder {self.senses.recorder_stopped}")
        if run.supervised:
            run.slipped_s = None if self.senses.command_status.deadman_held else run.slipped_s or now_s
            if run.slipped_s is not None and now_s - run.slipped_s > BUTTON_SLIP_S:
                raise Ending(Reason.ENVELOPE, "the deadman's button was let go")
        if run.watched_since_s is not None and (silent := self.silence(run.watched_since_s)):
            raise Ending(Reason.INPUT_LOST, silent)

    def silence(self, since_s: float) -> str:
        """Which input is silent, in words. In lockstep the simulator waits for us, so only a long silence counts."""
        ages_s = self.senses.ages_s(since_s)
        if not self.lockstep:
            return self.config.envelope.silence(ages_s)
        bound_s = max(PATIENCE_S, 2 * self.timing.answer_timeout_s)
        silent = [stream for stream, age_s in ages_s.items() if age_s > bound_s]
        return f"silent for {bound_s:g} s: {', '.join(silent)}" if silent else ""

    def check_disk(self, run: Run) -> None:
        """Raises Ending below the recorder's floor."""
        recorder = self.deployment.recorder
        folder = Path(run.folder or run.bag or recorder.folder).expanduser()
        try:
            DiskGuard(folder, recorder.floor_mib * MIB).check()
        except DiskFull as error:
            raise Ending(Reason.DISK_FULL, str(error)) from None

    def on_breach(self, breach: Breach) -> None:
        if self.run is not None:
            self.end(self.run, Reason.ENVELOPE, breach.message)

    def on_cancel(self) -> None:
        if self.run is not None:
            self.end(self.run, Reason.CANCELED, f"asked to stop in rollout {self.run.rollout} of {self.run.asked.rollouts}")

    def end(self, run: Run, reason: Reason, message: str) -> None:
        """Begin with the closing, at once, unless it has begun."""
        if not run.closing:
            run.closing = True
            self.telling = self.closing(run, reason, message)
            self.tick()

    # -- small things ------------------------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> Story:
        """Wait for a condition. Raises Ending with FAULT after the patience."""
        deadline_s = time.monotonic() + patience_s
        while not condition():
            if time.monotonic() > deadline_s:
                raise Ending(Reason.FAULT, f"waited {patience_s:g} s for {what}")
            yield

    def answer(self, client: Any, request: Any, patience_s: float = PATIENCE_S) -> Iterator[Any]:
        """Call a service; returns its answer."""
        yield from self.until(client.service_is_ready, f"the service {client.srv_name}", patience_s)
        future = client.call_async(request)
        yield from self.until(future.done, f"an answer of {client.srv_name}", patience_s)
        return future.result()

    def hold(self) -> None:
        """In real time a chunk that stands still takes the place of the rows that are left; in lockstep nothing moves."""
        if not self.lockstep and self.senses.pose is not None:
            self.publish(rows_standing(self.senses.opening))

    def publish(self, rows: np.ndarray) -> None:
        """(M, 7) rows from now on, through the command node and its limits."""
        chunk = ActionChunk(self.now_ns(), 0, self.period_s, self.robot.convention, rows)
        self.chunks.publish(messages.encode_chunk(chunk, self.robot.frame_id))

    def pose(self) -> Pose:
        """The measured pose."""
        assert self.senses.pose is not None
        return self.senses.pose

    def now_ns(self) -> int:
        """ROS time."""
        return self.get_clock().now().nanoseconds

    def pictures_of(self, run: Run) -> int:
        """That came since the recording began."""
        return self.senses.pictures - run.pictures_before if run.recording and run.folder else 0

    def time_left_s(self, run: Run) -> float:
        """An estimate: as long for each rollout as they took so far."""
        steps_s = run.asked.steps * self.period_s
        each_s = (self.now_ns() - run.recorded_ns) * 1e-9 / run.whole if run.whole else steps_s
        return (run.asked.rollouts - run.whole) * max(each_s, steps_s)

    def report(self, run: Run, reason: Reason, message: str) -> ExplorationReport:
        """What was recorded; pictures as the bag counts them, where it can be read from here."""
        if not run.folder:
            return ExplorationReport(reason, message, None, 0, 0, 0.0)
        frames = self.pictures_of(run)
        with suppress(WorldAgenError), open_bag(Path(run.folder)) as bag:
            frames = sum(count for name, count in bag.counts.items() if bag.topics[name].type.endswith("Image"))
        duration_s = max(0.0, (self.now_ns() - run.recorded_ns) * 1e-9) if run.recorded_ns else 0.0
        return ExplorationReport(reason, message, Path(run.folder), run.whole, frames, duration_s)

    def instructions(self) -> tuple[str, ...]:
        """Asked where a goal names none: the deployment's, else the plain words of the simulator's tasks."""
        listed = tuple(words.strip() for words in self.config.instructions.split(";") if words.strip())
        return listed or (plain_instructions(self.environment) if self.environment else ())

    def require_sense(self) -> None:
        """Raises ConfigError for a deployment whose bags could not be learned from, or whose home is out of bounds."""
        sim, box = self.deployment.sim, self.config.envelope
        if self.lockstep and (not sim.every_picture or sim.ends_on_success):
            raise ConfigError(
                f"sim.every_picture is {json.dumps(sim.every_picture)} and sim.ends_on_success "
                f"{json.dumps(sim.ends_on_success)}; exploring in lockstep needs true and false: all steps, all with pictures"
            )
        if self.begins == "reset" and self.robot.source != "simulator":
            raise ConfigError("explore.begin is 'reset', but robot.source is 'hardware': choose home, or auto")
        if self.begins == "home" and self.lockstep:
            raise ConfigError("explore.begin is 'home', which needs timing.mode=realtime: in lockstep a simulator is reset")
        inside = [low < at < high for low, at, high in zip(box.low_m, self.home.position, box.high_m, strict=True)]
        if self.begins == "home" and not all(inside):
            raise ConfigError(
                f"explore.home_pose is at {self.home.position.round(3).tolist()} m, outside the envelope from "
                f"{list(box.low_m)} to {list(box.high_m)} m; say where this robot's home is"
            )

    def deactivate(self) -> None:
        """An exploration under way ends as it is: policy and recorder are told, and nobody waits for them."""
        if self.run is not None and not self.run.closing:
            self.end(self.run, Reason.FAULT, "the explore node was deactivated")

    def cleanup(self) -> None:
        environment, self.environment = getattr(self, "environment", None), None
        if environment is not None:
            environment.close()


def main() -> None:
    run_node(ExploreNode)
