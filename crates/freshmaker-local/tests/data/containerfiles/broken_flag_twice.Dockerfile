FROM alpine:3.20
COPY --from=busybox:1 --from=busybox:2 /a /b
