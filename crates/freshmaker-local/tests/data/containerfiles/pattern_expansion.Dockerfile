ARG V=1.2.3
FROM debian:12 AS b
FROM python:${V%.*}
COPY --from=b /x /x
