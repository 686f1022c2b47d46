"""Speech features to face landmarks, on ROS 2."""
