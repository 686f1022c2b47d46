"""What an image's face is on the topics."""

from __future__ import annotations

from emo_interfaces.msg import FaceLandmarks, Gaze
from std_msgs.msg import Header

from emo_core.face.person import PersonFrame
from emo_nodekit.messages import floats, nanoseconds


def messages_of(
    image: Header, number: int, frame: PersonFrame | None, now: int
) -> tuple[FaceLandmarks, Gaze]:
    """The messages of one frame, or of the stream's end.

    Args:
        image: header of the image it was seen in.
        number: of the image.
        frame: None: the stream is over.
        now: ROS time, ns.
    """
    stage_ms = floats([(now - nanoseconds(image.stamp)) * 1e-6])
    landmarks = FaceLandmarks(
        header=Header(stamp=image.stamp, frame_id="metric_face"),
        frame=number,
        target_time=image.stamp,
        dim=3,
        end_of_stream=frame is None,
        stage_ms=stage_ms,
    )
    gaze = Gaze(
        header=Header(stamp=image.stamp, frame_id="gaze"),
        frame=number,
        target_time=image.stamp,
        end_of_stream=frame is None,
        stage_ms=stage_ms,
    )
    if frame is not None:
        if frame.points is not None:
            landmarks.points = floats(frame.points)
        if frame.static is not None:
            landmarks.static_points = floats(frame.static)
        landmarks.valid = landmarks.active = frame.valid
        gaze.yaw, gaze.pitch, gaze.valid = frame.gaze.yaw, frame.gaze.pitch, frame.gaze.valid
    return landmarks, gaze
