FROM debian:12 AS base-amd64
FROM ubuntu:24.04 AS base-arm64
FROM alpine AS other
FROM base-${TARGETARCH}
RUN true
