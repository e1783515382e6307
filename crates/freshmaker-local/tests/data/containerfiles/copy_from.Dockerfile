FROM debian:12 AS one
FROM alpine AS two
FROM busybox
COPY --from=0 /a /a
COPY --from=TWO /b /b
COPY --chown=a:b --from=nginx:1 /c /c
COPY --from=nginx:1 ["/d", "/d"]
COPY --from=9 /e /e
ADD https://example.com/x /x
