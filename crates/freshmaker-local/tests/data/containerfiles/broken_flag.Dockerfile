FROM alpine:3.20
COPY --form=busybox:1 /a /b
