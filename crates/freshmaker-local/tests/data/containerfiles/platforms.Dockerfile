# syntax=docker/dockerfile:1
FROM --platform=$BUILDPLATFORM golang:1.25 AS build
ARG TARGETOS TARGETARCH
FROM --platform=linux/amd64 debian:12
COPY --link --from=build /app /app
