"""What `worldagen doctor` looks at: pure checks of values that thin probes gather. No ROS, no simulator, no torch in here."""
