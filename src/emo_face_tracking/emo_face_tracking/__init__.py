"""A person's face and gaze in the camera's images, on ROS 2."""

import emo_nodekit  # noqa: F401 (before numpy: it sets the number of BLAS threads)
