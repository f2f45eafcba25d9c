"""What is written is a standard rosbag2 bag: three readers agree on it, and nothing that exists is overwritten."""

import errno
import struct
import zlib
from dataclasses import replace

import pytest
import yaml
from bag_making import JOINTS, SECOND_NS, STATIC, WORDS, episode, joints, picture, words, write_bag
from mcap.reader import make_reader
from mcap.stream_reader import StreamReader
from rosbags.rosbag2 import Reader

from worldagen.bags import writer
from worldagen.bags.reader import open_bag
from worldagen.bags.writer import BagWriter, WriterOptions
from worldagen.errors import BagError, DiskFull

METADATA = {"episode": {"task": "lift_red_block", "seed": "7"}, "contract": {"json": '{"a": "ü"}'}}


@pytest.mark.parametrize("compression", ["zstd", "none"])
@pytest.mark.parametrize("version", [9, 5])
def test_three_readers_read_the_same_bytes(tmp_path, compression, version):
    records = episode()
    options = WriterOptions(compression, metadata_version=version, chunk_bytes=3000)
    summary = write_bag(tmp_path / "bag", records, METADATA, options)
    wanted = [(what.name, log_ns, data) for what, data, log_ns, _ in records]
    assert summary.finished and summary.message_count == len(records)

    with open_bag(tmp_path / "bag") as ours:
        assert [(message.topic, message.log_time_ns, message.data) for message in ours.messages()] == wanted
        assert [message.publish_time_ns for message in ours.messages()] == [stamp_ns for *_, stamp_ns in records]
        assert ours.counts == summary.messages and ours.message_count == len(records)
    with Reader(tmp_path / "bag") as theirs:
        assert [(connection.topic, log_ns, bytes(data)) for connection, log_ns, data in theirs.messages()] == wanted
        assert theirs.connections[0].digest == (STATIC.type_hash if version == 9 else "")
        assert theirs.connections[0].ext.offered_qos_profiles[0].reliability.name == "BEST_EFFORT"
    with (tmp_path / "bag/bag_0.mcap").open("rb") as file:
        found = [(channel.topic, record.log_time, record.data) for _, channel, record in make_reader(file).iter_messages()]
    assert found == wanted


def test_every_checksum_of_a_file_is_right(tmp_path):
    write_bag(tmp_path / "bag", episode(), METADATA, WriterOptions(chunk_bytes=3000))
    data = (tmp_path / "bag/bag_0.mcap").read_bytes()
    summary_start, _, checksum = struct.unpack("<QQI", data[-28:-8])
    assert checksum == zlib.crc32(data[summary_start:-12])
    with (tmp_path / "bag/bag_0.mcap").open("rb") as file:
        kinds = [type(record).__name__ for record in StreamReader(file, validate_crcs=True).records]
    assert kinds.count("Message") == 180 and kinds.count("ChunkIndex") > 5 and kinds[-1] == "Footer"


def test_metadata_stands_in_every_file_and_in_the_description(tmp_path):
    write_bag(tmp_path / "bag", episode(), METADATA, WriterOptions(max_file_s=0.5))
    files = sorted((tmp_path / "bag").glob("*.mcap"))
    assert len(files) == 4
    for file in files:
        with file.open("rb") as stream:
            assert {item.name: item.metadata for item in make_reader(stream).iter_metadata()} == METADATA
    with Reader(tmp_path / "bag") as theirs:
        assert theirs.storage.metadata.custom == {
            "episode.task": "lift_red_block",
            "episode.seed": "7",
            "contract.json": '{"a": "ü"}',
        }
    with open_bag(tmp_path / "bag") as ours:
        assert ours.metadata == METADATA


def test_custom_data_is_read_where_a_conversion_kept_nothing_else(tmp_path):
    write_bag(tmp_path / "bag", episode(0.1))
    path = tmp_path / "bag/metadata.yaml"
    tree = yaml.safe_load(path.read_text())
    tree["rosbag2_bagfile_information"]["custom_data"] = {"episode.task": "lift", "operator": "me"}
    path.write_text(yaml.safe_dump(tree))
    with open_bag(tmp_path / "bag") as bag:
        assert bag.metadata == {"episode": {"task": "lift"}, "": {"operator": "me"}}


def test_a_file_is_begun_by_size_and_by_time_and_none_is_lost_between(tmp_path):
    records = episode(seconds=3.0)
    by_time = write_bag(tmp_path / "time", records, options=WriterOptions(max_file_s=1.0))
    assert [file.messages for file in by_time.files] == [90, 90, 90]
    assert [file.end_ns - file.start_ns < SECOND_NS for file in by_time.files] == [True] * 3
    by_size = write_bag(tmp_path / "size", records, options=WriterOptions("none", 1000, max_file_bytes=20_000))
    assert len(by_size.files) > 3
    assert all((tmp_path / "size" / file.name).stat().st_size < 40_000 for file in by_size.files)
    for folder in ("time", "size"):
        with open_bag(tmp_path / folder) as ours, Reader(tmp_path / folder) as theirs:
            assert [message.data for message in ours.messages()] == [data for _, data, _, _ in records]
            assert sum(1 for _ in theirs.messages()) == len(records)


