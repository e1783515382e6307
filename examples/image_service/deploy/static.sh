#!/bin/sh
# Builds image_service as one static program for Linux, which runs without a C library, in any distribution or container.
#
#   examples/image_service/deploy/static.sh [TARGET]     # such as aarch64-unknown-linux-musl; that of this machine if not given
#
# Needs rustup, and a C compiler for musl (Debian: musl-tools), which compiles SQLite.
set -eu

fail() {
    printf 'static.sh: %s\n' "$1" >&2
    exit 1
}

cd "$(dirname "$0")/../../.."
target=${1:-$(uname -m)-unknown-linux-musl}
case $target in
*-linux-musl*) ;;
*) fail "$target is not a target with musl, such as $(uname -m)-unknown-linux-musl" ;;
esac
arch=${target%%-*}
command -v "$arch-linux-musl-gcc" >/dev/null || command -v musl-gcc >/dev/null ||
    fail "there is neither $arch-linux-musl-gcc nor musl-gcc: install a C compiler for musl (Debian: musl-tools)"
if command -v rustup >/dev/null; then
    rustup target list --installed | grep -qx "$target" || rustup target add "$target"
fi
cargo build --profile small --locked --package image_service --target "$target"

program=${CARGO_TARGET_DIR:-target}/$target/small/image_service
# A static program names no interpreter, and no library.
if LC_ALL=C readelf --program-headers --dynamic "$program" 2>/dev/null | grep -qE 'INTERP|NEEDED'; then
    fail "$program is not static"
fi
printf '%s\n' "$program"
