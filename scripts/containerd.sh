#!/usr/bin/env bash
# containerd 2 with all that a Pod needs (runc, network plugins, CRIU, the CRI's definition), in one folder; the system is not touched.
# For Debian 12 or newer on x86-64 or ARM64. Nothing is started. Prints the folder.   containerd.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "${1:-.containerd}")
suite=${CONTAINERD_DEBIAN_SUITE:-forky}
mirror=${CONTAINERD_DEBIAN_MIRROR:-http://deb.debian.org/debian}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

if [ -e "$folder/complete" ]; then
    echo "$folder"
    exit
fi
if ! command -v apt-get > /dev/null || [ ! -r "$keyring" ]; then
    echo "containerd.sh: apt and $keyring are needed" >&2
    exit 1
fi
if ! command -v mmdebstrap > /dev/null; then
    (apt-get update -qq && apt-get install -y -qq --no-install-recommends mmdebstrap) > /dev/null 2>&1 ||
        { echo "containerd.sh: mmdebstrap is needed, and can't be installed: be root, or install it" >&2; exit 1; }
fi
criu=$(scripts/criu.sh)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/archives" "$work/root"
chmod 755 "$work"
# download SUITE PACKAGE…: into archives, without what they depend on
download() {
    local from=$1
    shift
    printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$from" > "$work/sources.list"
    local apt=(apt-get -qq -o "Dir::Etc::SourceList=$work/sources.list" -o "Dir::Etc::SourceParts=/dev/null"
        -o "Dir::State::Lists=$work/lists" -o "Dir::State::status=/dev/null"
        -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache=" -o "Acquire::Languages=none" -o "APT::Sandbox::User=root")
    "${apt[@]}" update
    (cd "$work/archives" && "${apt[@]}" download "$@" > /dev/null)
}
download "$suite" containerd golang-k8s-cri-api-dev
# Of this system's own release: it is linked with its libraries.
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
download "$release" runc containernetworking-plugins
for package in "$work"/archives/*.deb; do
    dpkg-deb -x "$package" "$work/root"
done

rm -rf "$folder"
mkdir -p "$folder/bin"
cp "$work"/root/usr/bin/{containerd,containerd-shim-runc-v2,ctr} "$work/root/usr/sbin/runc" "$folder/bin/"
ln -s "$criu" "$folder/bin/criu"
cp -r "$work/root/usr/lib/cni" "$folder/cni"
cp "$work/root/usr/share/gocode/src/k8s.io/cri-api/pkg/apis/runtime/v1/api.proto" "$folder/"
"$folder/bin/containerd" --version > /dev/null
"$folder/bin/runc" --version > /dev/null
# What the test's containers are made of: a Python and what it needs.
mmdebstrap --quiet --variant=extract --include=python3-minimal,libpython3-stdlib,libc6 --mode=root "$release" "$folder/rootfs.tar"
touch "$folder/complete"
echo "$folder"
