"""A definition holds all that a reader without ROS needs, and ROS and the reader agree on what it means."""

import array

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from filling import fill
from geometry_msgs.msg import PoseStamped
from rclpy.serialization import serialize_message
from rosbags.typesys import get_types_from_msg
from rosbags.typesys.store import Typestore
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from worldagen.bags.reader import begins_with_header
from worldagen.errors import BagError
from worldagen_msgs.msg import ActionChunk, TaskState
from worldagen_ros.definitions import kind_of, schema_of, topic_of, type_hash_of

KINDS = [ActionChunk, TaskState, Image, JointState, PoseStamped, DiagnosticArray]


@pytest.mark.parametrize("message_type", KINDS, ids=lambda kind: kind.__name__)
def test_a_reader_without_ros_computes_the_same_hash_and_reads_the_same_values(message_type):
    kind = kind_of(message_type)
    store = Typestore()
    store.register(get_types_from_msg(schema_of(kind), kind))
    assert type_hash_of(kind) == store.hash_rihs01(kind)
    sent = fill(message_type())
    read = store.deserialize_cdr(serialize_message(sent), kind)
    for name in sent.get_fields_and_field_types():
        value = getattr(sent, name)
        if isinstance(value, str | int | float):
            assert getattr(read, name) == value
        elif isinstance(value, array.array):
            assert getattr(read, name).tolist() == value.tolist()


def test_every_dependency_stands_there_once():
    text = schema_of("worldagen_msgs/msg/ActionChunk")
    for held in ("worldagen_msgs/EndEffectorAction", "geometry_msgs/Vector3", "std_msgs/Header", "builtin_interfaces/Time"):
        assert text.count(f"MSG: {held}\n") == 1
    assert "MSG: worldagen_msgs/ActionChunk" not in text


def test_a_header_is_found_by_the_definition():
    assert begins_with_header(*(getattr(topic_of("/a", "worldagen_msgs/msg/ActionChunk"), part) for part in ("type", "schema")))
    assert not begins_with_header(kind_of(String), schema_of(kind_of(String)))


def test_a_type_that_is_not_installed_is_refused_by_name():
    with pytest.raises(BagError, match="package nowhere_msgs is not installed"):
        schema_of("nowhere_msgs/msg/Thing")
    with pytest.raises(BagError, match=r"std_msgs/msg/Nothing: .*Nothing.msg cannot be read"):
        schema_of("std_msgs/msg/Nothing")
    with pytest.raises(BagError, match="'Image' is no message type; expected package/msg/Name"):
        schema_of("Image")
