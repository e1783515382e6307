FROM scratch AS first
COPY --from=second /a /a
FROM debian:12 AS second
FROM first
