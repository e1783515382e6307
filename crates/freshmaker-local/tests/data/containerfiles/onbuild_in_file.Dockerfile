FROM busybox:1.36 AS tools
FROM alpine:3.20 AS base
ONBUILD COPY --from=tools /bin/busybox /b
ONBUILD RUN --mount=type=bind,from=golang:1.25,target=/x true
ONBUILD COPY --from=1 /a /a
FROM base AS middle
ONBUILD COPY --from=node:22 /a /a
FROM middle
ONBUILD COPY --from=python:3.13 /a /a
