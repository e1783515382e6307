FROM alpine:3.20
RUN --mount=type=secret,from=busybox,target=/x true
