"""The face a person is about to make, on ROS 2."""

import emo_nodekit  # noqa: F401 (before numpy: it sets the number of BLAS threads)
