#!/usr/bin/env bash
# A CRIU that works on current kernels, on a Debian or Ubuntu machine (x86-64 or ARM64): Debian 12 has 3.17, which fails there.
# Takes version 4 and the libraries it was built with from Debian forky into one folder; the system is not touched.
# Prints the path of the binary, which finds its libraries in that folder.   criu.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "${1:-.criu}")
binary=$folder/criu
suite=${CRIU_DEBIAN_SUITE:-forky}
mirror=${CRIU_DEBIAN_MIRROR:-http://deb.debian.org/debian}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

works() { "$1" check > /dev/null 2>&1; }

if [ -x "$binary" ] && works "$binary"; then
    echo "$binary"
    exit
fi
if ! command -v apt-get > /dev/null || [ ! -r "$keyring" ]; then
    echo "criu.sh: apt and $keyring are needed; elsewhere install criu 4 or newer as a package" >&2
    exit 1
fi
if ! command -v patchelf > /dev/null; then
    (apt-get update -qq && apt-get install -y -qq --no-install-recommends patchelf) > /dev/null 2>&1 ||
        { echo "criu.sh: patchelf is needed, and can't be installed: be root, or install it" >&2; exit 1; }
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/root"
# apt drops its rights for downloads, and has to reach this.
chmod 755 "$work"
printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite" > "$work/sources.list"
apt=(apt-get -qq
    -o "Dir::Etc::SourceList=$work/sources.list" -o "Dir::Etc::SourceParts=/dev/null"
    -o "Dir::State::Lists=$work/lists" -o "Dir::State::status=/dev/null"
    -o "Dir::Cache::archives=$work/archives" -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache="
    -o "Acquire::Languages=none")
"${apt[@]}" update
"${apt[@]}" -y --no-install-recommends --download-only -o "Debug::NoLocking=1" install criu > /dev/null
for package in "$work"/archives/*.deb; do
    dpkg-deb -x "$package" "$work/root"
done

libraries=$(dirname "$(find "$work/root/usr/lib" -name 'libc.so.6' | head -1)")
rm -rf "$folder"
mkdir -p "$folder/lib"
cp -L "$libraries"/*.so* "$folder/lib/"
cp "$work/root/usr/sbin/criu" "$binary"
loader=$(basename "$(patchelf --print-interpreter "$binary")")
patchelf --set-interpreter "$folder/lib/$loader" --force-rpath --set-rpath "$folder/lib" "$binary"
if ! works "$binary"; then
    echo "criu.sh: $binary is there, and says that it can't work here:" >&2
    "$binary" check >&2 || exit 1
fi
echo "$binary"
