"""Operator commands that need no ROS: each module has HELP, add_arguments(parser) and run(args) -> exit code."""
