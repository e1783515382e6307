ARG ARCH
FROM --platform=linux/$ARCH alpine:3.20 AS a
FROM --platform=linux/arm/$TARGETVARIANT alpine:3.20 AS b
FROM --platform=${NOPE:-windows(10.0.17763)/amd64} alpine:3.20
COPY --from=a / /
COPY --from=b / /
