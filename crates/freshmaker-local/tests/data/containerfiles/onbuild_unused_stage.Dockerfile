FROM alpine:3.20 AS base
ONBUILD COPY --from=busybox:1.36 /bin/busybox /b
FROM base AS test
FROM debian:12
