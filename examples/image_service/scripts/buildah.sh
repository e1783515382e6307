#!/bin/sh
# Builds one image with buildah or podman, and pushes it. Run by image_service, which then tests and publishes it.
#
#   FRESHMAKER_BUILDER        buildah or podman
#   FRESHMAKER_CONTAINERFILE  the Containerfile
#   FRESHMAKER_CONTEXT        the directory that it may copy from
#   FRESHMAKER_PINS           file with lines NAME=docker-image://CONTENT: what the names of the parents mean in this build
#   FRESHMAKER_PUSH_TO        where the image is pushed to
#   FRESHMAKER_DIGEST_FILE    where the digest of what was pushed is to be written
#   FRESHMAKER_PLATFORMS      platforms with commas in between: an index with an image for each; that of this machine, if not set
#   FRESHMAKER_PLAIN_HTTP     "1" if the registry that is pushed to has no TLS
#   FRESHMAKER_NO_CACHE       "1" if nothing may come from a cache, because a fix is demanded; empty otherwise
#   FRESHMAKER_CAUSES         the events that the image is built for: JSON, a list of {"event", "kind", "about", "because"}
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

# Never a cache of layers, whatever FRESHMAKER_NO_CACHE says: what a RUN fetches is to be fetched again. A layer that another image has left
# in the cache could lack a fix that this image had already. The format is docker's because buildah (1.28) writes a wrong digest of
# the base into the annotations of OCI's, and because OCI's has no HEALTHCHECK.
set -- build --format "${BUILDAH_FORMAT:-docker}" --layers=false --no-cache --file "$FRESHMAKER_CONTAINERFILE"
[ -z "$policy" ] || set -- "$@" --signature-policy "$policy"
[ -z "${SOURCE_DATE_EPOCH:-}" ] || set -- "$@" --timestamp "$SOURCE_DATE_EPOCH"
while IFS= read -r pin; do
    set -- "$@" --build-context "$pin"
done <"$FRESHMAKER_PINS"

# In the end it is in the registry, or of no use. If another image is built on it here, its layers stay.
made=
index=
clean() {
    [ -z "$index" ] || "$builder" manifest rm "$index" || :
    for id in $made; do
        "$builder" rmi "$id" || :
    done
}
trap 'clean >/dev/null 2>&1' EXIT
build() {
    "$builder" "$@" --iidfile "$id_file" "$FRESHMAKER_CONTEXT"
    made="$made $(cat "$id_file")"
}

if [ -z "${FRESHMAKER_PLATFORMS:-}" ]; then
    build "$@"
    set -- push
else
    for platform in $(printf '%s' "$FRESHMAKER_PLATFORMS" | tr , ' '); do
        build "$@" --platform "$platform"
    done
    index=localhost/freshmaker-$FRESHMAKER_ATTEMPT
    "$builder" manifest create "$index" >/dev/null
    for id in $made; do
        # podman (4.3) takes what has no transport for the name of an image in a registry.
        "$builder" manifest add "$index" "containers-storage:${id#sha256:}" >/dev/null
    done
    set -- manifest push --all --format v2s2
    [ "${BUILDAH_FORMAT:-docker}" = docker ] || set -- manifest push --all --format oci
    # For an index it does not read which registries have no TLS.
    [ "${FRESHMAKER_PLAIN_HTTP:-}" != 1 ] || set -- "$@" --tls-verify=false
fi
[ -z "$policy" ] || set -- "$@" --signature-policy "$policy"
# For an index a failure can have the status 0.
if ! "$builder" "$@" --digestfile "$FRESHMAKER_DIGEST_FILE" "${index:-${made# }}" "docker://$FRESHMAKER_PUSH_TO" ||
    ! [ -s "$FRESHMAKER_DIGEST_FILE" ]; then
    not_now "cannot push to $FRESHMAKER_PUSH_TO"
fi
