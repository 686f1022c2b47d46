"""Audio in (microphone) and out (speaker), on ROS 2."""
