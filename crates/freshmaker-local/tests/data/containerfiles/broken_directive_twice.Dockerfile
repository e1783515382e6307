# syntax=docker/dockerfile:1
# syntax=docker/dockerfile:2
FROM alpine:3.20
