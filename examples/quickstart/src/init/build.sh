#!/bin/sh
# Builds one image from a Containerfile, with docker, podman or buildah. Run by freshmaker in the directory of the file.
#
#   FRESHMAKER_BUILDER         which of the three; the first that works, if not set
#   FRESHMAKER_PULL            an image to fetch first, because it has changed in its registry; nothing, if empty
#   FRESHMAKER_ARTIFACT        the name the image gets
#   FRESHMAKER_SOURCE          the directory
#   FRESHMAKER_PARAMETER_FILE  the file in it; what the builder takes by itself, if not set
#   FRESHMAKER_NO_CACHE        1: build every step again
#   FRESHMAKER_RESULT          where the digest of the image is to be written
set -eu

# Freshmaker tries again what ended with this status: it says nothing about the Containerfile.
not_now() {
    printf '%s\n' "$1" >&2
    exit 75
}

if [ ! -d "$FRESHMAKER_SOURCE" ]; then
    printf 'this script builds directories, and %s is none\n' "$FRESHMAKER_SOURCE" >&2
    exit 1
fi

builder=${FRESHMAKER_BUILDER:-}
if [ -z "$builder" ]; then
    for candidate in docker podman buildah; do
        # A client whose service is out of reach is installed and of no use.
        if "$candidate" version >/dev/null 2>&1; then
            builder=$candidate
            break
        fi
    done
fi
if [ -z "$builder" ]; then
    printf 'none of docker, podman and buildah works here; FRESHMAKER_BUILDER may name one\n' >&2
    exit 1
fi

if [ -n "${FRESHMAKER_PULL:-}" ]; then
    "$builder" pull "$FRESHMAKER_PULL" || not_now "cannot fetch $FRESHMAKER_PULL"
fi

# The digest of what was built, whatever else has the same tag by now.
id_file=$FRESHMAKER_RESULT.id
rm -f "$id_file"
set -- build --iidfile "$id_file" --tag "$FRESHMAKER_ARTIFACT"
if [ -n "${FRESHMAKER_PARAMETER_FILE:-}" ]; then
    set -- "$@" --file "./$FRESHMAKER_PARAMETER_FILE"
fi
if [ "${FRESHMAKER_NO_CACHE:-0}" = 1 ]; then
    set -- "$@" --no-cache
elif [ "${builder##*/}" = buildah ]; then
    # The others do so by themselves.
    set -- "$@" --layers
fi
"$builder" "$@" .

id=$(cat "$id_file")
case $id in
*:*) ;;
*) id=sha256:$id ;;
esac
# Written beside and renamed, so that nobody reads half a result. The name needs no escaping: freshmaker knows it already.
printf '{"digest": "%s"}\n' "$id" >"$FRESHMAKER_RESULT.tmp"
mv -f "$FRESHMAKER_RESULT.tmp" "$FRESHMAKER_RESULT"
