"""A file that is replaced is the old one or the new one, never half of either."""

import os

import pytest

from worldagen.whole_files import sync_to_disk, sync_tree, write_whole


def test_a_file_is_written_and_replaced_and_nothing_is_left_beside_it(tmp_path):
    file = tmp_path / "told.json"
    for text in ("first", "zweites, länger"):
        write_whole(file, text)
        assert file.read_text("utf-8") == text
    assert [item.name for item in tmp_path.iterdir()] == ["told.json"]


def test_what_was_there_stays_when_the_new_one_cannot_be_put_in_its_place(tmp_path, monkeypatch):
    file = tmp_path / "told.json"
    write_whole(file, "old")

    def full(*places):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, "new")
    assert file.read_text() == "old" and [item.name for item in tmp_path.iterdir()] == ["told.json"]


def test_a_folder_that_is_none_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        write_whole(tmp_path / "file" / "told.json", "text")


def test_what_is_synced_is_the_file_its_folder_and_all_below_it(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda opened: synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{opened}"))))
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    write_whole(folder / "told.json", "new", sync=True)
    assert synced == [f".told.json.{os.getpid()}", "folder"]
    synced.clear()
    (folder / "below" / "deep.bin").write_bytes(b"x")
    sync_tree(folder)
    assert sorted(synced) == ["below", "deep.bin", "folder", "told.json"] and synced[-1] == "folder"


def test_a_disk_that_cannot_sync_is_told_but_for_folders_where_there_is_no_such_thing(tmp_path, monkeypatch):
    def fail(number):
        def sync(opened):
            raise OSError(number, os.strerror(number))

        return sync

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(os, "fsync", fail(22))
    sync_to_disk(tmp_path)
    with pytest.raises(OSError, match="Invalid argument"):
        sync_to_disk(tmp_path / "file")
    monkeypatch.setattr(os, "fsync", fail(28))
    with pytest.raises(OSError, match="No space left"):
        sync_to_disk(tmp_path)
