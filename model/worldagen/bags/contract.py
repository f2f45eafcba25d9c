"""What a bag should hold: topics, types, rates, picture sizes. Written into every bag, so that it can be checked anywhere."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from worldagen.errors import BagError

NAME = "contract"  # of the bag metadata that carries it ...
KEY = "json"  # ... and of the text in there
Part = TypeVar("Part")


@dataclass(frozen=True)
class TopicContract:
    """One stream. rate_hz 0: no rate is declared. width, height 0 and an empty encoding: any; for pictures only."""

    name: str
    type: str
    rate_hz: float = 0.0
    required: bool = True
    width: int = 0
    height: int = 0
    encoding: str = ""


@dataclass(frozen=True)
class Contract:
    """All streams, and how they belong together.

    max_skew_s: largest difference of the stamps of the pictures and joint states of one instant; 0: not declared.
    pause_s: a longer silence in a stream is a pause between two episodes, not a loss; 0: there are no pauses.
    """

    topics: tuple[TopicContract, ...]
    max_skew_s: float = 0.0
    pause_s: float = 0.0

    def to_json(self) -> str:
        """As text, for a bag's metadata or a file."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str, where: str) -> "Contract":
        """The other way; raises BagError, naming `where`, on anything that is not a contract."""
        try:
            tree = json.loads(text)
        except ValueError as error:
            raise BagError(f"{where}: not a contract: no JSON ({error})") from None
        topics = tree.get("topics") if isinstance(tree, dict) else None
        if not isinstance(topics, list):
            raise BagError(f"{where}: not a contract; expected an object with a list of topics")
        parts = tuple(_part(TopicContract, item, f"{where}: topic {index}") for index, item in enumerate(topics))
        names = [part.name for part in parts]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BagError(f"{where}: a contract names each topic once; found twice: {', '.join(twice)}")
        return _part(Contract, {**tree, "topics": parts}, where)


def contract_of(metadata: Mapping[str, Mapping[str, str]], where: str) -> Contract | None:
    """The contract in a bag's metadata, if there is one. Raises BagError when it cannot be read."""
    text = metadata.get(NAME, {}).get(KEY)
    return Contract.from_json(text, f"{where}: its contract") if text else None


def _part(kind: type[Part], tree: Any, where: str) -> Part:
    if not isinstance(tree, dict):
        raise BagError(f"{where}: {tree!r}; expected an object")
    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(tree) - set(known))
    if unknown:
        raise BagError(f"{where}: unknown key {', '.join(unknown)}; allowed: {', '.join(known)}")
    values = {}
    for key, value in tree.items():
        wanted: Any = known[key].type
        if wanted is float and type(value) is int:
            value = float(value)
        bad = type(value) is not wanted if wanted in (str, bool, int, float) else not isinstance(value, tuple)
        if bad or (wanted in (int, float) and not 0 <= value < float("inf")):
            raise BagError(f"{where}: {key} is {value!r}; expected a {getattr(wanted, '__name__', 'list')}, not negative")
        values[key] = value
    try:
        return kind(**values)
    except TypeError as error:
        raise BagError(f"{where}: incomplete ({error})") from None
