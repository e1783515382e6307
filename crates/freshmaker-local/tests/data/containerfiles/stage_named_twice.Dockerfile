FROM debian:12 AS x
FROM busybox:1
COPY --from=x /a /a
FROM alpine:3.20 AS x
COPY --from=1 / /
