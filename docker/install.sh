#!/bin/sh
# Install emo on a bare Ubuntu 22.04 or 24.04, x86-64 or arm64: ROS 2 from apt if it is not there, the
# Python packages that no distribution has, and a colcon workspace. Steps can be done again; each does
# only what is missing.
#
#   docker/install.sh [STEP...]     steps: system python build check service (default: all but service)
#
#   EMO_WS    the workspace (default: the one this checkout lies in the src/ of, else ~/emo_ws)
#   EMO_ROS   humble, jazzy or kilted (default: what is installed, else this Ubuntu's)
#   EMO_USER  who runs the service (default: you)
set -eu

say() { printf 'install: %s\n' "$*" >&2; }
fail() {
    say "error: $*"
    exit 1
}

checkout=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
above=$(dirname -- "$checkout")
if [ -z "${EMO_WS:-}" ]; then
    EMO_WS=$HOME/emo_ws
    [ "$(basename -- "$above")" != src ] || EMO_WS=$(dirname -- "$above")
fi
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo

# The ROS 2 to use: as asked for, the one that is there, or the one of this Ubuntu.
ros=${EMO_ROS:-${ROS_DISTRO:-}}
if [ -z "$ros" ]; then
    for there in humble jazzy kilted; do
        [ ! -f "/opt/ros/$there/setup.sh" ] || ros=$there
    done
fi
if [ -z "$ros" ] && [ -r /etc/os-release ]; then
    # shellcheck source=/dev/null
    case $(. /etc/os-release && echo "$VERSION_CODENAME") in
        jammy) ros=humble ;;
        noble) ros=jazzy ;;
    esac
fi
[ -n "$ros" ] || fail "no ROS 2 here, and none is made for this system: Ubuntu 22.04 or 24.04 is needed, or EMO_ROS and a ROS 2 in /opt/ros"

apt_install() {
    # shellcheck disable=SC2086  # nothing, or sudo
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

# ROS packages and libraries that the manifests name; what is Python's comes by pip, at the versions
# that work together.
dependencies() {
    sed -n 's/.*<[a-z_]*depend>\([^<]*\)<.*/\1/p' "$checkout"/src/*/package.xml | sort -u |
        while read -r key; do
            case $key in
                python3-*) ;;
                portaudio19-dev) echo libportaudio2 ;;
                *) [ -d "$checkout/src/$key" ] || echo "ros-$ros-$key" | tr _ - ;;
            esac
        done
}

install_system() {
    command -v apt-get >/dev/null || fail "no apt-get: install ROS 2 $ros and its colcon yourself, then: $0 python build check"
    # shellcheck disable=SC2086
    $as_root apt-get update
    if [ ! -f "/opt/ros/$ros/setup.sh" ] && ! apt-cache show "ros-$ros-ros-base" >/dev/null 2>&1; then
        say "adding ROS 2's package source"
        apt_install ca-certificates curl
        # shellcheck source=/dev/null
        release=$(. /etc/os-release && echo "$VERSION_CODENAME")
        package=ros2-apt-source_1.1.0.${release}_all.deb
        folder=$(mktemp -d)
        curl -fsSL -o "$folder/$package" \
            "https://github.com/ros-infrastructure/ros-apt-source/releases/download/1.1.0/$package"
        apt_install "$folder/$package"
        rm -r "$folder"
        # shellcheck disable=SC2086
        $as_root apt-get update
    fi
    # shellcheck disable=SC2046
    apt_install "ros-$ros-ros-base" python3-colcon-common-extensions python3-venv python3-dev g++ \
        alsa-utils v4l-utils $(dependencies)
}

install_python() {
    mkdir -p "$EMO_WS"
    [ -x "$EMO_WS/.venv/bin/pip" ] || python3 -m venv --system-site-packages "$EMO_WS/.venv"
    touch "$EMO_WS/.venv/COLCON_IGNORE" # colcon would look for packages in it
    "$EMO_WS/.venv/bin/pip" install --no-cache-dir --disable-pip-version-check --quiet \
        --no-deps --only-binary :all: -r "$checkout/requirements/base.txt"
}

install_build() {
    if [ "$above" != "$EMO_WS/src" ]; then
        mkdir -p "$EMO_WS/src"
        ln -sfn "$checkout" "$EMO_WS/src/emo"
    fi
    if [ -f "/opt/ros/$ros/setup.sh" ]; then
        set +u # ROS's scripts read what is not set
        # shellcheck source=/dev/null
        . "/opt/ros/$ros/setup.sh"
        set -u
    fi
    command -v colcon >/dev/null || fail "no colcon: sudo apt install python3-colcon-common-extensions"
    (cd "$EMO_WS" && colcon build --cmake-args -DBUILD_TESTING=OFF)
}

install_check() {
    EMO_WS=$EMO_WS "$checkout/docker/entrypoint.sh" ros2 launch emo lipsync.launch.py --show-args >/dev/null ||
        fail "the workspace does not launch: see above"
    say "done. In a new shell: $checkout/docker/entrypoint.sh ros2 launch emo lipsync.launch.py"
}

install_service() {
    user=${EMO_USER:-$(id -un)}
    unit=$(mktemp)
    sed -e "s|@USER@|$user|" -e "s|@WORKSPACE@|$EMO_WS|" -e "s|@CHECKOUT@|$checkout|" \
        "$checkout/docker/emo.service" >"$unit"
    # shellcheck disable=SC2086
    $as_root install -D -m 644 "$unit" "${DESTDIR:-}/etc/systemd/system/emo.service"
    rm "$unit"
    # shellcheck disable=SC2086
    [ -e "${DESTDIR:-}/etc/default/emo" ] ||
        $as_root install -D -m 644 "$checkout/docker/emo.default" "${DESTDIR:-}/etc/default/emo"
    say "what it launches: /etc/default/emo. Then: sudo systemctl daemon-reload; sudo systemctl enable --now emo"
}

[ $# -gt 0 ] || set -- system python build check
for step in "$@"; do
    case $step in
        system | python | build | check | service)
            say "$step (ROS 2 $ros, $EMO_WS)"
            "install_$step"
            ;;
        *) fail "no step '$step': system python build check service" ;;
    esac
done
