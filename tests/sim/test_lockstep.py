"""In lockstep only what answers the present instant counts, in whatever order it comes."""

from worldagen_sim.lockstep import Command, LockStep


def waiting_for_chunk(stamp_ns: int = 100) -> LockStep:
    lockstep = LockStep()
    lockstep.observed(stamp_ns)
    return lockstep


def offer_command(lockstep: LockStep, stamp_ns: int, motion: str = "motion") -> None:
    lockstep.offer_motion(stamp_ns, motion)
    lockstep.offer_gripper(stamp_ns, 1.0)


def test_a_step_needs_chunk_motion_and_gripper_of_one_instant():
    lockstep = waiting_for_chunk(100)
    assert lockstep.take() is None
    lockstep.offer_chunk(100, rows=1)
    assert lockstep.take() is None
    lockstep.offer_motion(100, "motion")
    assert lockstep.take() is None
    lockstep.offer_gripper(100, 0.0)
    assert lockstep.take() == Command("motion", 0.0)


def test_the_order_of_arrival_does_not_matter():
    lockstep = waiting_for_chunk(100)
    offer_command(lockstep, 100)
    lockstep.offer_chunk(100, rows=1)
    assert lockstep.take() is not None


def test_a_chunk_may_come_before_the_simulator_has_noted_its_own_observation():
    lockstep = LockStep()
    lockstep.offer_chunk(100, rows=1)
    lockstep.observed(100)
    offer_command(lockstep, 100)
    assert lockstep.take() is not None


def test_answers_to_another_instant_do_not_count():
    lockstep = waiting_for_chunk(100)
    lockstep.offer_chunk(90, rows=1)
    offer_command(lockstep, 100)
    assert lockstep.take() is None
    lockstep.offer_chunk(100, rows=1)
    offer_command(lockstep, 110)
    assert lockstep.take() is None


def test_a_played_out_chunk_asks_for_an_observation():
    lockstep = waiting_for_chunk(100)
    lockstep.offer_chunk(100, rows=2)
    offer_command(lockstep, 100)
    assert lockstep.take() is not None and lockstep.stepped(110) is False
    assert lockstep.take() is None  # the old command does not count for the next instant
    offer_command(lockstep, 110)
    assert lockstep.take() is not None and lockstep.stepped(120) is True
    assert "120" not in lockstep.waits_for  # nothing is awaited of an observation that was not made yet


def test_it_says_what_it_waits_for():
    lockstep = waiting_for_chunk(2_500_000_000)
    assert lockstep.waits_for == "the chunk that answers the observation of 2.500 s" and lockstep.waits_for_chunk
    lockstep.offer_chunk(2_500_000_000, rows=1)
    assert lockstep.waits_for == "the command for 2.500 s" and not lockstep.waits_for_chunk
