"""A stack that faults are put into: its processes, a relay in its inputs, an operator; how a fault is done and undone.

One thread spins what is on the wire here; the caller waits for conditions with deadlines.
"""

import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock as ClockMsg
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from worldagen.bags.disk import MIB, free_bytes
from worldagen.errors import WorldAgenError
from worldagen_msgs.action import Adapt
from worldagen_msgs.srv import ResetSimulator, StartRecording, StopRecording
from worldagen_ros import messages, qos, topics
from worldagen_ros.acquaintance import Acquaintance
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.faults.relay import Relay, remappings
from worldagen_ros.faults.table import Fault
from worldagen_ros.faults.watching import Watch
from worldagen_ros.specs import nodes_of
from worldagen_ros.stack import Stack, clean_shared_memory

DEADMAN_PERIOD_S, CLOCK_PERIOD_S = 0.05, 0.01
LOOK_S = 0.005
MOVES_M = 1e-4  # of translation per command: 1 cm/s
TASKS = ("lift_red_block_table", "lift_blue_block_table", "lift_pink_block_table")  # nothing there that blocks an arm
BORED_S = 3.0  # so long an arm may stand before it is given another task
CLOCKED = ("sim", "command", "policy")
TRIES = 3  # of a service whose answer may be lost while nodes come and go


class RigError(WorldAgenError):
    """The stack did not come to where a trial can begin."""


class Operator(Node):
    """Holds the deadman's button, makes the clock where it is asked for, and asks for everything else."""

    def __init__(self) -> None:
        super().__init__("fault_operator", enable_rosout=False)
        self.clock_offset_ns: int | None = None  # of the clock on /clock; None: none is published
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._deadman = self.create_publisher(Bool, topics.DEADMAN, qos.states_out())
        self.instruction = self.create_publisher(String, topics.INSTRUCTION, qos.LATCHED)
        self._clock_out = self.create_publisher(ClockMsg, topics.CLOCK, qos.CLOCK)
        self.reset = self.create_client(ResetSimulator, topics.RESET_SIMULATOR)
        self.clear = self.create_client(Trigger, topics.CLEAR_FAULT)
        self.start_recording = self.create_client(StartRecording, topics.START_RECORDING)
        self.stop_recording = self.create_client(StopRecording, topics.STOP_RECORDING)
        self.adapt = ActionClient(self, Adapt, topics.ADAPT)
        self.create_timer(DEADMAN_PERIOD_S, lambda: self._deadman.publish(Bool(data=True)), clock=steady)
        self._ticking = self.create_timer(CLOCK_PERIOD_S, self._tell_time, clock=steady)
        self._ticking.cancel()

    def set_clock(self, offset_ns: int | None) -> None:
        """Publish a clock that is so much before the system's, or none any more."""
        self.clock_offset_ns = offset_ns
        if offset_ns is None:
            self._ticking.cancel()
        elif self._ticking.is_canceled():
            self._ticking.reset()

    def _tell_time(self) -> None:
        if self.clock_offset_ns is not None:
            self._clock_out.publish(ClockMsg(clock=messages.ns_to_stamp(time.time_ns() + self.clock_offset_ns)))


