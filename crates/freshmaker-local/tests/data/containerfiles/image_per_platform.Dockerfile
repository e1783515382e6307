FROM debian:12 AS x
FROM example/base-$TARGETARCH
COPY --from=x /a /a
