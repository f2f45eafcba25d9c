"""Imports run one way: the model library and the simulators work where there is no ROS."""

PROGRAM = """
import importlib, pkgutil, sys
sys.modules.update(dict.fromkeys({blocked!r}))
import {package}
for module in pkgutil.walk_packages({package}.__path__, "{package}."):
    importlib.import_module(module.name)
"""


def test_the_model_library_imports_no_ros_and_no_simulator(run_python):
    run_python(PROGRAM.format(package="worldagen", blocked=["rclpy", "worldagen_msgs", "worldagen_sim", "mujoco"]))


def test_the_simulators_import_no_ros(run_python):
    run_python(PROGRAM.format(package="worldagen_sim", blocked=["rclpy", "worldagen_msgs", "worldagen_ros"]))
