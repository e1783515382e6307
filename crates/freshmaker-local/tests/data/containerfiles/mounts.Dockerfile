FROM debian:12 AS cache
FROM alpine
RUN --mount=type=bind,from=cache,target=/c --mount=type=cache,target=/x,from=busybox:1 --network=none true
RUN --mount=type=bind,source=/a,target=/a,FROM=registry.example.com/tools true
RUN --mount=type=secret,id=x true
