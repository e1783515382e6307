FROM alpine:3.20 AS a
FROM debian:12
RUN --mount=type=bind,form=a,target=/x true
