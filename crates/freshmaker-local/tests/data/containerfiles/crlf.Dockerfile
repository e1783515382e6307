FROM debian:12 AS b
RUN a \
  b
RUN <<EOF
FROM x
EOF
FROM alpine
COPY --from=b /x /x
