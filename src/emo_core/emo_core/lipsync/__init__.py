"""Speech to facial landmarks. Importing it costs nothing: what a command line needs is here."""

#: The shipped Audio2Landmark models by how far they look ahead: 240 ms, or 80 ms at the most.
VARIANTS = {"full": "audio2landmark_full", "live": "audio2landmark_live"}
#: `mouth_gain` goes from 0, a mouth that never moves, to this.
MAX_MOUTH_GAIN = 3.0
