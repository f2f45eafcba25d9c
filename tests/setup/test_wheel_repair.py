"""The CMake files of the ROS wheels lose the folders that exist only where they were built."""

from setup_steps.exports import repaired

TEXT = """set_target_properties(x PROPERTIES
  INTERFACE_INCLUDE_DIRECTORIES "{}"
  INTERFACE_LINK_LIBRARIES "a;b"
)"""


def test_folders_that_do_not_exist_go_and_all_others_stay(tmp_path):
    text = TEXT.format(f"${{_IMPORT_PREFIX}}/include/x;/builder/python3.11;{tmp_path}")
    assert repaired(text) == TEXT.format(f"${{_IMPORT_PREFIX}}/include/x;{tmp_path}")


def test_repairing_twice_changes_nothing_more():
    once = repaired(TEXT.format("/builder/python3.11"))
    assert once == TEXT.format("")
    assert repaired(once) == once
