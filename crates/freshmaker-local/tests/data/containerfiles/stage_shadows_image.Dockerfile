FROM alpine AS alpine
FROM alpine AS debian
FROM debian
