"""What every node of the graph shares: parameters, queues, messages, diagnostics, running.

Importing it, before numpy, keeps BLAS to one thread: between two of 50 calls a second the idle
threads of OpenBLAS spin, and take a whole core from the audio (seen: 77 % of one). Before cv2, it
keeps pictures to 2**26 pixels: OpenCV would make 3 GB of a few bytes that claim to be 2**30.
"""

import os
import sys

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**26))
# Messages want one function of their generator's package, which would import a parser, too: it
# does without where it cannot. A tenth of what a node's process costs until it runs.
# (None is Python's own mark of a module that cannot be imported; typeshed does not know it.)
sys.modules.setdefault("rosidl_generator_py.generate_py_impl", None)  # type: ignore[arg-type]

#: Exit status of a process that no restart can mend (a missing model, a wrong parameter).
HOPELESS = 2

#: Environment variable of a process that was started again: how often, and how the last one ended,
#: as in `2:signal SIGKILL`.
CRASHES = "EMO_CRASHES"
