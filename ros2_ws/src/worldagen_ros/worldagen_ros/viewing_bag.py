"""A recorded bag as a StackView takes it: the topics that are shown, in the order in which they were heard."""

from collections.abc import Callable

from worldagen.bags.reader import Bag
from worldagen.config import apply_tree, leaves, nest
from worldagen.errors import BagError
from worldagen_ros import topics
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.overrides import value_of
from worldagen_ros.viewing import TOPICS, StackView

COMPRESSED = "/compressed"
SECTIONS = ("robot", "command", "explore")  # of the deployment: what a view must know


def topics_of(bag: Bag, namespace: str = "") -> dict[str, str]:
    """Name on the wire -> relative name, of the topics that are shown and have messages.

    namespace: empty where the bag holds one stack. Raises BagError for several, and where there is nothing to show.
    """
    prefix = f"/{namespace.strip('/')}/" if namespace.strip("/") else _prefix(bag)
    found = {}
    for name, count in bag.counts.items():
        relative = name.removeprefix(prefix).removesuffix(COMPRESSED) if name.startswith(prefix) else ""
        shown = next((topic for topic in (name, relative) if topic in (*TOPICS, topics.TF_STATIC)), "")
        if count and shown:  # /diagnostics and /tf_static are everybody's
            found[name] = shown
    if not found:
        spoken = ", ".join(name for name, count in bag.counts.items() if count) or "nothing"
        raise BagError(f"{bag.folder}: no topic of a stack in {prefix}; it has {spoken}. Name its namespace with --namespace")
    return found


def show_bag(bag: Bag, view: StackView, namespace: str = "", say: Callable[[int], None] = lambda _: None) -> None:
    """All of it, as fast as it can be read. say: is told how many messages were taken. Raises BagError."""
    view.describe(config_of(bag))
    shown = topics_of(bag, namespace)
    for number, message in enumerate(bag.messages(shown), 1):
        view.take(shown[message.topic], bag.decode(message))
        say(number)


def config_of(bag: Bag) -> DeploymentConfig:
    """The robot and its bounds as the bag's parameters tell them; defaults where it carries none. Raises ConfigError."""
    known = {leaf.key: leaf for leaf in leaves(DeploymentConfig()) if leaf.key.split(".")[0] in SECTIONS}
    config = DeploymentConfig()
    for key, text in bag.metadata.get("parameters", {}).items():
        if key in known:
            config = apply_tree(config, nest(key, value_of(known[key], text)), f"{bag.folder}: its parameters")
    return config


def _prefix(bag: Bag) -> str:
    """ "/" or "/namespace/" of the one stack in a bag, by its joint states. Raises BagError for several."""
    spoken = [name for name, count in bag.counts.items() if count and name.endswith(f"/{topics.JOINT_STATES}")]
    if len(spoken) > 1:
        raise BagError(f"{bag.folder}: {len(spoken)} stacks speak: {', '.join(spoken)}; choose one with --namespace")
    return spoken[0].removesuffix(topics.JOINT_STATES) if spoken else "/"
