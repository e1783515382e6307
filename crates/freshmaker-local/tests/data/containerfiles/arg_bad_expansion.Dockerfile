ARG V=1
FROM debian:12 AS b
FROM python:${V^^}
COPY --from=b /x /x
