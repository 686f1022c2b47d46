"""Audio to speech features (log-mel and APC), on ROS 2."""
