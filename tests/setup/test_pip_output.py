"""A long download shows how far it is."""

from setup_steps.pip_output import PipOutput


def follow(*lines, installed=0):
    output = PipOutput(count_installed=lambda: installed)
    for line in lines:
        output.take(line)
    return output


def test_a_download_says_what_it_is_and_how_much_of_it_is_there():
    output = follow(
        "Collecting torch==2.14.1 (from worldagen==0.1.0)",
        "  Downloading torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl (903.2 MB)",
        "Progress 0 of 903200000",
        "Progress 312000000 of 903200000",
    )
    assert output.note() == "downloading torch 2.14.1: 312 of 903 MB, 0.31 GB in all"


def test_finished_downloads_add_up():
    output = follow(
        "Downloading a-1-py3-none-any.whl (1 MB)",
        "Progress 1000000 of 1000000",
        "Downloading https://files.invalid/b-2-py3-none-any.whl (2 MB)",
        "Progress 2000000 of 2000000",
        "Installing collected packages: a, b",
    )
    assert output.downloaded_bytes == 3_000_000


def test_metadata_are_no_download_worth_naming():
    output = follow(
        "Collecting numpy==2.2.6", "  Downloading numpy-2.2.6-cp311-cp311-manylinux_2_17_x86_64.whl.metadata (62 kB)"
    )
    assert output.note() == "looking up numpy"


def test_while_pip_is_silent_the_written_packages_are_counted():
    count = iter([2, 5])
    output = PipOutput(count_installed=lambda: next(count))
    output.take("Installing collected packages: a, b, c, d")
    assert output.note() == "installing, 3 of 4 packages written"
