FROM debian:12 AS one
COPY --from=1 /a /b
RUN --mount=from=TWO,target=/x true
FROM alpine:3.20 AS two
COPY --from=one /a /a
