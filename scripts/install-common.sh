# shellcheck shell=bash
# What all install scripts and the cluster scripts share: the cache folder, progress, locks, the Debian mirror.
# To be sourced. Standard output of a script is its result (a path, an image name); everything else goes to stderr.

shopt -s inherit_errexit
cache=${LITEVOICE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/litevoice}
mkdir -p "$cache/bin" "$cache/log"
export PATH="$cache/bin:$PATH:/usr/sbin:/sbin"

say() { printf '→ %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# with_progress LOG_NAME TEXT COMMAND... : runs the command with its output in a log; says TEXT, then the elapsed
# seconds every 20 s; shows the end of the log when the command fails.
with_progress() {
  local log=$cache/log/$1.log text=$2 start=$SECONDS ticker status
  shift 2
  say "$text"
  { while sleep 20; do say "… $((SECONDS - start)) s"; done; } </dev/null >/dev/null 9>&- &
  ticker=$!
  set +e # not `|| status=$?`: that would let the command go on after its own errors
  (set -e; "$@") >"$log" 2>&1 </dev/null
  status=$?
  set -e
  stop_ticker "$ticker"
  if [ "$status" != 0 ]; then
    tail -n 30 "$log" >&2
    fail "$text: failed (exit code $status); the whole log: $log"
  fi
  say "done in $((SECONDS - start)) s"
}

stop_ticker() {
  local sleeping
  sleeping=$(pgrep -P "$1") || true
  kill "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
  [ -z "$sleeping" ] || kill "$sleeping" 2>/dev/null || true
}

# hold_lock NAME: at most one process builds a thing; the others wait for it. Held until the script ends.
hold_lock() {
  exec 9>"$cache/$1.lock"
  flock --nonblock 9 && return
  say "another process is at $1; waiting for it"
  flock 9
}

# hash_of PATH...: one hash of the names and contents of files and folders.
hash_of() {
  local path
  for path in "$@"; do
    (cd "$(dirname "$path")" && find "$(basename "$path")" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
  done | sha256sum | cut -c1-12
}

need_root() { [ "$(id -u)" = 0 ] || fail "$1 needs root"; }

need_go() {
  command -v go >/dev/null || fail "Go is missing; install Go 1.26 or later (https://go.dev/dl)"
}

# apt_install PACKAGE...: installs what is missing, without starting services.
apt_install() {
  local missing=() package
  for package in "$@"; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  command -v apt-get >/dev/null || fail "cannot install ${missing[*]}: this is not a Debian system"
  need_root "installing ${missing[*]}"
  with_progress apt-update "reading the package lists" apt-get update -q
  with_progress apt-install "installing ${missing[*]}" \
    env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

# debian_mirror SUITE: where this machine itself takes Debian packages from.
debian_mirror() {
  local mirror
  # shellcheck disable=SC2016 # the $(…) are apt's own
  mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk -v suite="$1" '$2 == "main" && $1 == suite && !found { print $3; found = 1 }')
  [ -n "$mirror" ] || fail "apt on this machine knows no mirror for Debian $1"
  echo "$mirror"
}

# bootstrap_debian SUITE FOLDER PACKAGES(with commas): a minimal Debian with these packages.
bootstrap_debian() {
  local proxy
  proxy=$(apt-config dump --format '%v%n' Acquire::http::Proxy)
  mkdir -p "$cache/debs"
  ${proxy:+env "http_proxy=$proxy"} debootstrap --variant=minbase --cache-dir="$cache/debs" --include="$3" "$1" "$2" "$(debian_mirror "$1")"
}
