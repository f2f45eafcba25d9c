"""WorldAgen without ROS and without a simulator: values, configuration, network, policy, playback and limits."""