class Rig:
    """Open it with open_rig. `lines`: the newest lines of the nodes."""

    def __init__(self, config: DeploymentConfig, stack: Stack, folder: Path, chance: random.Random) -> None:
        self.config, self.stack, self.folder, self.chance = config, stack, folder, chance
        self.relay = Relay(config.cameras.period_s, too_late_s(config), pictures=config.policy.kind == "network")
        self.watch = Watch(self.relay.channels["action_chunk"].relayed)
        self.operator = Operator()
        self.gone: set[str] = set()  # processes that were killed, or stopped for good
        self._bags = 0
        self._limit: tuple[int, Any] | None = None
        self.nodes = (self.relay, self.watch, self.operator)
        self._ending = False
        self._spinning: list[tuple[SingleThreadedExecutor, threading.Thread]] = []
        for nodes in ((self.relay,), (self.watch, self.operator)):  # the relay must not wait for the others
            executor = SingleThreadedExecutor()
            for node in nodes:
                executor.add_node(node)
            thread = threading.Thread(target=self._spin, args=(executor,), daemon=True)
            thread.start()
            self._spinning.append((executor, thread))

    def _spin(self, executor: SingleThreadedExecutor) -> None:
        while not self._ending:
            executor.spin_once(timeout_sec=0.2)

    def close(self) -> None:
        self._ending = True
        for executor, thread in self._spinning:
            thread.join()
            executor.shutdown(timeout_sec=1.0)
        self.operator.adapt.destroy()
        for node in self.nodes:
            node.destroy_node()

    # -- waiting -----------------------------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], bool], patience_s: float) -> bool:
        """Whether the condition came to hold within the patience."""
        deadline_s = time.monotonic() + patience_s
        while not condition():
            if time.monotonic() > deadline_s:
                return False
            time.sleep(LOOK_S)
        return True

    def need(self, condition: Callable[[], bool], what: str, patience_s: float = 60.0) -> None:
        """Raises RigError when it did not."""
        if not self.until(condition, patience_s):
            raise RigError(f"waited {patience_s:g} s for {what}; the command node is {self.watch.command}")

    def ask(self, client: Any, request: Any, what: str, patience_s: float = 15.0) -> Any:
        """The answer of a service. Raises RigError."""
        for _ in range(TRIES):
            self.need(client.service_is_ready, what)
            answer = client.call_async(request)
            if self.until(answer.done, patience_s):
                return answer.result()
        raise RigError(f"no answer: {what}")

    # -- an ordinary run ---------------------------------------------------------------------------------------------------

    @property
    def moving(self) -> bool:
        """Whether the arm is being moved right now."""
        return self.watch.state == "RUNNING" and self.watch.step_m() > MOVES_M

    def set_going(self) -> None:
        """Until the arm moves: clear a fault, give it a task, another one if need be. Raises RigError.

        A new one for every trial: a scripted expert goes on when its task is done, and may then push against what is blocked.
        """
        deadline_s = time.monotonic() + 90.0
        if self.watch.state == "FAULT":
            self.clear_fault()
        self.new_task()
        while True:
            if self.until(lambda: self.moving or self.watch.state == "FAULT", BORED_S) and self.watch.state != "FAULT":
                return
            if time.monotonic() > deadline_s:
                raise RigError(f"the arm does not move; the command node is {self.watch.command}")
            if self.watch.state == "FAULT":
                self.clear_fault()
            self.new_task()

    def new_task(self) -> None:
        """Another episode, and the words that ask for it."""
        task, seed = self.chance.choice(TASKS), self.chance.randrange(1000)
        answer = self.ask(
            self.operator.reset, ResetSimulator.Request(task=task, scene="A", seed=seed), "a reset of the simulator"
        )
        begun_ns = time.time_ns()
        self.operator.instruction.publish(String(data=answer.message))
        self.until(
            lambda: self.watch.state != "RUNNING" or self.watch.command.sent_ns > begun_ns, self.config.sim.reset_pause_s
        )

    def clear_fault(self) -> str:
        """As a person does, who has looked. Returns why it was refused, "" when it was not."""
        answer = self.ask(self.operator.clear, Trigger.Request(), "the fault to be cleared")
        return "" if answer.success else answer.message

    # -- faults ------------------------------------------------------------------------------------------------------------

    def prepare(self, fault: Fault) -> None:
        """What a fault needs before the arm is set going."""
        if fault.kind == "disk" or (fault.kind == "kill" and fault.target == "recorder"):
            self.record()
        if fault.kind == "clock":
            self.use_own_clock()
        else:
            self.use_system_clock()
        if fault.kind == "memory":
            self.record_for_adaptation()

    def inject(self, fault: Fault) -> None:
        getattr(self, f"_do_{fault.kind}")(fault)

    def undo(self, fault: Fault) -> None:
        """The fault is over."""
        undo = getattr(self, f"_undo_{fault.kind}", None)
        if undo is not None:
            undo(fault)

    def tidy(self, fault: Fault) -> None:
        """What is left of it, when the trial is over."""
        if fault.kind == "disk":
            self.stop_recording()

    def _do_relay(self, fault: Fault) -> None:
        self.relay.disturb(fault.target, fault.how)
        if fault.target == "instruction":  # else nobody says anything
            for words in ("open the drawer", "push the sliding door to the left side"):
                self.operator.instruction.publish(String(data=words))

    def _undo_relay(self, fault: Fault) -> None:
        self.relay.calm()
        if fault.target == "instruction":
            self.operator.instruction.publish(String(data="open the drawer"))

    def _do_stop(self, fault: Fault) -> None:
        os.killpg(self.stack.pid(fault.target), signal.SIGSTOP)
        if fault.how:
            self.gone.add(fault.target)

    def _undo_stop(self, fault: Fault) -> None:
        if not fault.how:
            os.killpg(self.stack.pid(fault.target), signal.SIGCONT)

    def _do_kill(self, fault: Fault) -> None:
        os.killpg(self.stack.pid(fault.target), signal.SIGKILL)
        self.gone.add(fault.target)

    def _undo_kill(self, fault: Fault) -> None:
        if not fault.how:
            self.start_again(fault.target)

    def start_again(self, name: str) -> None:
        """A node that was killed: its process, then what the manager did to it. Raises RigError."""
        clean_shared_memory()
        self.stack.start_node(next(spec for spec in nodes_of(self.config) if spec.name == name))
        change = self.operator.create_client(ChangeState, f"{name}/change_state")
        acquaintance = Acquaintance(self.operator, name)  # made last: then the answers of the other one arrive, too
        self.need(acquaintance.made, f"an answer of {name}")
        acquaintance.close()
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            self.ask(change, ChangeState.Request(transition=Transition(id=transition)), f"{name} to be active", 60.0)
        self.operator.destroy_client(change)
        self.gone.discard(name)

    # clock

    def use_own_clock(self) -> None:
        """Put the nodes onto a clock of ours, which begins as the system's."""
        if self.operator.clock_offset_ns is None:
            self.operator.set_clock(0)
            self._set_use_sim_time(True)

    def use_system_clock(self) -> None:
        """And back."""
        if self.operator.clock_offset_ns is not None:
            self._set_use_sim_time(False)
            self.operator.set_clock(None)

    def _set_use_sim_time(self, use: bool) -> None:
        value: ParameterValue = Parameter("use_sim_time", value=use).get_parameter_value()
        for name in CLOCKED:
            client = self.operator.create_client(SetParameters, f"{name}/set_parameters")
            wish = Parameter("use_sim_time", value=use).to_parameter_msg()
            wish.value = value
            self.ask(client, SetParameters.Request(parameters=[wish]), f"use_sim_time of {name}")
            self.operator.destroy_client(client)

    def _do_clock(self, fault: Fault) -> None:
        if self.watch.record is not None:
            self.watch.record.clock_disturbed = True
        self.operator.set_clock((self.operator.clock_offset_ns or 0) + int(fault.how) * 1_000_000_000)

    # disk

    def record(self) -> None:
        self._bags += 1
        request = StartRecording.Request(bag=str(self.folder / f"bag{self._bags}"))
        answer = self.ask(self.operator.start_recording, request, "a recording")
        if not answer.success:
            raise RigError(f"no recording: {answer.message}")

    def stop_recording(self) -> None:
        self.ask(self.operator.stop_recording, StopRecording.Request(), "the end of the recording")

    def _do_disk(self, fault: Fault) -> None:
        """Less is left than the recorder wants to leave: a file of that size, without writing it."""
        size = free_bytes(self.folder) - (self.config.recorder.floor_mib - 16) * MIB
        if size <= 0:
            raise RigError("the disk is below the recorder's floor already")
        with (self.folder / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)

    def _undo_disk(self, fault: Fault) -> None:
        (self.folder / "filler").unlink()

    # memory

    def record_for_adaptation(self) -> None:
        """A bag of some seconds, which `adapt` is given."""
        self.set_going()
        self.record()
        time.sleep(4.0)  # that is what is recorded
        self.stop_recording()

    def _do_memory(self, fault: Fault) -> None:
        """Ask for an adaptation, and take the memory of its process as soon as it is there."""
        goal = Adapt.Goal(bag=str(self.folder / f"bag{self._bags}"), recipe="default")
        self.need(self.operator.adapt.server_is_ready, "the action adapt")
        sent = self.operator.adapt.send_goal_async(goal)
        self.need(sent.done, "an answer of adapt")
        handle: Any = sent.result()
        if not handle.accepted:
            raise RigError("the adaptation was rejected; see the log of adapt")
        self.need(lambda: bool(children_of(self.stack.pid("adapt"))), "the process of the adaptation")
        pid = children_of(self.stack.pid("adapt"))[0]
        has = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (has, has))
        result = handle.get_result_async()
        self.need(result.done, "the end of the adaptation", 120.0)
        answer: Any = result.result()
        if answer.result.verdict != Adapt.Result.FAULT or not answer.result.reasons:
            raise RigError(f"the adaptation without memory ended with verdict {answer.result.verdict}: {answer.result.reasons}")

    # weights

    def _do_weights(self, fault: Fault) -> None:
        """They are broken from the beginning: ask for a decision."""
        self.new_task()


