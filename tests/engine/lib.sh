# Sourced by the scripts of this folder: the engine under test, in a sandbox. ENGINE names another binary than the release build.
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
HERE=$ROOT/tests/engine
SHARED=$ROOT/../shared/cases

# prepare: all that the sandbox must find ready
prepare() {
  need mmdebstrap busybox-static docker-registry iproute2 util-linux bsdutils e2fsprogs python3 curl procps
  if [ -z "${ENGINE:-}" ]; then
    "$ROOT/scripts/build" x86_64 || die 'no binary to test'
    ENGINE=$ROOT/dist/x86_64/prtiql
  fi
  export ENGINE
  [ -f "$CACHE/images/busybox.tar" ] || "$ROOT/scripts/mkimage" make "$CACHE/images" busybox || die 'no image to test with'
  [ -f "$CACHE/images/debian.tar" ] || "$ROOT/scripts/mkimage" make "$CACHE/images" debian || die 'no image to test with'
  export IMAGES=$CACHE/images PRTIQL_CACHE=$CACHE
  # a client library from PyPI; without it its test is skipped
  if [ ! -d "$CACHE/docker-py" ]; then
    python3 -m pip --version >/dev/null 2>&1 || need python3-pip
    python3 -m pip install --quiet --target "$CACHE/docker-py.new" docker >/dev/null 2>&1 && mv "$CACHE/docker-py.new" "$CACHE/docker-py"
  fi
}

# enter SCRIPT ARGUMENTS...: the script again, with --inside and a work folder, in a sandbox. The folder is below the cache: overlay
# mounts need a real file system.
enter() {
  local work script=$1 status
  shift
  mkdir -p "$CACHE/test"
  work=$(mktemp -d "$CACHE/test/XXXXXX") && chmod 755 "$work"
  "$ROOT/scripts/sandbox" "$script" --inside "$work" "$@"
  status=$?
  [ -n "${KEEP:-}" ] || rm -rf "$work"
  return $status
}

# inside the sandbox: the engine as `prtiql`
inside() {
  WORK=$1
  mkdir -p "$WORK/bin" "$WORK/home"
  ln -sf "$ENGINE" "$WORK/bin/prtiql"
  export PATH=$WORK/bin:$PATH HOME=$WORK/home DOCKER_HOST=unix:///run/prtiql.sock
}
# start_engine [FLAGS...]: until it answers; DAEMON is its process
start_engine() {
  prtiql daemon --data-root "$WORK/data" "$@" >>"$WORK/daemon.log" 2>&1 &
  DAEMON=$!
  local i
  for i in $(seq 100); do prtiql version >/dev/null 2>&1 && return; kill -0 $DAEMON 2>/dev/null || break; sleep 0.1; done
  echo "the engine does not answer:" >&2
  tail -5 "$WORK/daemon.log" >&2
  return 1
}
stop_engine() { kill "${1:--TERM}" "$DAEMON" 2>/dev/null; wait "$DAEMON" 2>/dev/null; }
start_registry() {
  "$ROOT/scripts/registry" "$WORK/registry" >"$WORK/registry.log" 2>&1 &
  local i
  for i in $(seq 50); do (: </dev/tcp/127.0.0.1/5000) 2>/dev/null && return; sleep 0.1; done
}
