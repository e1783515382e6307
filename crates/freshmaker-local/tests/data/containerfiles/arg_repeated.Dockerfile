ARG V=3.19
ARG V=3.20
ARG V
FROM alpine:$V AS a
ARG V=1
ARG V
COPY --from=busybox:$V /a /a
ARG B=2
ARG B
COPY --from=busybox:$B /b /b
