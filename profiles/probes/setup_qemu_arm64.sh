#!/usr/bin/env bash
# Puts what `edgekit verify --on qemu-arm64` needs into one folder: qemu-user 10, an arm64 Python from Debian, and
# the real aarch64 wheels. No root, nothing installed on this system; quick when it is all there.
# usage: setup_qemu_arm64.sh [FOLDER]   (default ~/.cache/edgekit/qemu-arm64, or under $EDGEKIT_CACHE)
set -euo pipefail

root=${1:-${EDGEKIT_CACHE:-$HOME/.cache/edgekit}/qemu-arm64}
python=${PYTHON:-python3}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# qemu-user 7.2, bookworm's own, crashes when onnxruntime is imported; backports have 10.
qemu=(qemu-user)
debian=(
    python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libc6 libgcc-s1 libstdc++6 zlib1g libexpat1
    libssl3 libffi8 libbz2-1.0 liblzma5 libuuid1 libcrypt1 libgcc-s1
)
onnxruntime=${ONNXRUNTIME:-$("$python" -c 'from importlib.metadata import version; print(version("onnxruntime"))' 2>/dev/null || true)}
[[ -n $onnxruntime ]] || { echo "setup_qemu_arm64: $python has no onnxruntime: name edgekit's own Python in PYTHON" >&2; exit 1; }
litert=${LITERT:-$("$python" -c 'from importlib.metadata import version; print(version("ai-edge-litert"))' 2>/dev/null || true)}
wheels=("onnxruntime==$onnxruntime" ${litert:+"ai-edge-litert==$litert"})

mkdir -p "$(dirname "$root")"
exec 9>"$root.lock"
flock 9 # two at once would take each other's files away
state="${wheels[*]} ${qemu[*]} ${debian[*]} $mirror 1"
if [[ -f $root/state && $(<"$root/state") == "$state" ]]; then
    echo "$root"
    exit 0
fi
for tool in apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || { echo "setup_qemu_arm64: $tool is missing: this needs a Debian or Ubuntu host" >&2; exit 1; }
done
[[ -f $keyring ]] || { echo "setup_qemu_arm64: $keyring is missing: apt-get install debian-archive-keyring" >&2; exit 1; }

made=$(mktemp -d "$root.XXXXXX")
trap 'rm -rf "$made"' EXIT
apt=$made/apt
mkdir -p "$apt"/{lists/partial,cache/archives/partial,packages} "$made"/{root,wheels,site}
for suite in bookworm bookworm-backports; do
    echo "deb [arch=amd64,arm64 signed-by=$keyring] $mirror $suite main"
done >"$apt/sources.list"
touch "$apt/status"
settings=(
    -q -o "Dir::State::Lists=$apt/lists" -o "Dir::State::Status=$apt/status" -o "Dir::Cache=$apt/cache"
    -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o APT::Architecture=amd64
    -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o APT::Sandbox::User=
    -o Acquire::Languages=none
)
echo "setup_qemu_arm64: fetching qemu and an arm64 Python from Debian" >&2
apt-get "${settings[@]}" update >&2
(
    cd "$apt/packages"
    apt-get "${settings[@]}" download "${qemu[@]/%//bookworm-backports}" "${debian[@]/%/:arm64}" >&2
)
for package in "$apt"/packages/qemu-user_*.deb; do dpkg-deb -x "$package" "$made/qemu"; done
for package in "$apt"/packages/*_arm64.deb; do dpkg-deb -x "$package" "$made/root"; done
echo "setup_qemu_arm64: fetching ${wheels[*]} for aarch64" >&2
"$python" -m pip download --quiet --disable-pip-version-check --dest "$made/wheels" --python-version 3.11 \
    --implementation cp --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
    --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 --only-binary=:all: "${wheels[@]}" >&2
for wheel in "$made"/wheels/*.whl; do "$python" -m zipfile -e "$wheel" "$made/site"; done
rm -rf "$apt" "$made/wheels" "$made"/root/usr/share/{doc,man,locale}
echo "$state" >"$made/state"
rm -rf "$root"
mv "$made" "$root"
trap - EXIT
echo "$root"
