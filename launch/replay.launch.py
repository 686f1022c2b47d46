"""A recording on the robot again, in real time: the nodes work on the messages of then.

ros2 launch emo replay.launch.py bag:=/abs/out/lipsync/bag
ros2 launch emo replay.launch.py bag:=/abs/bag from:=lipsync/landmarks robot:=/abs/my_robot.yaml
"""

from emo.launching import replay_description
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return replay_description()
