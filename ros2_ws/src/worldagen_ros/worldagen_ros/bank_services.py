"""The adapt node's services around a bank of places: add, remove, merge, list. `worldagen bank` does it, in its own process.

Adding means decoding a bag and encoding its frames, which takes torch and time; the node goes on meanwhile.
"""

import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future

from worldagen.errors import BankError
from worldagen.mixture.places import PlaceBank
from worldagen_msgs.srv import ChangePlaces, ListPlaces
from worldagen_ros import topics

RUN = (sys.executable, "-c", "import sys; from worldagen.cli import main; sys.exit(main())", "bank")
OVERRIDE = "asked for on bank/change"  # kept in the bank as the reason
CHANGES = {ChangePlaces.Request.ADD: "add", ChangePlaces.Request.REMOVE: "remove", ChangePlaces.Request.MERGE: "merge"}


class BankServices:
    """bank: its folder, "" for none: then both services say so. One change at a time."""

    def __init__(self, node: Node, bank: str) -> None:
        self._node, self._bank = node, bank
        self._changing = False
        self._done = node.create_guard_condition(lambda: None)  # an executor looks at its coroutines only when it is woken
        group = ReentrantCallbackGroup()
        serve: Any = node.create_service  # its types know no coroutines, which the executor takes
        serve(ChangePlaces, topics.CHANGE_PLACES, self._on_change, callback_group=group)
        node.create_service(ListPlaces, topics.LIST_PLACES, self._on_list)

    async def _on_change(self, request: ChangePlaces.Request, response: ChangePlaces.Response) -> ChangePlaces.Response:
        try:
            arguments = self._arguments(request)
        except BankError as error:
            response.message = str(error)
            return response
        self._changing = True
        try:
            response.success, response.message = await self._run(arguments)
        finally:
            self._changing = False
        if response.success:  # two places in the code: rclpy gives each a severity of its own
            self._node.get_logger().info(f"bank: {response.message}")
        else:
            self._node.get_logger().error(f"bank: {response.message}")
        return response

    def _arguments(self, request: Any) -> list[str]:
        if not self._bank:
            raise BankError("no bank is known; set policy.bank to its folder")
        if self._changing:
            raise BankError("another change of the bank is under way; ask again when it is done")
        change = CHANGES.get(request.change)
        if change is None or not request.name:
            raise BankError(f"change {request.change} of place {request.name!r}; expected ADD, REMOVE or MERGE and a name")
        arguments = [change, self._bank, request.name]
        if change == "add":
            if not request.adapter or not request.bag:
                raise BankError(f"adding {request.name!r} needs the folder of its adapter and the bag it was explored with")
            arguments += ["--adapter", request.adapter, "--data", f"bag:{Path(request.bag).expanduser()}"]
            arguments += ["--allow-rejected", OVERRIDE] if request.allow_rejected else []
        elif change == "merge":
            arguments.append(request.other)
        return arguments

    async def _run(self, arguments: Sequence[str]) -> tuple[bool, str]:
        """Whether it succeeded, and its last words."""
        done: Any = Future(executor=self._node.executor)

        def work() -> None:
            ended = subprocess.run([*RUN, *arguments], capture_output=True, text=True, check=False)
            told = (ended.stdout if ended.returncode == 0 else ended.stderr).strip().splitlines()
            words = told[-1].removeprefix("error: ") if told else f"exit status {ended.returncode}"
            done.set_result((ended.returncode == 0, words))
            self._done.trigger()

        threading.Thread(target=work, name="bank", daemon=True).start()
        return await done

    def _on_list(self, _: ListPlaces.Request, response: ListPlaces.Response) -> ListPlaces.Response:
        try:
            if not self._bank:
                raise BankError("no bank is known; set policy.bank to its folder")
            found = PlaceBank(Path(self._bank).expanduser()).places()
        except BankError as error:
            response.message = str(error)
            return response
        response.success = True
        response.names = [place.name for place in found]
        response.versions = [int(place.version) for place in found]
        response.frames = [place.prototype.count for place in found]
        response.adapter_ids = [place.adapter for place in found]
        return response
