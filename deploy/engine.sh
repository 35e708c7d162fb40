#!/bin/bash
# A Docker engine by hand, where no service manager runs one. Side: the operator of a machine, as root.
#   deploy/engine.sh start DIRECTORY   starts dockerd with all of its state in DIRECTORY; prints how to speak to it
#   deploy/engine.sh stop DIRECTORY    ends it, and removes the bridge and the filter rules that it leaves behind
# It needs dockerd, containerd, runc and docker-init (Debian: docker.io), and for the stack the plugins `compose`, `buildx`.
# DIRECTORY must lie on a file system that overlay2 takes (ext4, xfs), and not on an overlay. State of before is kept.
# CLOISTER_ENGINE_GROUP: who may speak to it beside root, and is root thereby.
set -euo pipefail

die() { printf 'engine: %s\n' "$*" >&2; exit 1; }
[[ $# == 2 && ($1 == start || $1 == stop) ]] || die "start DIRECTORY, or stop DIRECTORY"
[[ $(id -u) == 0 ]] || die "an engine needs root, or the rootless one of Docker's own"
mkdir -p -m 0711 -- "$2"
directory=$(readlink -f -- "$2")
pid_file=$directory/dockerd.pid socket=$directory/docker.sock
export DOCKER_HOST=unix://$socket

runs() { [[ -s $pid_file ]] && [[ $(readlink "/proc/$(<"$pid_file")/exe" 2>/dev/null) == *dockerd ]]; }

start() {
    runs && die "one runs in $directory already"
    command -v dockerd >/dev/null || die "dockerd is missing"
    iptables -S FORWARD | head -n 1 >"$directory/forward.before"
    setsid dockerd --host "$DOCKER_HOST" --group "${CLOISTER_ENGINE_GROUP:-root}" --data-root "$directory/data" \
        --exec-root "$directory/exec" --pidfile "$pid_file" --storage-driver overlay2 \
        </dev/null >"$directory/dockerd.log" 2>&1 &
    for _ in $(seq 60); do
        docker version >/dev/null 2>&1 && { echo "export DOCKER_HOST=$DOCKER_HOST"; return; }
        sleep 0.5
    done
    tail -n 5 -- "$directory/dockerd.log" >&2
    die "it does not answer; its log: $directory/dockerd.log"
}

stop() {
    runs || die "none runs in $directory"
    local pid containers
    pid=$(<"$pid_file")
    containers=$(docker ps -q)
    [[ -z $containers ]] || docker stop --time 10 $containers >/dev/null
    kill "$pid"
    while [[ -d /proc/$pid ]]; do sleep 0.2; done
    # What a dockerd leaves: its bridge, and its chains with a policy that drops what is forwarded.
    ip link delete docker0 2>/dev/null || true
    for table in filter nat; do
        iptables-save -t "$table" 2>/dev/null | grep -v -E 'DOCKER|docker0' | iptables-restore -T "$table" 2>/dev/null || true
    done
    iptables $(<"$directory/forward.before")
}

"$1"
