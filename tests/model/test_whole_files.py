"""A file that is replaced is the old one or the new one, never half of either."""

import os

import pytest

from worldagen.whole_files import write_whole


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
