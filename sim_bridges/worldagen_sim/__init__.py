"""Simulators behind one protocol. Imports no ROS."""
