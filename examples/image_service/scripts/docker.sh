#!/bin/sh
# Builds one image with docker's BuildKit, and pushes it. Run by image_service, which then tests and publishes it.
#
# The variables are those of buildah.sh, which also says why no layer comes from a cache. BuildKit reaches a registry without TLS only if its builder is configured for it:
# https://docs.docker.com/build/buildkit/configure/
set -eu

# The service tries again what ended with this status: it says nothing about the Containerfile.
not_now() {
    printf '%s\n' "$1" >&2
    exit 75
}

docker buildx version >/dev/null 2>&1 || not_now 'docker with buildx does not work here'

metadata=$FRESHMAKER_DIGEST_FILE.json
rm -f "$metadata" "$FRESHMAKER_DIGEST_FILE"

# Without attestations: for one platform it is an image without an index around it, whose layers can be compared with those of its base.
set -- build --pull --no-cache --provenance=false --metadata-file "$metadata" --file "$FRESHMAKER_CONTAINERFILE" --tag "$FRESHMAKER_PUSH_TO"
output=type=image,push=true
# Docker's own builder cannot date files: it does nothing about it, or refuses it when all is built (images in containerd, docker 26). Other
# builders can, such as that of `docker buildx create --driver docker-container --use`. Before BuildKit 0.24 they also date the files of
# parents, which the service then does not publish.
if [ -n "${SOURCE_DATE_EPOCH:-}" ] && ! docker buildx inspect | grep -q '^Driver: *docker$'; then
    output=$output,rewrite-timestamp=true
fi
set -- "$@" --output "$output"
[ -z "${FRESHMAKER_PLATFORMS:-}" ] || set -- "$@" --platform "$FRESHMAKER_PLATFORMS"
while IFS= read -r pin; do
    case $pin in
    # BuildKit looks names up after it has replaced variables.
    *'$'*=*) ;;
    *) set -- "$@" --build-context "$pin" ;;
    esac
done <"$FRESHMAKER_PINS"
docker buildx "$@" "$FRESHMAKER_CONTEXT"

sed -n 's/.*"containerimage.digest": *"\([^"]*\)".*/\1/p' "$metadata" | head -n 1 >"$FRESHMAKER_DIGEST_FILE"
