"""A button that is held for as long as it is said to be, where it is needed."""

import pytest

from worldagen.deadman import Deadman
from worldagen.errors import ConfigError

MS = 1_000_000


def test_nobody_holds_a_button_that_was_never_heard_of():
    assert not Deadman().held(0)


def test_a_pressed_button_is_held_until_it_falls_silent():
    deadman = Deadman(timeout_s=0.3)
    deadman.hear(True, 1000 * MS)
    assert deadman.held(1000 * MS) and deadman.held(1300 * MS) and not deadman.held(1301 * MS)
    deadman.hear(True, 1400 * MS)
    assert deadman.held(1500 * MS)


def test_a_released_button_is_released_at_once():
    deadman = Deadman()
    deadman.hear(True, 0)
    deadman.hear(False, 10 * MS)
    assert not deadman.held(10 * MS)


def test_a_message_from_the_future_holds_nothing():
    deadman = Deadman()
    deadman.hear(True, 500 * MS)
    assert not deadman.held(400 * MS)


@pytest.mark.parametrize(
    ("mode", "wanted", "adapter", "required"),
    [
        ("always", False, "", True),
        ("always", False, "trusted", True),
        ("never", True, "new", False),
        ("as_needed", False, "", False),
        ("as_needed", False, "trusted", False),
        ("as_needed", False, "new", True),
        ("as_needed", True, "", True),
        ("as_needed", True, "trusted", True),
    ],
)
def test_it_is_required_by_mode_by_request_and_by_an_adapter_that_is_new(mode, wanted, adapter, required):
    deadman = Deadman(mode, trusted_adapters=("trusted",))
    deadman.require(wanted)
    assert deadman.required(adapter) is required
    assert deadman.allows(adapter, 0) is not required
    deadman.hear(True, 0)
    assert deadman.allows(adapter, 0)


def test_a_request_lasts_until_it_is_taken_back():
    deadman = Deadman()
    deadman.require(True)
    assert deadman.required("")
    deadman.require(False)
    assert not deadman.required("")


def test_a_mode_that_does_not_exist_and_a_timeout_of_nothing_are_refused():
    with pytest.raises(ConfigError, match="mode is 'sometimes'; choose one of: never, as_needed, always"):
        Deadman("sometimes")
    with pytest.raises(ConfigError, match=r"timeout is 0\.0 s"):
        Deadman(timeout_s=0.0)
