"""A node with the managed life of ROS 2 (lifecycle nodes): unconfigured, inactive, active.

A subclass says what it does in four places and keeps no books about what it made on the wire:

    configure()   read the parameters and build what takes long: weights, simulators, kinematics; nothing is on the wire yet
    activate()    create publishers, subscriptions, services, timers; never move: that takes a chunk or an accepted goal
    deactivate()  stop; what has to be the last message on the wire is published here
    cleanup()     free what configure built

Whatever was created on the node in a step is destroyed by the step that undoes it, so the second activation is like the first.
An inactive node therefore publishes nothing but its heartbeat and diagnostics, and answers nothing but its lifecycle services.
"""

import gc
import traceback
from typing import Any

from lifecycle_msgs.msg import State
from rclpy.action import ActionClient, ActionServer
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher

from worldagen.errors import WorldAgenError
from worldagen_msgs.msg import Heartbeat
from worldagen_ros import qos, topics
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.diagnostics import OK, WARN, Diagnostics
from worldagen_ros.params import read_tree

HEARTBEAT_PERIOD_S = 0.25
SUCCESS, FAILURE, BROKEN = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,  # back to where it was
    TransitionCallbackReturn.ERROR,  # through on_error
)


class ManagedNode(LifecycleNode):
    """See the module. `sections`: the branches of the deployment this node reads."""

    sections: tuple[str, ...] = ()

    def __init__(self, name: str) -> None:
        super().__init__(name, automatically_declare_parameters_from_overrides=True)
        self.refusal: WorldAgenError | None = None  # why the last step was refused
        self._deployment: DeploymentConfig | None = None
        self._before: dict[str, dict[str, list[Any]]] = {}  # step -> kind -> what was on the wire before it

    def create_publisher(self, *args: Any, **options: Any) -> Publisher:
        """As every node's, but without handlers of events: each of them costs the executor some 20 us whenever it wakes.

        They would only log that somebody asks for a quality that is not offered, which his own side logs as well.
        """
        options.setdefault("event_callbacks", qos.NO_PUBLISHER_EVENTS)
        return super().create_publisher(*args, **options)

    # -- what a subclass says ----------------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Build. Raises WorldAgenError to refuse."""

    def activate(self) -> None:
        """Go on the wire. Raises WorldAgenError to refuse."""

    def deactivate(self) -> None:
        """Stop, and say what has to be said last."""

    def cleanup(self) -> None:
        """Free what configure built; also after a configure that failed half way."""

    def read(self) -> tuple[Any, ...]:
        """The node's sections. Raises ConfigError."""
        deployment = self.read_deployment()
        return tuple(getattr(deployment, name) for name in self.sections)

    def read_deployment(self) -> DeploymentConfig:
        """The deployment with the node's sections from its ROS parameters, which stay as they are for the node's life.

        Other sections keep their defaults. Raises ConfigError.
        """
        if self._deployment is None:
            self._deployment = read_tree(self, DeploymentConfig(), self.sections)
        return self._deployment

    # -- the life ----------------------------------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Whether it is on the wire."""
        return self._state_machine.current_state[0] == State.PRIMARY_STATE_ACTIVE

    def bring_up(self) -> None:
        """Configure and activate, for a node that runs without a manager. Raises what was refused."""
        for step in (self.trigger_configure, self.trigger_activate):
            if step() != SUCCESS:
                raise self.refusal or WorldAgenError(f"{self.get_name()} could not be brought up; its log says why")

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._remember("configure")
        self.diagnostics = Diagnostics(self)
        done = self._attempt(self.configure)
        if done != SUCCESS:
            self.cleanup()
            self._sweep("configure")
            return done
        self._heart = self.create_publisher(Heartbeat, topics.HEARTBEATS, qos.HEARTBEATS)
        self.create_timer(HEARTBEAT_PERIOD_S, self._beat, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.diagnostics.set("lifecycle", WARN, "inactive")
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._remember("activate")
        done = self._attempt(self.activate)
        if done != SUCCESS:
            self._sweep("activate")
            return done
        self.diagnostics.set("lifecycle", OK, "active")
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        done = self._attempt(self.deactivate)
        self._sweep("activate")
        self.diagnostics.clear()
        self.diagnostics.set("lifecycle", WARN, "inactive")
        return done

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        done = self._attempt(self.cleanup)
        self._sweep("configure")
        gc.collect()
        return done

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._take_down()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._take_down()
        return SUCCESS  # unconfigured, from where it can be tried again

    def destroy_node(self) -> None:
        self._take_down()
        super().destroy_node()

    def _attempt(self, step: Any) -> TransitionCallbackReturn:
        self.refusal = None
        try:
            step()
        except WorldAgenError as error:
            self.refusal = error
            self.get_logger().error(str(error))
            return FAILURE
        except Exception as error:  # a defect: told whole
            self.refusal = WorldAgenError(f"{self.get_name()} could not {step.__name__}: {error}")
            self.get_logger().error(traceback.format_exc())
            return BROKEN
        return SUCCESS

    def _take_down(self) -> None:
        """From whatever state: stop, then free. What is refused on this way is told and does not stop it."""
        for undone, step in (("activate", self.deactivate), ("configure", self.cleanup)):
            if undone in self._before:
                self._attempt(step)
                self._sweep(undone)

    def _beat(self) -> None:
        msg = Heartbeat(node=self.get_name(), state=self._state_machine.current_state[0])
        msg.header.stamp = Clock(clock_type=ClockType.SYSTEM_TIME).now().to_msg()
        self._heart.publish(msg)

    # -- what is on the wire -----------------------------------------------------------------------------------------------

    def _kinds(self) -> dict[str, tuple[list[Any], Any]]:
        """What can be created on a node, and how it is destroyed; actions first, which consist of the others."""
        actions = [one for one in self.waitables if isinstance(one, ActionServer | ActionClient)]
        return {
            "actions": (actions, lambda action: action.destroy()),
            "timers": (list(self.timers), self.destroy_timer),
            "guards": (list(self.guards), self.destroy_guard_condition),
            "subscriptions": (list(self.subscriptions), self.destroy_subscription),
            "clients": (list(self.clients), self.destroy_client),
            "services": (list(self.services), self.destroy_service),
            "publishers": (list(self.publishers), self.destroy_publisher),
        }

    def _remember(self, step: str) -> None:
        self._before[step] = {kind: there for kind, (there, _) in self._kinds().items()}

    def _sweep(self, step: str) -> None:
        """Destroy what was created since the step began."""
        before = self._before.pop(step, None)
        if before is None:
            return
        for kind, (there, destroy) in self._kinds().items():
            for one in there:
                if all(one is not other for other in before[kind]):
                    destroy(one)
