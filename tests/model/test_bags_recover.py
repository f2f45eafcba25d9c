"""Wherever a bag is cut off, all whole chunks come back, verified, and the original stays as it was."""

import hashlib
from pathlib import Path

import pytest
from bag_making import JOINTS, STATIC, WORDS, episode, joints, picture, words, write_bag
from rosbags.rosbag2 import Reader, StoragePlugin
from test_bags_reader import their_bag

from worldagen.bags.reader import open_bag
from worldagen.bags.recover import recover_bag
from worldagen.bags.writer import BagWriter, WriterOptions
from worldagen.errors import BagError, ForeignBag

METADATA = {"episode": {"task": "lift"}}
RECORDS = episode(1.0)


def fingerprint(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def messages(folder: Path):
    with open_bag(folder) as bag:
        return [(message.topic, message.log_time_ns, message.publish_time_ns, message.data) for message in bag.messages()]


WHOLE = [(what.name, log_ns, publish_ns, data) for what, data, log_ns, publish_ns in RECORDS]


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_cut_anywhere_the_whole_chunks_come_back(tmp_path, compression):
    write_bag(tmp_path / "whole", RECORDS, METADATA, WriterOptions(compression, chunk_bytes=2000))
    data = (tmp_path / "whole/whole_0.mcap").read_bytes()
    saved = []
    for number, length in enumerate(range(0, len(data), len(data) // 40)):
        folder = tmp_path / f"cut{number}"
        folder.mkdir()
        (folder / "cut_0.mcap").write_bytes(data[:length])
        before = fingerprint(folder)
        try:
            recovery = recover_bag(folder)
        except BagError as error:
            assert "there is nothing to recover" in str(error)
            assert not (tmp_path / f"cut{number}_recovered").exists()
            saved.append(0)
        else:
            found = messages(recovery.folder)
            assert found == WHOLE[: len(found)]
            assert {name: topic.messages for name, topic in recovery.topics.items()} == {
                name: sum(message[0] == name for message in found) for name in recovery.topics
            }
            with Reader(recovery.folder) as theirs:
                assert sum(1 for _ in theirs.messages()) == len(found)
            saved.append(len(found))
        assert fingerprint(folder) == before
    assert saved == sorted(saved) and saved[0] == 0 and saved[-1] == len(RECORDS)
    assert len(set(saved)) > 10


def test_a_recorder_that_died_loses_only_what_was_not_flushed(tmp_path):
    bag = BagWriter(tmp_path / "bag", METADATA, WriterOptions(max_file_s=0.4))
    for index, (what, data, log_ns, publish_ns) in enumerate(RECORDS):
        bag.add_topic(what)
        bag.write(what.name, data, log_ns, publish_ns)
        if index == 80:
            bag.flush()
    recovery = recover_bag(tmp_path / "bag")  # never closed: as after a kill
    assert not recovery.healthy and recovery.folder == tmp_path / "bag_recovered"
    assert messages(recovery.folder) == WHOLE[:81]
    assert [file.name for file in recovery.files] == ["bag_0.mcap", "bag_1.mcap", "bag_2.mcap"]
    with open_bag(recovery.folder) as again:
        assert again.metadata == {**METADATA, "recording": {"recovered": "from bag"}}
        assert again.topics[JOINTS.name] == JOINTS
    assert recover_bag(recovery.folder).healthy


def test_a_healthy_bag_is_left_alone(tmp_path):
    write_bag(tmp_path / "bag", RECORDS)
    recovery = recover_bag(tmp_path / "bag")
    assert recovery.healthy and recovery.folder == tmp_path / "bag"
    assert sum(topic.messages for topic in recovery.topics.values()) == len(RECORDS)
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_damage_in_the_middle_costs_its_chunk_only(tmp_path):
    write_bag(tmp_path / "bag", RECORDS, METADATA, WriterOptions("none", chunk_bytes=2000))
    path = tmp_path / "bag/bag_0.mcap"
    data = bytearray(path.read_bytes())
    data[data.index(picture(RECORDS[39][3], 13))] ^= 1
    path.write_bytes(data)
    recovery = recover_bag(tmp_path / "bag")
    found = messages(recovery.folder)
    assert len(WHOLE) - 30 < len(found) < len(WHOLE) and set(found) < set(WHOLE)
    assert recovery.files[0].bad_chunks == 1 and "crc validation failed" in str(recovery.files[0])


def test_damage_in_the_chunk_that_announces_the_topics_is_mended_from_the_end_of_the_file(tmp_path):
    write_bag(tmp_path / "bag", RECORDS, METADATA, WriterOptions("none", chunk_bytes=2000))
    path = tmp_path / "bag/bag_0.mcap"
    data = bytearray(path.read_bytes())
    data[data.index(picture(RECORDS[0][3], 0)) + 60] ^= 1
    path.write_bytes(data)
    recovery = recover_bag(tmp_path / "bag")
    assert len(messages(recovery.folder)) > 70 and not recovery.files[0].nameless
    path.write_bytes(data[: data.rindex(JOINTS.schema.encode())])  # now nothing tells what the messages are
    with pytest.raises(BagError, match="there is nothing to recover"):
        recover_bag(tmp_path / "bag", tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_zeros_at_the_end_are_no_records(tmp_path):
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic(JOINTS)
        bag.write(JOINTS.name, joints(1), 1, 1)
        bag.flush()
        (tmp_path / "copy").mkdir()
        flushed = (tmp_path / "bag/bag_0.mcap").read_bytes()
    (tmp_path / "copy/copy_0.mcap").write_bytes(flushed + bytes(5000))
    recovery = recover_bag(tmp_path / "copy")
    assert recovery.topics[JOINTS.name].messages == 1
    assert "5000 bytes at its end are no whole chunk" in str(recovery.files[0])


def test_a_bare_file_becomes_a_bag(tmp_path):
    write_bag(tmp_path / "bag", RECORDS)
    file = (tmp_path / "bag/bag_0.mcap").rename(tmp_path / "lone.mcap")
    recovery = recover_bag(file)
    assert recovery.folder == tmp_path / "lone_recovered" and messages(recovery.folder) == WHOLE


def test_nothing_is_overwritten(tmp_path):
    folder = tmp_path / "bag"
    bag = BagWriter(folder)
    bag.add_topic(STATIC)
    bag.write(STATIC.name, picture(1), 1, 1)
    bag.flush()
    (tmp_path / "bag_recovered").mkdir()
    (tmp_path / "bag_recovered/mine").write_text("precious")
    with pytest.raises(BagError, match=r"bag_recovered: not empty"):
        recover_bag(folder)
    assert recover_bag(folder, tmp_path / "elsewhere").topics[STATIC.name].messages == 1
    assert (tmp_path / "bag_recovered/mine").read_text() == "precious"


def test_what_is_no_bag_of_ours_is_not_guessed_at(tmp_path):
    their_bag(tmp_path / "sqlite", StoragePlugin.SQLITE3)
    with pytest.raises(ForeignBag, match="stored as 'sqlite3'"):
        recover_bag(tmp_path / "sqlite")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BagError, match=r"no bag: neither metadata.yaml nor .mcap files"):
        recover_bag(tmp_path / "empty")
    (tmp_path / "text").mkdir()
    (tmp_path / "text/a.mcap").write_text("hello there")
    with pytest.raises(BagError, match="no MCAP file with content"):
        recover_bag(tmp_path / "text")


def test_a_new_bag_that_does_not_read_back_is_not_reported_as_recovered(tmp_path, monkeypatch):
    bag = BagWriter(tmp_path / "bag")
    bag.add_topic(WORDS)
    bag.write(WORDS.name, words("a"), 1, 1)
    bag.flush()
    write = BagWriter.write
    monkeypatch.setattr(BagWriter, "write", lambda self, name, data, *times: write(self, name, data[:-1] + b"!", *times))
    with pytest.raises(BagError, match="does not read back as it was copied"):
        recover_bag(tmp_path / "bag")
