FROM debian:12 AS x
FROM alpine AS x
FROM x
