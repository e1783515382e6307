ARG WHICH=build
FROM debian:12 AS Build
FROM alpine:3.20 AS test
FROM ${WHICH}
COPY --from=TEST / /
