FROM debian:12 AS base
FROM base AS tools
RUN apt-get update
FROM tools
USER nobody
