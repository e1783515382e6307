FROM Debian:12 AS a
FROM alpine
