"""A policy node that is routed by a bank of places: told with every change, begun anew on request, refused in words."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from adaptation_making import CONVENTIONS, small_checkpoint
from fakes import PICTURE, FakeRobot
from mixture_making import make_place_adapter
from rclpy.node import Node
from small_networks import random_observations
from std_msgs.msg import String

from worldagen.checkpoint import load_checkpoint
from worldagen.cli import make_parser
from worldagen.commands import bank as bank_command
from worldagen.errors import BankError
from worldagen.mixture.embedding import Embedding, embed
from worldagen.mixture.places import Calibration, PlaceBank, SeenPlace, base_of
from worldagen.mixture.prototypes import Prototype, prototype_of
from worldagen.mixture.routing import MODES
from worldagen.mixture.whitening import Whitening
from worldagen.session import NetworkPolicy
from worldagen_msgs.msg import ActionChunk, Routing, Surprise
from worldagen_msgs.srv import ChangePlaces, ListPlaces, LoadAdapter, Route
from worldagen_ros import qos, topics
from worldagen_ros.adapt_node import AdaptNode
from worldagen_ros.bank_services import BankServices
from worldagen_ros.policy_node import PolicyNode

PATIENT = ("timing.mode:=realtime", "cameras.period_s:=0.1")  # with a robot at 10 Hz, on a busy machine
SERVICES = {"route": (Route, topics.ROUTE), "load": (LoadAdapter, topics.LOAD_ADAPTER)}
BANK_SERVICES = {"change": (ChangePlaces, topics.CHANGE_PLACES), "list": (ListPlaces, topics.LIST_PLACES)}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    """A checkpoint, and a bank with the place that the fake robot stands in, and another."""
    root = tmp_path_factory.mktemp("places")
    checkpoint = small_checkpoint(root / "checkpoint")
    network, _ = load_checkpoint(checkpoint)
    (plain,) = random_observations(1)
    (here,) = embed(NetworkPolicy(network, CONVENTIONS).encode_all(replace(plain, static_image=PICTURE, wrist_image=PICTURE)))
    base = base_of(network)

    def looking(direction: int) -> Prototype:
        """Of a place that looks like here, or as little as may be."""
        vectors = (level + 100.0 * direction * np.roll(level, 1) for level in here.levels)
        return prototype_of([Embedding(tuple(vectors))])

    whitening = Whitening(tuple(np.zeros(width) for width in here.widths), tuple(np.eye(width) for width in here.widths))
    calibration = Calibration(whitening, looking(-1), [("trained", looking(-1))], 0.9, {"made": "by a test"})
    bank = PlaceBank.create(root / "bank", base, calibration, str(checkpoint))
    for number, (name, direction) in enumerate((("kitchen", 0), ("shed", 1)), start=1):
        adapter = make_place_adapter(network, root, number)
        seen = SeenPlace(looking(direction), base.encoder, ({"digest": name, "count": 1, "from": "a test"},))
        bank.add(name, adapter, seen, network)
    lost = root / "lost"  # a bank that knows nothing like this
    shutil.copytree(bank.folder, lost)
    PlaceBank(lost).remove("kitchen")
    return SimpleNamespace(checkpoint=checkpoint, bank=bank.folder, lost=lost, adapter=adapter, root=root)


class Operator(Node):
    """Hears how chunks are mixed and asks for otherwise."""

    def __init__(self, services: dict[str, tuple[type, str]]) -> None:
        super().__init__("operator")
        self.chunks: list[ActionChunk] = []
        self.told: list[Routing] = []
        self.words = self.create_publisher(String, topics.INSTRUCTION, qos.LATCHED)
        self.surprise = self.create_publisher(Surprise, topics.SURPRISE, qos.CHUNKS)
        self.create_subscription(ActionChunk, topics.ACTION_CHUNK, self.chunks.append, qos.CHUNKS)
        self.create_subscription(Routing, topics.ROUTING, self.told.append, qos.LATCHED)
        self.asking = {name: (kind, self.create_client(kind, topic)) for name, (kind, topic) in services.items()}


class Scene:
    """A robot, an operator and a node with those parameters."""

    def __init__(self, start_ros, node: type, services: dict[str, tuple[type, str]], *parameters: str) -> None:
        self.graph = start_ros(*(part for parameter in parameters for part in ("-p", parameter)))
        self.node = self.graph.add(node())
        self.graph.add(FakeRobot(period_s=0.1))
        self.operator = self.graph.add(Operator(services))
        self.graph.wait(lambda: all(one.service_is_ready() for _, one in self.operator.asking.values()), "the services")

    @property
    def told(self) -> list[Routing]:
        return self.operator.told

    def follow(self, words: str = "push the block") -> None:
        self.graph.wait(lambda: self.node.count_subscribers(topics.ACTION_CHUNK), "the ears of the operator")
        self.graph.wait(lambda: self.node.count_subscribers(topics.ROUTING), "the ears of the operator")
        self.operator.words.publish(String(data=words))
        self.wait_for_more(1)

    def wait_for_more(self, count: int) -> None:
        wanted = len(self.operator.chunks) + count
        self.graph.wait(lambda: len(self.operator.chunks) >= wanted, f"{count} more chunks")

    def ask(self, what: str, **fields):
        kind, client = self.operator.asking[what]
        answer = client.call_async(kind.Request(**fields))
        self.graph.wait(answer.done, f"the answer of {what}", 150.0)
        return answer.result()


def routed(start_ros, made, route: str = "mixture", bank: Path | None = None) -> Scene:
    parameters = ("policy.kind:=network", f"policy.checkpoint:={made.checkpoint}", f"policy.bank:={bank or made.bank}")
    return Scene(start_ros, PolicyNode, SERVICES, *PATIENT, *parameters, f"policy.routing.route:={route}")


def weights_of(told: Routing) -> dict[str, float]:
    """Of each place at the scene level."""
    return dict(zip(told.places, np.array(told.weights).reshape(3, -1)[-1], strict=True))


def test_the_place_is_found_from_the_first_chunk_on_and_told(start_ros, made):
    scene = routed(start_ros, made)
    scene.follow()
    scene.graph.wait(lambda: scene.told, "the routing")
    told = scene.told[0]
    assert told.mode == Routing.MIXTURE and list(told.places) == ["base", "kitchen", "shed"] and not told.abstains
    assert weights_of(told)["kitchen"] > 0.9 and told.looking and told.why == "episode begins"
    assert told.header.stamp == scene.operator.chunks[0].header.stamp
    assert scene.operator.chunks[0].adapter_id == "mixture"
    scene.graph.wait(lambda: not scene.told[-1].looking, "the end of looking")


def test_a_lasting_surprise_makes_it_look_again_once(start_ros, made):
    scene = routed(start_ros, made)
    scene.follow()
    scene.graph.wait(lambda: scene.told and not scene.told[-1].looking, "the end of looking")
    scene.graph.wait(lambda: scene.operator.surprise.get_subscription_count(), "the ears of the policy")
    scene.operator.surprise.publish(Surprise(sustained=True))
    scene.graph.wait(lambda: scene.told[-1].why == "surprise", "another look")
    scene.graph.wait(lambda: not scene.told[-1].looking, "the end of looking")
    count = len(scene.told)
    scene.operator.surprise.publish(Surprise(sustained=True))  # it lasts still
    scene.wait_for_more(3)
    assert len(scene.told) == count


def test_asked_for_it_routes_otherwise_and_ends(start_ros, made):
    scene = routed(start_ros, made, "off")
    scene.follow()
    assert scene.operator.chunks[-1].adapter_id == "" and not scene.told
    answer = scene.ask("route", mode="nearest")
    assert answer.success and answer.message == "nearest of base, kitchen, shed"
    scene.graph.wait(lambda: scene.told, "the routing")
    assert scene.told[-1].mode == Routing.NEAREST and weights_of(scene.told[-1]) == {"base": 0, "kitchen": 1, "shed": 0}
    assert scene.told[-1].why == "request"
    answer = scene.ask("route", mode="everything")
    assert not answer.success and "expected one of: off, nearest, mixture" in answer.message
    answer = scene.ask("route", mode="off")
    assert answer.success
    scene.graph.wait(lambda: scene.told[-1].mode == Routing.OFF, "the end of routing")
    scene.wait_for_more(2)
    assert scene.operator.chunks[-1].adapter_id == ""


def test_an_adapter_loaded_by_hand_ends_routing(start_ros, made):
    scene = routed(start_ros, made)
    scene.follow()
    assert scene.ask("load", path=str(made.adapter)).success
    scene.graph.wait(lambda: scene.told[-1].mode == Routing.OFF, "the end of routing")
    scene.wait_for_more(2)
    assert scene.operator.chunks[-1].adapter_id == made.adapter.name


def test_where_nothing_is_near_the_base_drives_and_the_diagnostics_say_so(start_ros, made):
    scene = routed(start_ros, made, bank=made.lost)
    scene.follow()
    scene.graph.wait(lambda: scene.told, "the routing")
    assert scene.told[-1].abstains and weights_of(scene.told[-1]) == {"base": 1, "shed": 0}
    assert scene.operator.chunks[-1].adapter_id == ""
    status = scene.node.diagnostics._statuses["routing"]
    assert status.level == b"\x01" and status.message == "no known place is near: the base drives; explore and adapt here"


def test_a_bank_that_is_damaged_meanwhile_is_refused_and_the_mixture_goes_on(start_ros, made, tmp_path):
    bank = tmp_path / "bank"
    shutil.copytree(made.bank, bank)
    scene = routed(start_ros, made, bank=bank)
    scene.follow()
    victim = next(bank.glob("places/shed/*/adapter_model.safetensors"))
    victim.write_bytes(victim.read_bytes()[:-5])
    answer = scene.ask("route")
    assert not answer.success and "shed" in answer.message
    scene.wait_for_more(2)
    assert scene.operator.chunks[-1].adapter_id == "mixture" and scene.told[-1].mode == Routing.MIXTURE


def test_a_policy_does_not_begin_without_the_bank_it_is_to_route_by(start_ros, made, tmp_path):
    with pytest.raises(BankError, match="nowhere"):
        routed(start_ros, made, bank=tmp_path / "nowhere")


def test_a_policy_that_is_to_route_needs_a_bank(start_ros, made):
    with pytest.raises(BankError, match=r"there is no bank of places to route by; set policy\.bank"):
        parameters = ("policy.kind:=network", f"policy.checkpoint:={made.checkpoint}", "policy.routing.route:=mixture")
        Scene(start_ros, PolicyNode, SERVICES, *PATIENT, *parameters)


def test_every_mode_has_its_number():
    assert [getattr(Routing, mode.upper()) for mode in MODES] == list(range(len(MODES)))


def test_an_adapter_that_was_named_drives_until_routing_is_asked_for(start_ros, made):
    parameters = ("policy.kind:=network", f"policy.checkpoint:={made.checkpoint}", f"policy.bank:={made.bank}")
    more = (f"policy.adapter:={made.adapter}", "policy.routing.route:=nearest")
    scene = Scene(start_ros, PolicyNode, SERVICES, *PATIENT, *parameters, *more)
    scene.follow()
    assert scene.node.loop.decider.list_adapters()[1] == made.adapter.name and not scene.told
    assert scene.ask("route").success
    scene.wait_for_more(2)
    scene.graph.wait(lambda: scene.told, "the routing")
    assert scene.told[0].mode == Routing.NEAREST


def test_an_expert_routes_by_nothing(start_ros, made):
    scene = Scene(start_ros, PolicyNode, SERVICES, *PATIENT, "policy.kind:=expert")
    answer = scene.ask("route", mode="nearest")
    assert (
        not answer.success
        and answer.message == "the policy is 'expert'; only a network routes by a bank of places (policy.kind)"
    )


def test_places_are_listed_removed_and_merged_by_services(start_ros, made, tmp_path):
    bank = tmp_path / "bank"
    shutil.copytree(made.bank, bank)
    parameters = (f"policy.checkpoint:={made.checkpoint}", f"policy.bank:={bank}")
    scene = Scene(start_ros, AdaptNode, BANK_SERVICES, *parameters)
    listed = scene.ask("list")
    assert listed.success and list(listed.names) == ["kitchen", "shed"] and list(listed.versions) == [1, 1]
    assert list(listed.frames) == [1, 1] and listed.adapter_ids[1] == made.adapter.name
    Request = ChangePlaces.Request
    answer = scene.ask("change", change=Request.ADD, name="garage")
    assert (
        not answer.success
        and answer.message == "adding 'garage' needs the folder of its adapter and the bag it was explored with"
    )
    answer = scene.ask("change", change=Request.REMOVE, name="attic")
    assert not answer.success and "attic" in answer.message
    answer = scene.ask("change", change=Request.REMOVE, name="shed")
    assert answer.success, answer.message
    assert list(scene.ask("list").names) == ["kitchen"]


@pytest.mark.parametrize("allowed", [True, False])
def test_what_the_services_ask_of_the_command_it_takes(allowed):
    Request = ChangePlaces.Request
    add = Request(change=Request.ADD, name="shed", adapter="there", bag="here", allow_rejected=allowed)
    others = [Request(change=Request.REMOVE, name="shed"), Request(change=Request.MERGE, name="shed", other="attic")]
    services, parser = SimpleNamespace(_bank="mine", _changing=False), make_parser({"bank": bank_command})
    added, removed, merged = (
        parser.parse_args(["bank", *BankServices._arguments(services, asked)])  # type: ignore[arg-type]
        for asked in (add, *others)
    )
    assert (added.name, str(added.adapter), added.data) == ("shed", "there", ["bag:here"])
    assert added.allow_rejected == ("asked for on bank/change" if allowed else "")
    assert (removed.action, removed.name, merged.name, merged.other) == ("remove", "shed", "shed", "attic")


def test_without_a_bank_the_services_say_so(start_ros, made):
    scene = Scene(start_ros, AdaptNode, BANK_SERVICES, f"policy.checkpoint:={made.checkpoint}")
    words = "no bank is known; set policy.bank to its folder"
    assert scene.ask("list").message == words == scene.ask("change", change=0, name="kitchen").message
