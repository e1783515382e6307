#!/bin/sh
# Builds one image with buildah or podman, and pushes it. Run by image_service, which then tests and publishes it.
#
#   FRESHMAKER_BUILDER        buildah or podman
#   FRESHMAKER_CONTAINERFILE  the Containerfile
#   FRESHMAKER_CONTEXT        the directory that it may copy from
#   FRESHMAKER_PINS           file with lines NAME=docker-image://CONTENT: what the names of the parents mean in this build
#   FRESHMAKER_PUSH_TO        where the image is pushed to
#   FRESHMAKER_DIGEST_FILE    where the digest of what was pushed is to be written
#   SOURCE_DATE_EPOCH         the date of everything in the image; the present moment, if not set
set -eu

# The service tries again what ended with this status: it says nothing about the Containerfile.
not_now() {
    printf '%s\n' "$1" >&2
    exit 75
}

builder=${FRESHMAKER_BUILDER:-buildah}
command -v "$builder" >/dev/null || not_now "$builder is not installed here"

# In a container, and without a runtime, commands can only run in a changed root.
if [ -z "${BUILDAH_ISOLATION:-}" ]; then
    if [ -e /.dockerenv ] || [ -e /run/.containerenv ] || ! { command -v crun || command -v runc; } >/dev/null; then
        export BUILDAH_ISOLATION=chroot
    fi
fi

# Without a policy, these tools accept no image at all; packages of distributions may leave it out.
policy=
if [ ! -e /etc/containers/policy.json ] && [ ! -e "${HOME:-/root}/.config/containers/policy.json" ]; then
    policy=$FRESHMAKER_DIGEST_FILE.policy
    printf '{"default": [{"type": "insecureAcceptAnything"}]}\n' >"$policy"
fi

id_file=$FRESHMAKER_DIGEST_FILE.id
rm -f "$id_file" "$FRESHMAKER_DIGEST_FILE"

# No cache of layers: what a RUN fetches is to be fetched again. The format is docker's because buildah (1.28) writes a wrong digest of
# the base into the annotations of OCI's, and because OCI's has no HEALTHCHECK.
set -- build --format "${BUILDAH_FORMAT:-docker}" --layers=false --no-cache --iidfile "$id_file" --file "$FRESHMAKER_CONTAINERFILE"
[ -z "$policy" ] || set -- "$@" --signature-policy "$policy"
[ -z "${SOURCE_DATE_EPOCH:-}" ] || set -- "$@" --timestamp "$SOURCE_DATE_EPOCH"
while IFS= read -r pin; do
    set -- "$@" --build-context "$pin"
done <"$FRESHMAKER_PINS"
"$builder" "$@" "$FRESHMAKER_CONTEXT"

id=$(cat "$id_file")
set -- push --digestfile "$FRESHMAKER_DIGEST_FILE"
[ -z "$policy" ] || set -- "$@" --signature-policy "$policy"
"$builder" "$@" "$id" "docker://$FRESHMAKER_PUSH_TO" || not_now "cannot push to $FRESHMAKER_PUSH_TO"

# It is in the registry now. If another image is built on it here, it stays.
"$builder" rmi "$id" >/dev/null 2>&1 || :
