# Shared by the scripts: where things are, and installing what is missing. POSIX sh, to be sourced.

ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$ROOT" || exit 1
VENV=${SLIPWAY_VENV:-$ROOT/.venv}
PYTHON=$VENV/bin/python

say() { printf '%s\n' "$*" >&2; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif command -v sudo >/dev/null 2>&1; then sudo -n "$@"
    else return 1
    fi
}

# install_packages PACKAGE...: Debian packages that are not installed yet; 1 when that cannot be done here.
install_packages() {
    missing=
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
    done
    [ -z "$missing" ] && return 0
    say "Installing Debian packages:$missing"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >&2 || return 1
    # shellcheck disable=SC2086 # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $missing >/dev/null || return 1
}

# make_environment LOCK: a virtual environment with exactly what the lock file names, made anew when the lock changed.
make_environment() {
    lock=$1
    stamp=$VENV/slipway-$(basename "$lock").sha256
    wanted=$(sha256sum "$ROOT/$lock" "$ROOT/requirements/libvirt.txt" | sha256sum)
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return 0
    base=/usr/bin/python3
    [ -x "$PYTHON" ] || "$base" -m venv "$VENV" 2>/dev/null || {
        install_packages python3-venv || { say "python3-venv is missing and cannot be installed here."; return 1; }
        "$base" -m venv "$VENV"
    }
    say "Installing Python packages into $VENV"
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r "$lock" || return 1
    # The binding compiles against the machine's libvirt. Without it the portal runs with a simulated estate.
    if install_packages gcc python3-dev libvirt-dev pkg-config; then
        "$PYTHON" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/libvirt.txt ||
            say "libvirt-python could not be built; only simulated hosts can be reached."
    else
        say "No rights to install libvirt's headers; only simulated hosts can be reached."
    fi
    printf '%s' "$wanted" >"$stamp"
}

# The processes that a server needs beside Python.
install_server_packages() {
    install_packages redis-server || say "Redis is not installed; Celery's filesystem broker serves instead."
}
