"""The stack's clocks. A landmark frame is two log-mel frames (`emo_core.audio.mel`) long."""

#: Sound, mono, Hz.
SAMPLE_RATE = 16_000
#: Exact: 62 500 ns.
NS_PER_SAMPLE = 1_000_000_000 // SAMPLE_RATE
#: Landmark frames, and motor commands, a second.
FPS = 25
#: Samples of one landmark frame: 640.
FRAME = SAMPLE_RATE // FPS
