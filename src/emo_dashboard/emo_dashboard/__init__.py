"""What an operator sees of a running graph: in the terminal (`./emo top`) and in a browser."""

import emo_nodekit  # noqa: F401 (before numpy: it sets the number of BLAS threads)