def test_the_description_is_there_from_the_start_and_after_every_split(tmp_path):
    with BagWriter(tmp_path / "bag", METADATA, WriterOptions(max_file_s=1.0)) as bag:
        assert "bag_0.mcap" in (tmp_path / "bag/metadata.yaml").read_text()
        bag.add_topic(JOINTS)
        bag.flush()
        assert JOINTS.name in (tmp_path / "bag/metadata.yaml").read_text()
        for second in (1, 2):
            bag.write(JOINTS.name, joints(second), second * SECOND_NS, second)
        text = (tmp_path / "bag/metadata.yaml").read_text()
        assert "bag_1.mcap" in text and "message_count: 1" in text


def test_a_bag_without_messages_is_a_bag(tmp_path):
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic(JOINTS)
    with open_bag(tmp_path / "bag") as ours, Reader(tmp_path / "bag") as theirs:
        assert list(ours.messages()) == list(theirs.messages()) == []
        assert ours.counts == {JOINTS.name: 0} and ours.duration_s == 0.0


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path):
    folder = tmp_path / "bag"
    folder.mkdir()
    (folder / "mine.txt").write_text("precious")
    with pytest.raises(BagError, match=r"bag: not empty \(there is mine.txt\); give a folder that does not exist"):
        BagWriter(folder)
    assert [file.name for file in folder.iterdir()] == ["mine.txt"]
    write_bag(tmp_path / "first", episode(0.1))
    before = (tmp_path / "first/first_0.mcap").read_bytes()
    with pytest.raises(BagError, match="not empty"):
        BagWriter(tmp_path / "first")
    assert (tmp_path / "first/first_0.mcap").read_bytes() == before


def test_a_folder_that_cannot_be_made_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BagError, match=r"file/bag: cannot become a bag's folder \(Not a directory\)"):
        BagWriter(tmp_path / "file/bag")


def test_what_does_not_fit_is_refused_by_name(tmp_path):
    with BagWriter(tmp_path / "bag") as bag:
        bag.add_topic(JOINTS)
        bag.add_topic(JOINTS)
        with pytest.raises(BagError, match="already sensor_msgs/msg/JointState; it cannot become std_msgs/msg/String"):
            bag.add_topic(replace(WORDS, name=JOINTS.name))
        with pytest.raises(BagError, match=f"unknown topic {STATIC.name}; announced: {JOINTS.name}"):
            bag.write(STATIC.name, picture(0), 0, 0)
        with pytest.raises(BagError, match="log time -1 ns"):
            bag.write(JOINTS.name, joints(0), -1, 0)
        bag.write(JOINTS.name, joints(0), 0, 0)
    with pytest.raises(BagError, match="is closed"):
        bag.write(JOINTS.name, joints(0), 0, 0)
    with open_bag(tmp_path / "bag") as ours:
        assert ours.counts == {JOINTS.name: 1}
    for bad in ({"a.b": {"c": "d"}}, {"a": {"b": 1}}):
        with pytest.raises(BagError, match="expected a name without dots, and texts only"):
            BagWriter(tmp_path / "other", bad)
    for bad in ({"compression": "lz4"}, {"metadata_version": 7}, {"chunk_bytes": 0}):
        with pytest.raises(BagError):
            WriterOptions(**bad)


class FullDisk(writer._Output):
    """A disk with room for 10 kB."""

    room = 10_000

    def write(self, data: bytes) -> int:
        if self.count + len(data) > self.room:
            super().write(data[: self.room - self.count])
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_a_full_disk_is_told_once_and_what_was_saved_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_Output", FullDisk)
    records = episode()
    with BagWriter(tmp_path / "bag", METADATA, WriterOptions("none", chunk_bytes=1000)) as bag:
        with pytest.raises(DiskFull, match=r"cannot write \(No space left on device\).*worldagen bag recover"):
            for what, data, log_ns, publish_ns in records:
                bag.add_topic(what)
                bag.write(what.name, data, log_ns, publish_ns)
        written = bag.counts
        with pytest.raises(DiskFull):
            bag.write(what.name, data, log_ns, publish_ns)
    summary = bag.close()
    assert not summary.finished and summary.messages == written and 0 < summary.message_count < len(records)
    assert summary.size_bytes == (tmp_path / "bag/bag_0.mcap").stat().st_size == FullDisk.room


def test_texts_of_any_kind_come_back(tmp_path):
    write_bag(tmp_path / "bag", [(WORDS, words("grüße 抽屉"), 1, 1)])
    with open_bag(tmp_path / "bag") as bag:
        assert bag.decode(next(bag.messages())).data == "grüße 抽屉"
