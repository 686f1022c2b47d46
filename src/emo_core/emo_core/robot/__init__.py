"""From face landmarks to motors: normalization, inverse model, safety, buses, simulated robot.

Importing it costs nothing: what a command line needs is here.
"""

#: The robot where none is named: config/robots/sim.yaml.
DEFAULT_ROBOT = "sim"
