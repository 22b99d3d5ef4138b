# What the scripts share; to be sourced. What this host has, and how to get what it lacks.

say() { printf '\n== %s\n' "$*"; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -E "$@"; fi
}

# Installs those Debian packages that are missing, and says which.
need() {
  local missing=()
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  if ! command -v apt-get >/dev/null; then
    echo "this is no Debian-like system; install what these packages hold: ${missing[*]}" >&2
    return 1
  fi
  echo "installing: ${missing[*]}"
  as_root apt-get -qq update &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y "${missing[@]}" >/dev/null
}

need_rust() {
  command -v cargo >/dev/null && return
  echo "no cargo: install Rust (https://rustup.rs), then try again" >&2
  return 1
}

# Whether this host's own kernel can do it all: IPVS, in a network namespace with bridges and tunnels.
kernel_has_ipvs() {
  as_root modprobe -qa ip_vs ipip 2>/dev/null
  as_root unshare --net sh -c 'ipvsadm -Ln && ip link add br0 type bridge &&
    ip link add v0 type veth peer name v1 && ip link show tunl0' >/dev/null 2>&1
}

# Runs a command as root where IPVS is: on this host's kernel, else in the lab.
# Its first argument is the time that it may take, in seconds.
with_ipvs() {
  local limit=$1
  shift
  if kernel_has_ipvs; then
    echo "on this host's own kernel ($(uname -r)), in network namespaces"
    as_root timeout "$limit" "$@"
  else
    echo "this host's kernel has no IPVS (or we may not use it): booting one in the lab"
    need user-mode-linux || return 3
    as_root tests/lab/uml -m 1500M -t "$limit" "$@"
  fi
}
