"""metadata.yaml, which makes a folder of MCAP files a rosbag2 bag: version 9 (Jazzy and later) or 5 (Humble).

Readers take the version number seriously: from 9 on the quality of service is a list of maps with names, before that YAML
text with numbers; before 7 there is no type hash, before 6 no custom data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

try:  # the compiled parts of PyYAML are ten times as fast, and bags of demonstrations are many and short
    from yaml import CSafeDumper as SafeDumper
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import SafeDumper, SafeLoader

from worldagen.bags.types import BagMetadata, FileSummary, Topic
from worldagen.errors import BagError, ForeignBag
from worldagen.whole_files import write_whole

NAME = "metadata.yaml"
ROOT = "rosbag2_bagfile_information"
VERSIONS = (9, 5)
NEWEST = 9
NO_TIME_NS = 2**63 - 1  # what rosbag2 itself writes for a bag without messages
# Policy names -> numbers of rmw/types.h, which files before version 9 hold.
NUMBERS = {
    "history": ("system_default", "keep_last", "keep_all", "unknown"),
    "reliability": ("system_default", "reliable", "best_effort", "unknown", "best_available"),
    "durability": ("system_default", "transient_local", "volatile", "unknown", "best_available"),
    "liveliness": ("system_default", "automatic", "manual_by_node", "manual_by_topic", "unknown", "best_available"),
}


class _Dumper(SafeDumper):  # pyright: ignore[reportGeneralTypeIssues] - one of two
    """Repeats what two topics share, as rosbag2 does, where YAML would refer to the first."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@dataclass(frozen=True)
class Information:
    """The parts of a metadata.yaml that this suite uses. types: topic -> type; custom: as it stands in the file."""

    version: int
    files: tuple[str, ...]
    messages: Mapping[str, int]
    types: Mapping[str, str]
    custom: Mapping[str, str]
    ros_distro: str


def qos_text(qos: Sequence[Mapping[str, Any]], version: int) -> str:
    """Offered quality of service as the YAML text that MCAP channels, and files before version 9, hold; empty for none."""
    return yaml.dump(_with_numbers(qos) if version < 9 else list(qos), Dumper=_Dumper).strip() if qos else ""


def write_information(
    folder: Path,
    topics: Sequence[Topic],
    counts: Mapping[str, int],
    files: Sequence[FileSummary],
    metadata: BagMetadata,
    version: int,
    ros_distro: str,
) -> None:
    """Write or replace a folder's metadata.yaml in one step, so that a reader never sees half of it."""
    spoken = [item for item in files if item.messages]
    start_ns = min((item.start_ns for item in spoken), default=NO_TIME_NS)
    end_ns = max((item.end_ns for item in spoken), default=NO_TIME_NS)
    tree: dict[str, Any] = {
        "version": version,
        "storage_identifier": "mcap",
        "duration": {"nanoseconds": end_ns - start_ns},
        "starting_time": {"nanoseconds_since_epoch": start_ns},
        "message_count": sum(counts.values()),
        "topics_with_message_count": [
            {"topic_metadata": _topic_entry(topic, version), "message_count": counts[topic.name]} for topic in topics
        ],
        "compression_format": "",  # of whole files or messages; ours are compressed chunk by chunk, inside MCAP
        "compression_mode": "",
        "relative_file_paths": [item.name for item in files],
        "files": [
            {
                "path": item.name,
                "starting_time": {"nanoseconds_since_epoch": item.start_ns if item.messages else NO_TIME_NS},
                "duration": {"nanoseconds": item.end_ns - item.start_ns},
                "message_count": item.messages,
            }
            for item in files
        ],
    }
    if version >= 6:
        tree["custom_data"] = {f"{name}.{key}": text for name, values in metadata.items() for key, text in values.items()}
    if version >= 8:
        tree["ros_distro"] = ros_distro
    text = yaml.dump({ROOT: tree}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)
    write_whole(folder / NAME, text)


def read_information(folder: Path) -> Information:
    """A folder's metadata.yaml. Raises BagError on a missing or broken one, ForeignBag on one of another form."""
    path = folder / NAME
    try:
        tree = yaml.load(path.read_text("utf-8"), Loader=SafeLoader)
        information = tree[ROOT]
        version, storage = int(information["version"]), str(information["storage_identifier"])
        mode = str(information.get("compression_mode") or "none").lower()
        packed = information.get("compression_format")
        topics = [(item["topic_metadata"], int(item["message_count"])) for item in information["topics_with_message_count"]]
        read = Information(
            version=version,
            files=tuple(Path(name).name for name in information["relative_file_paths"]),
            messages={str(topic["name"]): count for topic, count in topics},
            types={str(topic["name"]): str(topic["type"]) for topic, _ in topics},
            custom={str(key): str(value) for key, value in (information.get("custom_data") or {}).items()},
            ros_distro=str(information.get("ros_distro") or ""),
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BagError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BagError(f"{path}: not the description of a rosbag2 bag ({type(error).__name__}: {error})") from None
    if version > NEWEST:
        raise ForeignBag(f"{path}: rosbag2 metadata version {version}; this suite reads up to {NEWEST}")
    if storage != "mcap":
        raise ForeignBag(f"{folder}: a rosbag2 bag stored as {storage!r}; this suite reads mcap (ros2 bag convert makes one)")
    if mode != "none":
        raise ForeignBag(
            f"{folder}: every {mode} of this bag is packed as {packed!r} by rosbag2; "
            "this suite reads bags without that, or compressed inside MCAP (ros2 bag convert makes one)"
        )
    return read


def _topic_entry(topic: Topic, version: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": topic.name, "type": topic.type, "serialization_format": "cdr"}
    entry["offered_qos_profiles"] = list(topic.qos) if version >= 9 else qos_text(topic.qos, version)
    if version >= 7:
        entry["type_description_hash"] = topic.type_hash
    return entry


def _with_numbers(qos: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {key: NUMBERS[key].index(value) if key in NUMBERS and isinstance(value, str) else value for key, value in item.items()}
        for item in qos
    ]
