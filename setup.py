"""Lets colcon build the root package; everything but the two files that ROS looks for stands in pyproject.toml."""

from setuptools import setup

distribution = setup(
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/worldagen"]),
        ("share/worldagen", ["package.xml"]),
    ]
)
# colcon reads this object's attributes back from their repr(), which the one of requires-python does not survive.
distribution.python_requires = distribution.metadata.python_requires = None