def too_late_s(config: DeploymentConfig) -> float:
    """More than any age that is allowed."""
    command = config.command
    return 1.5 * max(command.max_chunk_age_s, command.max_state_age_s, command.deadman_timeout_s, 10 * config.cameras.period_s)


def children_of(pid: int) -> list[int]:
    """Process ids."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except FileNotFoundError:  # a thread that has ended
            continue
    return found


@contextmanager
def open_rig(config: DeploymentConfig, folder: Path, domain: int, seed: int) -> Iterator[Rig]:
    """A running stack with a relay in its inputs; everything is ended afterwards. folder: for logs and bags."""
    folder.mkdir(parents=True, exist_ok=True)
    rclpy.init(args=[], domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
    with (folder / "nodes.log").open("a", encoding="utf-8") as log:
        stack = Stack(
            config,
            lambda name, line: print(f"[{name}] {line}", file=log, flush=True),
            domain=domain,
            remappings=remappings(config.cameras.period_s),
        )
        rig = Rig(config, stack, folder, random.Random(seed))
        try:
            stack.start()
            rig.need(lambda: rig.watch.stack.state == "ACTIVE", f"the stack; see {log.name}", 180.0)
            yield rig
        finally:
            for name in [spec.name for spec in nodes_of(config)]:
                try:
                    os.killpg(stack.pid(name), signal.SIGCONT)  # one that is stopped cannot end
                except (KeyError, ProcessLookupError):
                    continue
            stack.stop()
            rig.close()
            rclpy.try_shutdown()
