"""The left of the page: the robot's picture, the camera's, and the sound."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import viser
from emo_interfaces.msg import AudioChunk, SpeechFeatures
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from emo_core.audio.mel import N_MELS
from emo_core.camera.image import to_rgb
from emo_dashboard.glimpse import Glimpse

Picture = NDArray[np.uint8]

#: Pictures are sent this wide.
WIDTH = 320
#: The mel's seconds, at 50 rows a second.
MEL_ROWS = 250
#: Normalized log-mel from black to white.
_MEL_RANGE = (-2.0, 2.5)
_QUIET_DB = -60.0


class Pictures:
    """Fills the panel that is current when it is made."""

    def __init__(self, server: viser.ViserServer) -> None:
        gui: Any = server.gui
        blank = np.full((WIDTH * 3 // 4, WIDTH, 3), 24, np.uint8)
        self._robot = gui.add_image(blank, label="robot", format="jpeg", jpeg_quality=80)
        self._camera = gui.add_image(blank, label="camera", format="jpeg", jpeg_quality=80)
        self._camera.visible = False
        self._mel = Mel()
        self._mel_image = gui.add_image(self._mel.picture(), label="log-mel", format="jpeg")
        self._level = gui.add_progress_bar(0.0)

    def update(self, glimpse: Glimpse) -> None:
        """Show what is new."""
        robot = picture_of(glimpse.newest("sim/image"))
        if robot is not None:
            self._robot.image = robot
        camera = picture_of(glimpse.newest("image/compressed"))
        if camera is not None:
            self._camera.visible = True
            self._camera.image = camera
        features = glimpse.all("speech_features")
        if features:
            self._mel.add(features)
            self._mel_image.image = self._mel.picture()
        level = level_percent(glimpse.all("audio"))
        if level is not None:
            self._level.value = level


def picture_of(message: Image | CompressedImage | None) -> Picture | None:
    """RGB (h, WIDTH, 3) of an image message; None where there is no picture in it."""
    if message is None or not len(message.data):
        return None
    data = memoryview(message.data)
    if isinstance(message, CompressedImage):
        try:
            bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_2)
        except cv2.error:  # it says that it is larger than OpenCV reads
            bgr = None
        if bgr is None:
            return None
        rgb: Any = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    else:
        try:
            rgb = to_rgb(data, message.height, message.width, message.step, message.encoding)
        except ValueError:
            return None
    height = max(1, round(rgb.shape[0] * WIDTH / rgb.shape[1]))
    return np.asarray(cv2.resize(rgb, (WIDTH, height), interpolation=cv2.INTER_AREA))


def level_percent(chunks: list[AudioChunk]) -> float | None:
    """Loudness of the sound since the last look: -60 dB and below is 0, full scale 100."""
    data = [np.asarray(chunk.data, np.float32) for chunk in chunks if len(chunk.data)]
    if not data:
        return None
    samples = np.concatenate(data)
    power = float(np.mean(np.square(samples)))
    if not np.isfinite(power):
        return None
    decibels = 10.0 * np.log10(max(power, 1e-12))
    return float(np.clip(100.0 * (1.0 - decibels / _QUIET_DB), 0.0, 100.0))


class Mel:
    """The last seconds of the log-mel, as a picture that moves to the left."""

    def __init__(self) -> None:
        self._rows = np.full((MEL_ROWS, N_MELS), _MEL_RANGE[0], np.float32)

    def add(self, messages: list[SpeechFeatures]) -> None:
        """New rows: each begins with the normalized log-mel frame."""
        fresh = [
            np.asarray(message.data, np.float32).reshape(-1, message.dim)[:, :N_MELS]
            for message in messages
            if message.dim >= N_MELS and len(message.data) % message.dim == 0
        ]
        if fresh:
            self._rows = np.concatenate([self._rows, *fresh])[-MEL_ROWS:]

    def picture(self) -> Picture:
        """RGB (N_MELS, WIDTH, 3): high tones above, now at the right."""
        low, high = _MEL_RANGE
        grey = np.nan_to_num(255.0 * (self._rows.T[::-1] - low) / (high - low))
        coloured = cv2.applyColorMap(np.clip(grey, 0, 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
        large = cv2.resize(coloured, (WIDTH, N_MELS), interpolation=cv2.INTER_LINEAR)
        return np.asarray(cv2.cvtColor(large, cv2.COLOR_BGR2RGB))
