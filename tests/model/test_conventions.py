"""Numbers of checkpoints become SI and come back unchanged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from worldagen.conventions import CONVENTIONS, decode_actions, encode_actions, encode_state, find_convention
from worldagen.errors import UnknownName

CALVIN, LIBERO = CONVENTIONS["calvin"], CONVENTIONS["libero"]
DOWNWARD = np.array([np.pi, 0.0, 0.3])


def test_full_scale_of_calvin_is_2_cm_and_3_degrees():
    rows = decode_actions(CALVIN, np.array([[1, 0, -1, 0, 0, 1, 1.0]]), np.zeros(3))
    assert rows[0] == pytest.approx([0.02, 0, -0.02, 0, 0, 0.05, 1.0])


def test_the_gripper_opens_with_plus_one_in_calvin_and_minus_one_in_libero():
    actions = np.zeros((2, 7))
    actions[:, 6] = [1, -1]
    assert decode_actions(CALVIN, actions, np.zeros(3))[:, 6].tolist() == [1.0, 0.0]
    assert decode_actions(LIBERO, actions, np.zeros(3))[:, 6].tolist() == [0.0, 1.0]


def test_adding_euler_angles_is_not_turning_about_the_base_axes():
    """A hand that points down and is yawed: +roll turns it about an axis that is yawed with it."""
    rows = decode_actions(CALVIN, np.array([[0, 0, 0, 1, 0, 0, 1.0]]), DOWNWARD)
    assert rows[0, 3:6] == pytest.approx(0.05 * np.array([np.cos(0.3), np.sin(0.3), 0.0]))


def test_rows_follow_the_euler_path_of_the_whole_chunk():
    actions = np.zeros((4, 7))
    actions[:, 3:6] = [[1, -1, 0.5], [0.2, 1, 1], [-1, 0, 1], [0.3, 0.3, 0.3]]
    rows = decode_actions(CALVIN, actions, DOWNWARD)
    turned = Rotation.from_euler("xyz", DOWNWARD)
    for row in rows:
        turned = Rotation.from_rotvec(row[3:6]) * turned
    expected = Rotation.from_euler("xyz", DOWNWARD + 0.05 * actions[:, 3:6].sum(axis=0))
    assert (turned * expected.inv()).magnitude() < 1e-12


full_scale = arrays(np.float64, (3, 7), elements=st.floats(-1, 1))


@pytest.mark.parametrize("convention", CONVENTIONS.values(), ids=CONVENTIONS)
@given(actions=full_scale)
def test_there_and_back_is_the_same(convention, actions):
    back = encode_actions(convention, decode_actions(convention, actions, DOWNWARD), DOWNWARD)
    assert back == pytest.approx(actions, abs=1e-9)


def test_the_states_gripper_becomes_the_number_that_was_commanded():
    state = np.array([0.1, 0.2, 0.3, 3.0, 0.0, 0.1, 1.0])
    assert encode_state(CALVIN, state)[6] == 1.0
    assert encode_state(LIBERO, state)[6] == -1.0
    assert encode_state(LIBERO, state)[:6].tolist() == state[:6].tolist()


def test_an_unknown_convention_is_refused_with_the_list():
    with pytest.raises(UnknownName, match="calvin, libero"):
        find_convention("robocasa")
