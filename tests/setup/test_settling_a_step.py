"""Every step follows one rule: trust nothing, do only what is needed, prove it, then write it down."""

import pytest
from setup_steps.problem import Problem
from setup_steps.progress import Progress
from setup_steps.stamps import read_stamp, write_stamp
from setup_steps.step import settle


class FakeStep:
    name = "fake"

    def __init__(self, stamp, cures=True):
        self.stamp, self.cures = stamp, cures
        self.inputs, self.broken, self.worked = "v1", False, 0

    def fingerprint(self):
        return self.inputs

    def faults(self, record):
        return ["it is broken"] if self.broken else []

    def work(self, progress):
        assert not self.stamp.exists(), "a run that is killed here must leave no stamp"
        self.worked += 1
        self.broken = self.broken and not self.cures

    def record(self):
        return {"made": self.worked}

    def summary(self):
        return "fine"


@pytest.fixture
def step(tmp_path):
    return FakeStep(tmp_path / "state" / "fake.json")


def test_the_first_run_works_and_the_second_has_nothing_to_do(step):
    assert settle(step, Progress(1)) is True
    assert settle(step, Progress(1)) is False
    assert step.worked == 1


def test_changed_inputs_call_for_work(step):
    settle(step, Progress(1))
    step.inputs = "v2"
    assert settle(step, Progress(1)) is True


def test_damage_calls_for_work_though_the_inputs_are_the_same(step, capsys):
    settle(step, Progress(1))
    step.broken = True
    assert settle(step, Progress(1)) is True
    assert "it is broken" in capsys.readouterr().out


def test_what_stays_broken_is_a_problem_and_is_not_written_down(tmp_path):
    step = FakeStep(tmp_path / "fake.json", cures=False)
    step.broken = True
    with pytest.raises(Problem, match="it is broken"):
        settle(step, Progress(1))
    assert not step.stamp.exists()


def test_a_stamp_that_cannot_be_read_is_no_stamp(step):
    step.stamp.parent.mkdir()
    step.stamp.write_text('{"fingerprint": "v1", "rec')
    assert settle(step, Progress(1)) is True


def test_a_stamp_is_whole_or_absent(tmp_path):
    stamp = tmp_path / "a.json"
    write_stamp(stamp, {"fingerprint": "1"})
    assert read_stamp(stamp) == {"fingerprint": "1"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
