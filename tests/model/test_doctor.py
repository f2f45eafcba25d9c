"""What `worldagen doctor` says of a machine and of ROS, from made inputs; and that one broken check takes no other with it."""

import fcntl
import json
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from worldagen.cli import main
from worldagen.doctor import accelerator, machine, network, python_packages, trials
from worldagen.doctor import ros_environment as ros_checks
from worldagen.doctor.findings import Finding, Group, Level, as_json, as_text, attempt, exit_code, fail, ok, skip, warn
from worldagen.doctor.machine import BagRate, KernelClock, Processor, Zone
from worldagen.doctor.ros_environment import MIB, Ros, SharedMemory
from worldagen.errors import ConfigError

HERE_ONLY: dict[str, Any] = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
RATE = BagRate(55e6, "two cameras")


def ros(distribution: str = "kilted", from_wheels: bool = False, prefixes=(), **environment: Any) -> Ros:
    return Ros(environment, distribution, from_wheels, tuple(prefixes))


def announce(prefix: Path, kind: str, *names: str) -> Path:
    for name in names:
        path = ros_checks.index_of(prefix, kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return prefix


# Findings


def test_a_warning_without_a_remedy_is_refused_and_so_is_a_remedy_for_nothing():
    with pytest.raises(ValueError, match="remedy"):
        Finding(Level.WARN, "clock", "is late")
    with pytest.raises(ValueError, match="remedy"):
        Finding(Level.OK, "clock", "is right", "wait")


def test_each_finding_is_one_line_and_the_remedy_is_in_it():
    groups = [Group("Machine", (fail("clock", "is late", "set it"), ok("disk speed", "is fast")))]
    assert as_text(groups).splitlines() == [
        "Machine",
        "  FAIL  clock       is late. Set it",
        "  OK    disk speed  is fast",
        "",
        "1 FAIL, 1 OK",
    ]


def test_on_a_terminal_long_sentences_are_wrapped_below_themselves():
    text = as_text([Group("Machine", (ok("clock", "word " * 30),))], columns=60)
    lines = text.splitlines()[1:-2]
    assert len(lines) > 1 and all(len(line) <= 60 for line in lines)
    assert all(line.startswith(" " * 15 + "word") for line in lines[1:])


def test_a_program_reads_the_same():
    tree = json.loads(as_json([Group("Machine", (warn("clock", "is late", "set it"), skip("heat", "no zone")))]))
    assert tree["level"] == "WARN" and tree["counts"] == {"FAIL": 0, "WARN": 1, "OK": 0, "SKIP": 1}
    assert tree["findings"][0] == {
        "group": "Machine",
        "check": "clock",
        "level": "WARN",
        "found": "is late",
        "remedy": "set it",
    }


def test_only_a_failure_is_an_exit_code():
    assert exit_code([Group("a", (warn("x", "y", "z"), skip("x", "y")))]) == 0
    assert exit_code([Group("a", (ok("x", "y"),)), Group("b", (fail("x", "y", "z"),))]) == 1


@pytest.mark.parametrize(
    ("error", "level"),
    [(ConfigError("no such file"), Level.FAIL), (PermissionError("not allowed"), Level.WARN), (KeyError("temp"), Level.FAIL)],
)
def test_a_check_that_breaks_is_a_line_of_its_own(error, level):
    def look():
        raise error

    (found,) = attempt("clock", look)
    assert found.level is level and str(error) in found.found


# ROS


@pytest.mark.parametrize(
    ("state", "wheels", "installed", "level", "told"),
    [
        (ros("jazzy"), "", ["jazzy"], Level.OK, "Jazzy, sourced"),
        (ros("kilted", from_wheels=True), "9.1.2", [], Level.OK, "from wheels"),
        (ros(""), "", ["humble", "jazzy"], Level.FAIL, ". /opt/ros/jazzy/setup.bash"),
        (ros(""), "", [], Level.FAIL, "Run scripts/setup"),
        (ros("jazzy"), "9.1.2", ["jazzy"], Level.FAIL, "mix"),
        (ros("foxy"), "", ["foxy"], Level.WARN, "humble"),
    ],
)
def test_which_ros_there_is(state, wheels, installed, level, told):
    found = ros_checks.check_distribution(state, wheels, installed)
    assert found.level is level and told in found.sentence


def test_a_workspace_is_sourced_when_ros_and_python_both_find_it(tmp_path):
    prefix = announce(tmp_path / "install", "packages", *ros_checks.PACKAGES)
    assert ros_checks.check_workspace(ros(prefixes=[prefix]), ros_checks.PACKAGES).level is Level.OK
    assert "activate" in ros_checks.check_workspace(ros(prefixes=[tmp_path]), ros_checks.PACKAGES).remedy
    lost = ros_checks.check_workspace(ros(prefixes=[prefix]), ["worldagen_ros"])
    assert lost.level is Level.FAIL and "worldagen_msgs" in lost.found


def test_the_middleware_is_looked_up_among_those_installed(tmp_path):
    prefix = announce(tmp_path, "rmw_typesupport", "rmw_fastrtps_cpp", "rmw_implementation", "rmw_zenoh_cpp")
    installed = ros_checks.installed_rmws([prefix])
    assert installed == ["rmw_fastrtps_cpp", "rmw_zenoh_cpp"]
    assert ros_checks.check_rmw(ros(), installed).level is Level.OK
    missing = ros_checks.check_rmw(ros("jazzy", RMW_IMPLEMENTATION="rmw_cyclonedds_cpp"), installed)
    assert missing.level is Level.FAIL and "ros-jazzy-rmw-cyclonedds-cpp" in missing.remedy
    assert "rmw_zenohd" in ros_checks.check_rmw(ros(RMW_IMPLEMENTATION="rmw_zenoh_cpp"), installed).remedy


@pytest.mark.parametrize(
    ("variables", "interfaces", "level"),
    [
        ({}, ["eth0"], Level.WARN),
        ({}, [], Level.OK),
        (HERE_ONLY, ["eth0"], Level.OK),
        ({"ROS_DOMAIN_ID": "7"}, ["eth0"], Level.OK),
        ({"ROS_DOMAIN_ID": "102"}, [], Level.WARN),
        ({"ROS_DOMAIN_ID": "233"}, [], Level.FAIL),
        ({"ROS_DOMAIN_ID": "-1"}, [], Level.FAIL),
        ({"ROS_DOMAIN_ID": "seven"}, [], Level.FAIL),
    ],
)
def test_the_domain(variables, interfaces, level):
    assert ros_checks.check_domain(ros(**variables), interfaces).level is level


@pytest.mark.parametrize(
    ("distribution", "variables", "level"),
    [
        ("kilted", HERE_ONLY, Level.OK),
        ("kilted", {}, Level.OK),
        ("kilted", {"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, Level.FAIL),
        ("jazzy", {"ROS_AUTOMATIC_DISCOVERY_RANGE": "localhost"}, Level.FAIL),
        ("jazzy", {"ROS_LOCALHOST_ONLY": "1"}, Level.WARN),
        ("humble", {"ROS_LOCALHOST_ONLY": "1"}, Level.OK),
        ("humble", HERE_ONLY, Level.WARN),
    ],
)
def test_how_far_nodes_look(distribution, variables, level):
    assert ros_checks.check_discovery(ros(distribution, **variables)).level is level


def test_humble_does_not_know_the_range_so_it_does_not_stay_here():
    assert ros("kilted", **HERE_ONLY).stays_here
    assert not ros("humble", **HERE_ONLY).stays_here
    assert ros("humble", ROS_LOCALHOST_ONLY="1").stays_here


PROFILE = """<dds xmlns="http://www.eprosima.com"><profiles><transport_descriptors>
<transport_descriptor><transport_id>a</transport_id><type>SHM</type>{segment}</transport_descriptor>
<transport_descriptor><transport_id>b</transport_id><type>UDPv4</type>{addresses}</transport_descriptor>
</transport_descriptors></profiles></dds>"""
SEGMENT = "<segment_size>33554432</segment_size>"
LOOPBACK_ONLY = "<interfaceWhiteList><address>127.0.0.1</address></interfaceWhiteList>"


@pytest.mark.parametrize(
    ("segment", "addresses", "variables", "level", "told"),
    [
        (SEGMENT, LOOPBACK_ONLY, HERE_ONLY, Level.OK, "32 MiB"),
        (SEGMENT, LOOPBACK_ONLY, {}, Level.WARN, "127.0.0.1 only"),
        (SEGMENT, "", {}, Level.OK, "32 MiB"),
        ("", "", HERE_ONLY, Level.WARN, "512 KiB"),
        ("<segment_size>524288</segment_size>", "", HERE_ONLY, Level.WARN, "0.5 MiB"),
    ],
)
def test_the_transport_profile_is_read(tmp_path, segment, addresses, variables, level, told):
    path = tmp_path / "profile.xml"
    path.write_text(PROFILE.format(segment=segment, addresses=addresses), "utf-8")
    found = ros_checks.check_profile(ros(FASTDDS_DEFAULT_PROFILES_FILE=str(path), **variables))
    assert found.level is level and told in found.found


def test_a_profile_that_is_not_set_not_there_or_of_another_middleware(tmp_path):
    assert "FASTRTPS_DEFAULT_PROFILES_FILE is not set" in ros_checks.check_profile(ros("humble")).found
    gone = ros(FASTDDS_DEFAULT_PROFILES_FILE=str(tmp_path / "gone.xml"))
    assert ros_checks.check_profile(gone).level is Level.FAIL
    assert ros_checks.check_profile(ros(RMW_IMPLEMENTATION="rmw_cyclonedds_cpp")).level is Level.SKIP


def test_the_shipped_profile_is_good():
    path = Path(__file__).parents[2] / "ros2_ws/src/worldagen_ros/config/fastdds.xml"
    assert ros_checks.check_profile(ros(FASTDDS_DEFAULT_PROFILES_FILE=str(path), **HERE_ONLY)).level is Level.OK


def test_a_segment_whose_lock_nobody_holds_is_left_over(tmp_path):
    living, dead = (tmp_path / f"fastdds_{letter * 16}" for letter in "ab")
    for path in (living, dead):
        path.write_bytes(b"x" * 1000)
        path.with_name(f"{path.name}_el").touch()
    (tmp_path / "fastdds_port7000").touch()  # ports stay, and are small
    with open(f"{living}_el") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        memory = ros_checks.look_at_shared_memory(tmp_path)
    assert memory is not None and memory.left_over == {dead.name: 1000} and memory.in_use == 1


@pytest.mark.parametrize(
    ("memory", "level"),
    [
        (None, Level.FAIL),
        (SharedMemory(1024 * MIB, 1000 * MIB, True, {}, 2), Level.OK),
        (SharedMemory(64 * MIB, 64 * MIB, True, {}, 0), Level.WARN),
        (SharedMemory(1024 * MIB, 1000 * MIB, True, {"fastdds_a": 32 * MIB}, 0), Level.WARN),
        (SharedMemory(1024 * MIB, 1000 * MIB, False, {}, 0), Level.FAIL),
    ],
)
def test_shared_memory(memory, level):
    assert ros_checks.check_shared_memory(memory).level is level


def test_small_socket_buffers_matter_where_pictures_go_through_sockets():
    assert ros_checks.check_socket_buffer(ros(**HERE_ONLY), 212_992).level is Level.OK
    assert ros_checks.check_socket_buffer(ros(), 212_992).level is Level.WARN
    assert ros_checks.check_socket_buffer(ros(), 8 * MIB).level is Level.OK
    assert ros_checks.check_socket_buffer(ros(), None).level is Level.SKIP


# Network

ROUTES = "Iface\tDestination\tGateway\tFlags\nwlan0\t0000A8C0\t00000000\t0001\neth1\t00000000\t0102A8C0\t0003\n"


def test_the_interface_is_the_loopback_or_that_of_the_default_route(tmp_path):
    (tmp_path / "route").write_text(ROUTES, "ascii")
    interfaces = {"lo": "127.0.0.1", "wlan0": "192.168.0.2", "eth1": "192.168.2.2"}
    assert network.choose_interface(ros(**HERE_ONLY), interfaces, tmp_path / "route") == "lo"
    assert network.choose_interface(ros(), interfaces, tmp_path / "route") == "eth1"
    assert network.choose_interface(ros(), {"lo": "127.0.0.1"}, tmp_path / "route") == ""


@pytest.mark.parametrize(
    ("state", "interface", "fault", "level"),
    [
        (ros(), "eth0", "", Level.OK),
        (ros(), "eth0", "nothing came back within 0.5 s", Level.FAIL),
        (ros(), "", "", Level.FAIL),
        (ros(**HERE_ONLY), "lo", "No such device", Level.OK),
        (ros("humble", ROS_LOCALHOST_ONLY="1"), "lo", "No such device", Level.FAIL),
        (ros(RMW_IMPLEMENTATION="rmw_zenoh_cpp"), "eth0", "nothing", Level.SKIP),
    ],
)
def test_multicast(state, interface, fault, level):
    assert network.check_multicast(state, interface, fault).level is level


def test_multicast_is_really_sent_and_comes_back():
    assert network.try_multicast(network.look_at_interfaces()["lo"]) == ""


def test_an_address_that_nobody_has_is_told():
    assert network.try_multicast("203.0.113.7")  # RFC 5737: for documentation


def test_interfaces_have_addresses():
    for address in network.look_at_interfaces().values():
        assert len(socket.inet_aton(address)) == 4


# Python


def test_numpy_2_beside_messages_compiled_for_numpy_1():
    assert python_packages.check_numpy("2.2.6", ros("jazzy")).level is Level.FAIL
    assert python_packages.check_numpy("1.26.4", ros("humble")).level is Level.OK
    assert python_packages.check_numpy("2.2.6", ros("kilted")).level is Level.OK
    assert python_packages.check_numpy("2.2.6", ros("jazzy", from_wheels=True)).level is Level.OK
    assert python_packages.check_numpy("", ros()).level is Level.FAIL


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [
        ("crashed with SIGSEGV: A module that was compiled using NumPy 1.x cannot be run in NumPy 2.2.6", "numpy>=1.26,<2"),
        ("ImportError: librcl_action.so: cannot open shared object file", "activate"),
        ("ModuleNotFoundError: No module named 'rclpy._rclpy_pybind11'", "another Python"),
    ],
)
def test_messages_that_do_not_pass(fault, remedy):
    found = python_packages.check_messages(ros(), None, fault)
    assert found.level is Level.FAIL and remedy in found.remedy and fault in found.found


def test_python():
    assert python_packages.check_python((3, 11)).level is Level.OK
    assert python_packages.check_python((3, 13)).level is Level.FAIL
    assert python_packages.check_python((3, 9)).level is Level.FAIL


# GPU

CPU_BUILD = {"version": "2.8.0+cpu", "cuda": "", "available": False, "devices": [], "architectures": [], "threads": 2}
CUDA_BUILD = {**CPU_BUILD, "version": "2.8.0", "cuda": "12.8", "architectures": ["sm_80", "sm_90", "compute_90"]}


def with_device(*capability: int) -> dict:
    return {**CUDA_BUILD, "available": True, "devices": [{"name": "a GPU", "capability": list(capability)}]}


@pytest.mark.parametrize(
    ("answer", "gpu", "level", "told"),
    [
        (CPU_BUILD, "", Level.OK, "for the CPU"),
        (CPU_BUILD, "a GPU", Level.WARN, "for the CPU only"),
        (CUDA_BUILD, "", Level.OK, "computes on the CPU"),
        (CUDA_BUILD, "a GPU", Level.WARN, "finds no device"),
        (with_device(8, 9), "a GPU", Level.OK, "sm_89"),
        (with_device(7, 5), "a GPU", Level.FAIL, "cannot run"),
        (with_device(12, 0), "a GPU", Level.OK, "sm_120"),
    ],
)
def test_torch(answer, gpu, level, told):
    found = accelerator.check_torch("2.8.0", answer, "", gpu, cores=4)[0]
    assert found.level is level and told in found.found


def test_torch_that_is_missing_or_broken():
    assert accelerator.check_torch("", None, "not tried", "", 4)[0].level is Level.FAIL
    assert "libcudart" in accelerator.check_torch("2.8.0", None, "OSError: libcudart.so", "", 4)[0].found
    assert accelerator.check_threads(16, 4).level is Level.WARN


def test_which_architectures_serve_which_device():
    assert accelerator.serves(["sm_80"], (8, 7)) and not accelerator.serves(["sm_80"], (9, 0))
    assert not accelerator.serves(["sm_87"], (8, 0))
    assert accelerator.serves(["compute_80"], (9, 0)) and not accelerator.serves(["sm_90a"], (9, 1))


def test_tensorrt_is_missed_only_where_there_is_a_gpu():
    assert accelerator.check_tensorrt("", None, "", "").level is Level.SKIP
    assert accelerator.check_tensorrt("", None, "", "a GPU").level is Level.WARN
    assert accelerator.check_tensorrt("found", None, "no libnvinfer", "a GPU").level is Level.WARN
    assert accelerator.check_tensorrt("found", {"version": "10.3"}, "", "a GPU") == ok("TensorRT", "10.3")


def test_what_int8_gains_is_read_off_the_processor(tmp_path):
    x86, arm = tmp_path / "x86", tmp_path / "arm"
    x86.write_text("processor\t: 0\nflags\t\t: fpu sse2 avx512f avx512_vnni\n")
    arm.write_text("processor\t: 0\nFeatures\t: fp asimd asimddp\n")
    assert accelerator.look_at_byte_products(x86) == "avx512_vnni"
    assert accelerator.look_at_byte_products(arm) == "asimddp"
    assert accelerator.look_at_byte_products(tmp_path / "gone") == ""
    assert accelerator.check_onnxruntime("", "asimddp").level is Level.SKIP
    assert accelerator.check_onnxruntime("1.23.2", "asimddp") == ok("ONNX Runtime", "1.23.2; int8 gains by asimddp")
    assert "gains little" in accelerator.check_onnxruntime("1.23.2", "").found


@pytest.mark.parametrize(
    ("answer", "gpu", "level"),
    [
        ({"wanted": "auto", "chosen": "egl", "device": "llvmpipe (LLVM 15)", "why": ""}, "", Level.OK),
        ({"wanted": "auto", "chosen": "egl", "device": "llvmpipe (LLVM 15)", "why": ""}, "a GPU", Level.WARN),
        ({"wanted": "auto", "chosen": "egl", "device": "a GPU", "why": ""}, "a GPU", Level.OK),
        ({"wanted": "auto", "chosen": "raycast", "device": "", "why": "egl: missing"}, "", Level.WARN),
        ({"wanted": "raycast", "chosen": "raycast", "device": "", "why": ""}, "", Level.OK),
        ({"wanted": "osmesa", "chosen": "", "device": "", "why": "osmesa: missing"}, "", Level.FAIL),
        (None, "", Level.FAIL),
    ],
)
def test_how_the_simulator_draws(answer, gpu, level):
    assert accelerator.check_drawing(True, answer, "crashed with SIGSEGV: it printed nothing", gpu).level is level
    assert accelerator.check_drawing(False, None, "", gpu).level is Level.SKIP


# Machine


def test_the_clock():
    assert machine.check_clock(KernelClock(True, 0.012), ["chronyd"]) == ok(
        "clock", "synchronised by chronyd, 12.0 ms off at most, by the kernel's bound"
    )
    assert machine.check_clock(KernelClock(False, 16.0), []).level is Level.WARN
    assert "chronyc tracking" in machine.check_clock(KernelClock(False, 16.0), ["chronyd"]).remedy
    assert machine.check_clock(KernelClock(True, 0.4), []).level is Level.WARN
    assert machine.check_clock(None, [], "not permitted").level is Level.SKIP


def test_the_kernel_tells_of_its_clock_or_says_why_not():
    try:
        assert machine.look_at_clock().largest_error_s >= 0
    except OSError as error:
        assert error.strerror


def test_programs_are_found_by_their_names(tmp_path):
    (tmp_path / "12").mkdir()
    (tmp_path / "12/comm").write_text("chronyd\n", "utf-8")
    assert machine.running(machine.TIME_KEEPERS, tmp_path) == ["chronyd"]


def test_governor_and_load():
    assert machine.check_governor(Processor(2, 0.1, "", (), None)).level is Level.SKIP
    assert machine.check_governor(Processor(2, 0.1, "acpi-cpufreq", ("powersave",) * 2, None)).level is Level.WARN
    assert machine.check_governor(Processor(2, 0.1, "intel_pstate", ("powersave",) * 2, None)).level is Level.OK
    assert machine.check_load(Processor(2, 2.5, "", (), None)).level is Level.WARN
    assert machine.check_load(Processor(2, 0.5, "", (), None)).level is Level.OK


def make_files(folder: Path, **texts: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(f"{text}\n", "utf-8")


def test_zones_and_coolers_are_read(tmp_path):
    trips = {"trip_point_0_type": "active", "trip_point_0_temp": "50000"}
    trips |= {"trip_point_1_type": "passive", "trip_point_1_temp": "95000"}
    make_files(tmp_path / "thermal_zone0", type="cpu-thermal", temp="61500", **trips)
    make_files(tmp_path / "thermal_zone1", type="off", temp="-256000")
    make_files(tmp_path / "cooling_device0", type="pwm-fan", cur_state="3")
    make_files(tmp_path / "cooling_device1", type="cpufreq-cpu0", cur_state="2")
    assert machine.look_at_zones(tmp_path) == [Zone("cpu-thermal", 61.5, 95.0)]
    assert machine.look_at_coolers(tmp_path) == {"cpufreq-cpu0": 2}


def test_heat():
    assert machine.check_heat([], {}, None).level is Level.SKIP
    assert machine.check_heat([Zone("cpu", 60.0, 95.0), Zone("gpu", 50.0, 0.0)], {}, 0) == ok("heat", "60 °C at most (cpu)")
    assert machine.check_heat([Zone("cpu", 92.0, 95.0)], {}, None).level is Level.WARN
    assert machine.check_heat([Zone("cpu", 60.0, 95.0)], {}, 12).level is Level.WARN
    assert machine.check_heat([Zone("cpu", 60.0, 95.0)], {"cpufreq-cpu0": 2}, None).level is Level.WARN


MODES = "< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n"


def test_a_jetson():
    assert machine.check_jetson("").level is Level.SKIP
    release = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"
    assert machine.check_jetson(release) == ok("Jetson", "Jetson Linux 36.4.3")
    slow = machine.check_power_mode("NV Power Mode: 15W\n0\n", MODES)
    assert slow.level is Level.WARN and "nvpmodel -m 2" in slow.remedy
    assert machine.check_power_mode("NV Power Mode: MAXN_SUPER\n2\n", MODES).level is Level.OK
    assert machine.check_power_mode("NV Power Mode: 15W\n0\n", "").level is Level.OK  # it has no other
    assert machine.check_power_mode("", MODES).level is Level.WARN


def test_swap(tmp_path):
    (tmp_path / "meminfo").write_text("MemAvailable: 4096000 kB\nSwapTotal: 2048000 kB\nSwapFree: 1024000 kB\n", "ascii")
    assert machine.check_swap(machine.read_memory(tmp_path / "meminfo")).level is Level.WARN
    assert machine.check_swap({"SwapTotal": 0, "SwapFree": 0}).level is Level.OK


def test_a_disk_against_a_bag():
    assert machine.check_write_speed(Path("bags"), 200e6, RATE).level is Level.OK
    assert machine.check_write_speed(Path("bags"), 80e6, RATE).level is Level.WARN
    slow = machine.check_write_speed(Path("bags"), 20e6, RATE)
    assert slow.level is Level.FAIL and "20 MB/s" in slow.found and "55.0 MB/s" in slow.found


def test_room_on_a_disk():
    floor = 2048 * MIB
    assert machine.check_free_disk(Path("bags"), 100_000 * MIB, floor, RATE).level is Level.OK
    assert machine.check_free_disk(Path("bags"), floor + 1000 * MIB, floor, RATE).level is Level.WARN
    assert machine.check_free_disk(Path("bags"), 100 * MIB, floor, RATE).level is Level.FAIL


def test_a_disk_is_measured_where_the_folder_will_be_and_nothing_stays_there(tmp_path):
    assert machine.existing_folder(tmp_path / "to/be/made") == tmp_path
    assert machine.measure_write(tmp_path, limit_s=0.0) == 0.0
    assert machine.measure_write(tmp_path, limit_s=0.01) > 0
    assert not list(tmp_path.iterdir())
    speed, space = machine.look_at_disk(tmp_path, floor=1 << 60, rate=RATE)
    assert speed.level is Level.SKIP and space.level is Level.FAIL  # it would go below the floor


# Trials


def test_what_a_trial_answers_and_how_it_fails():
    assert trials.read_answer(0, 'a library says hello\n{"version": "1"}\n', "") == {"version": "1"}
    with pytest.raises(trials.TrialFailed, match="crashed with SIGSEGV: compiled using NumPy 1"):
        trials.read_answer(-11, "", "compiled using NumPy 1\n\n")
    with pytest.raises(trials.TrialFailed, match="it printed nothing"):
        trials.read_answer(1, "", "")


def test_a_trial_runs_in_a_process_of_its_own():
    with trials.begin("nothing that could be tried") as trial, pytest.raises(trials.TrialFailed, match="KeyError"):
        trial.answer()


# The command


@pytest.fixture
def answered(monkeypatch):
    """Trials answered at once, so that nobody waits for torch."""
    answers = {"ros": {"numpy": "2", "rmw": "rmw_fastrtps_cpp"}, "torch": CPU_BUILD}

    class Answered:
        def __init__(self, *command: str) -> None:
            self.name = command[-1]

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def answer(self):
            return answers.get(self.name, {"wanted": "auto", "chosen": "egl", "device": "a GPU", "why": ""})

    monkeypatch.setattr(trials, "Trial", Answered)
    monkeypatch.setattr(accelerator, "look_at_gpu", lambda: "")


def report(capsys, *arguments: str) -> SimpleNamespace:
    code = main(["doctor", "--json", *arguments])
    tree = json.loads(capsys.readouterr().out)
    return SimpleNamespace(code=code, tree=tree, of={found["check"]: found for found in tree["findings"]})


def test_without_a_workspace_ros_fails_with_the_remedy_and_the_rest_is_looked_at(answered, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "worldagen_ros", None)
    told = report(capsys, "--bags", str(tmp_path), "--live")
    assert told.code == 1 and told.tree["level"] == "FAIL"
    assert told.of["workspace"]["level"] == "FAIL" and ". scripts/activate" in told.of["workspace"]["remedy"]
    assert told.of["deployment"]["level"] == told.of["running stack"]["level"] == "SKIP"
    assert told.of["torch"]["level"] == told.of["simulator's OpenGL"]["level"] == "OK"
    assert str(tmp_path) in told.of["disk speed"]["found"]


def test_a_deployment_is_looked_at_where_there_is_a_workspace(answered, tmp_path, capsys):
    pytest.importorskip("worldagen_ros.config", reason="needs the built workspace: run scripts/test")
    changes = ["policy.checkpoint=nowhere", "robot.tool_frame=hand", f"policy.threads={2 * len(os.sched_getaffinity(0))}"]
    options = [part for change in changes for part in ("--set", change)]
    told = report(capsys, "--deployment", "sim_network", "--bags", str(tmp_path), *options)
    levels = {check: told.of[check]["level"] for check in ("deployment", "robot", "policy", "policy threads")}
    assert levels == {"deployment": "OK", "robot": "FAIL", "policy": "FAIL", "policy threads": "WARN"}
    assert "panda_hand_tcp" in told.of["robot"]["found"] and "playtable" in told.of["policy"]["found"]


def test_a_deployment_that_does_not_exist_is_a_finding_too(answered, tmp_path, capsys):
    pytest.importorskip("worldagen_ros.config", reason="needs the built workspace: run scripts/test")
    told = report(capsys, "--deployment", "simm", "--bags", str(tmp_path), "--live")
    assert told.code == 1 and "sim_realtime" in told.of["deployment"]["found"]
    assert told.of["running stack"]["level"] == "SKIP"


def test_who_cannot_be_listened_to_so_long_is_told(capsys):
    assert main(["doctor", "--live", "-1"]) == 1
    assert "from 0" in capsys.readouterr().err
