FROM debian:12 AS a
FROM --platform=$NOPE alpine:3.20
