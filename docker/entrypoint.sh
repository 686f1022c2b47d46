#!/bin/sh
# Run a command with ROS 2, the workspace and its Python environment: for containers and the service.
#
#   docker/entrypoint.sh ros2 launch emo both.launch.py
#
#   EMO_WS   the workspace (default: the one this checkout lies in the src/ of, else ~/emo_ws)
set -e

above=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
if [ -z "${EMO_WS:-}" ]; then
    EMO_WS=$HOME/emo_ws
    [ "$(basename -- "$above")" != src ] || EMO_WS=$(dirname -- "$above")
fi
if [ ! -f "$EMO_WS/install/setup.sh" ]; then
    echo "emo: error: $EMO_WS is not built: run docker/install.sh, or set EMO_WS" >&2
    exit 1
fi
# The workspace's setup.sh knows the ROS 2 that it was built with. Nodes run on the environment's
# Python, and start from outside the checkout, where `emo` is a file.
export COLCON_CURRENT_PREFIX="$EMO_WS/install"
# shellcheck source=/dev/null
. "$EMO_WS/install/setup.sh"
unset COLCON_CURRENT_PREFIX
PATH=$EMO_WS/.venv/bin:$PATH
export PATH VIRTUAL_ENV="$EMO_WS/.venv"
cd "$HOME" 2>/dev/null || cd /
exec "$@"
