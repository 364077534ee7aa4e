# shellcheck shell=bash
# What all install scripts and the cluster scripts share: the cache folder, progress, locks, the Debian mirror.
# To be sourced. Standard output of a script is its result (a path, an image name); everything else goes to stderr.

shopt -s inherit_errexit
cache=${LITEVOICE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/litevoice}
mkdir -p "$cache/bin" "$cache/log"
export PATH="$cache/bin:$PATH:/usr/sbin:/sbin"

say() { printf '→ %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# with_progress [--far FUNCTION] NAME TEXT COMMAND...: runs the command with its output in a log; says TEXT, then every
# 20 s how long it has taken and, if FUNCTION can tell from the log, how far it is; shows the end of the log when the
# command fails. Several may run side by side, so each line names its own.
with_progress() {
  local far=true start=$SECONDS name text log ticker status
  [ "$1" != --far ] || { far=$2 && shift 2; }
  name=$1 text=$2 log=$cache/log/$1.log
  shift 2
  say "$text"
  { while sleep 20; do say "… $name: $((SECONDS - start)) s$("$far" "$log")"; done; } </dev/null >/dev/null 9>&- &
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
  say "$name: done in $((SECONDS - start)) s"
}

# go_packages LOG: how far a `go build -v` is whose log says before it `packages: TOTAL`.
go_packages() {
  local total compiled
  total=$(sed -n 's/^packages: //p' "$1" | tail -n 1)
  compiled=$(grep -cE '^[A-Za-z0-9./_~-]+$' "$1") || true
  if [ "$compiled" -gt 0 ]; then
    echo ", $compiled${total:+ of $total} packages compiled"
  else
    echo ", $(grep -c '^go: downloading' "$1") modules fetched"
  fi
}

# go_build MODULE LDFLAGS OUTPUT PACKAGE: the same flags for all of a module's programs, which then share what is compiled.
go_build() {
  export CGO_ENABLED=0
  cd "$1"
  echo "packages: $(go list -deps "$4" | wc -l)" # fetches the modules; go_packages reads it
  nice go build -v -trimpath -gcflags=all=-dwarf=false -ldflags "-s -w $2" -o "$3" "$4"
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

missing_packages() {
  local package
  for package in "$@"; do
    dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
  done
}

# apt_install PACKAGE...: installs what is missing, without starting services; one at a time on this machine.
apt_install() {
  [ -n "$(missing_packages "$@")" ] || return 0
  command -v apt-get >/dev/null || fail "cannot install $*: this is not a Debian system"
  need_root "installing $*"
  (
    exec 8>"$cache/apt.lock"
    flock 8
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} != 0 ] || exit 0
    with_progress apt-update "reading the package lists" apt-get update -q
    with_progress apt-install "installing ${missing[*]}" \
      env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
  )
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

# make_debian SUITE ARCHIVE [OPTION...]: mmdebstrap into a tar archive ("-" is standard output), without what only a
# person at a terminal or a package manager wants. openjdk's alternatives need the folder for man pages.
make_debian() {
  local suite=$1 archive=$2 folder proxy options=(--mode=root --skip=output/dev)
  shift 2
  proxy=$(apt-config dump --format '%v%n' Acquire::http::Proxy)
  [ -z "$proxy" ] || options+=(--aptopt="Acquire::http::Proxy \"$proxy\"")
  for folder in doc info lintian locale man; do options+=(--dpkgopt="path-exclude=/usr/share/$folder/*"); done
  # shellcheck disable=SC2016 # $1 is mmdebstrap's: the root folder
  options+=(--customize-hook='mkdir -p "$1/usr/share/man/man1"; rm -rf "$1"/var/log/* "$1"/usr/share/zoneinfo/right')
  mmdebstrap "${options[@]}" "$@" "$suite" "$archive" "$(debian_mirror "$suite")"
}

# shared_debian SUITE: prints an archive of the packages that every Debian needs, made once for base images and nodes.
shared_debian() {
  local archive
  apt_install mmdebstrap
  archive=$cache/debian-$1-$(declare -f make_debian | sha256sum | cut -c1-12).tar
  if [ ! -f "$archive" ]; then
    hold_lock debian
    [ -f "$archive" ] || with_progress debian "making a Debian $1 that base images and nodes share (about 40 s, once)" \
      make_shared_debian "$1" "$archive"
  fi
  echo "$archive"
}

make_shared_debian() {
  make_debian "$1" "$2.new.tar" --variant=minbase --include=ca-certificates
  mv "$2.new.tar" "$2"
}

# extend_debian SHARED SUITE ARCHIVE PACKAGES(with commas) [OPTION...]: what shared_debian printed, and these packages.
extend_debian() {
  make_debian "$2" "$3" --variant=custom --skip=check/empty --setup-hook="tar-in $1 /" --include="$4" "${@:5}"
}
