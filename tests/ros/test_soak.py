"""A short soak of a real stack, and that the long one's judgement sees what it should see."""

import os
from dataclasses import replace

import numpy as np
import pytest
import rclpy

from worldagen_msgs.msg import CommandStatus
from worldagen_ros.client import StackClient, StackError
from worldagen_ros.config import load_deployment
from worldagen_ros.soaking import MB, Bounds, ProcessSample, SaidLines, Sample, Soak, SoakPlan, calm, judge, look_at, slope
from worldagen_ros.specs import nodes_of
from worldagen_ros.stack import Stack

SECONDS = 30.0
GROWTH_MB = 10  # of a process, in the last two thirds
MISSED = 0.5  # of the ticks, at most: a loaded machine is no fault of the node


def test_a_stack_that_drives_for_half_a_minute_neither_grows_nor_stops(environment, tmp_path):
    enabled = {f"{name}.enabled": "true" for name in ("recorder", "adapt", "explore")}
    patient = {f"command.max_{what}_s": "1.0" for what in ("tick_gap", "state_age", "chunk_age", "clock_jump")}
    quick = {  # the expert's chunks reach far, and pictures, which cost most, are nobody's
        "policy.rows": "30",
        "sim.ends_on_success": "false",
        "recorder.skip": "static_camera/image_raw, wrist_camera/image_raw",
        "recorder.floor_mib": "0",
    }
    config = load_deployment("sim_realtime", {**enabled, **patient, **quick, "sim.renderer": "raycast"})
    said = SaidLines()
    rclpy.init(args=[])
    client = StackClient()
    try:
        with Stack(config, said) as stack:
            run = Soak(client, stack, [spec.name for spec in nodes_of(config)], said)
            samples = run.run(SoakPlan(SECONDS, recording=str(tmp_path / "bag"), scene="A", sample_s=1.0, episode_s=12.0))
            assert stack.ended() is None
    finally:
        client.destroy_node()
        rclpy.try_shutdown()
    first, last = next(sample for sample in samples if sample.at_s > SECONDS / 3), samples[-1]
    for name, process in last.processes.items():
        assert (process.rss - first.processes[name].rss) / MB < GROWTH_MB, name
        assert process.threads <= first.processes[name].threads, name
        assert process.files <= first.processes[name].files, name
    assert last.ticks > samples[0].ticks
    assert last.missed_ticks - samples[0].missed_ticks < MISSED * (last.ticks - samples[0].ticks)
    running = [sample.state == CommandStatus.RUNNING for sample in samples]
    assert np.mean(running) > 0.5, [(sample.at_s, sample.state) for sample in samples]
    assert run.recorded is not None and run.recorded.messages > 0 and run.recorded.dropped == 0
    assert last.events["episode"] >= 2


def samples_of(growth_mb_per_h: float = 0.0, latency_ms: float = 50.0, missed: int = 0, said: int = 0) -> list[Sample]:
    """Half an hour of one node; latency, missed ticks and lines are those of the last third."""
    made = []
    for at_s in range(0, 1801, 5):
        late = at_s > 1200
        process = ProcessSample(int(100e6 + growth_mb_per_h * 1e6 * at_s / 3600), 0, 17, 23, 0.1 * at_s)
        made.append(
            Sample(
                at_s=at_s,
                processes={"command": process},
                shared=0,
                state=CommandStatus.RUNNING,
                ticks=100 * at_s,
                missed_ticks=missed if late else 0,
                jitter_p50_ms=0.1,
                jitter_p99_ms=0.2,
                jitter_max_ms=0.3,
                inference_ms=(40.0,),
                latency_ms=(latency_ms if late else 50.0,),
                said={"command": {"INFO": said}},
                events={"episode": 1},
                adapting=False,
                load=0.0,
            )
        )
    return made


def failed(samples: list[Sample], bounds: Bounds = Bounds()) -> list[str]:  # noqa: B008
    return [check.name for check in judge(samples, bounds) if not check.passed]


def test_a_calm_half_hour_passes():
    assert failed(samples_of()) == []


@pytest.mark.parametrize(
    ("amiss", "name"),
    [
        ({"growth_mb_per_h": 6.0}, "memory of command grows"),
        ({"latency_ms": 70.0}, "median latency grows"),
        ({"missed": 1}, "missed of 180000 ticks"),
        ({"said": 1}, "INFO lines of command"),
    ],
)
def test_what_is_amiss_is_named(amiss, name):
    assert failed(samples_of(**amiss)) == [name]


def test_an_arm_that_stands_is_named():
    assert failed([replace(sample, state=CommandStatus.HOLD) for sample in samples_of()]) == [
        "samples in which the arm did not run"
    ]


def test_what_was_never_measured_does_not_pass():
    assert "median latency grows" in failed([replace(sample, latency_ms=()) for sample in samples_of()])


def test_the_time_of_an_adaptation_and_half_a_minute_after_it_are_not_judged():
    samples = [replace(sample, adapting=600 <= sample.at_s <= 700) for sample in samples_of()]
    left = [sample.at_s for sample in calm(samples)]
    assert max(at_s for at_s in left if at_s < 650) == 595 and min(at_s for at_s in left if at_s > 650) == 735


def test_a_slope_needs_three_points():
    assert slope(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0])) == pytest.approx(2.0)
    assert np.isnan(slope(np.array([0.0, 1.0]), np.array([1.0, 3.0])))


def test_lines_are_counted_by_node_and_severity_and_texts_without_their_numbers():
    said = SaidLines()
    for number in range(3):
        said("sim", f"INFO: episode {number}: 'open the drawer'")
    said("sim", "no severity at all")
    assert said.taken() == {"sim": {"INFO": 3, "OTHER": 1}} and said.taken() == {}
    assert said.texts() == {"[sim] INFO: episode # #": 3, "[sim] no severity at all": 1}


def test_a_process_is_looked_at_and_one_that_is_gone_is_told_of():
    here = look_at(os.getpid())
    assert here.rss > here.own > 0 and here.threads >= 1 and here.files >= 3 and here.cpu_s > 0
    with pytest.raises(StackError, match="is gone"):
        look_at(2**22 + 1)
