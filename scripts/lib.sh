# Sourced by the other scripts: where things are, which cargo, and what must be installed.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CROSS=${PRTIQL_CROSS:-${XDG_CACHE_HOME:-$HOME/.cache}/prtiql-cross}
CACHE=${PRTIQL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/prtiql}

say() { printf '== %s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# need PACKAGE...: installs Debian packages that are missing
need() {
  local p missing=()
  for p; do dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p"); done
  [ ${#missing[@]} = 0 ] && return
  [ "$(id -u)" = 0 ] || die "needs root to install: ${missing[*]}"
  say "apt-get install ${missing[*]}"
  mkdir -p "$CACHE"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } \
    >"$CACHE/apt.log" 2>&1 || { tail -5 "$CACHE/apt.log" >&2; die "apt-get failed; see $CACHE/apt.log"; }
}

# host_cargo: puts a cargo that builds for this machine first in PATH: rustup's where there is one, else Debian's
host_cargo() {
  command -v cargo >/dev/null && cargo clippy -V >/dev/null 2>&1 && command -v cc >/dev/null && return
  need gcc libc6-dev
  command -v cargo >/dev/null && cargo clippy -V >/dev/null 2>&1 && return
  need rustc-web cargo-web rust-web-clippy rustfmt-web
}
