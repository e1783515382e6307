# a comment
# escape=`
FROM alpine:3.20
RUN dir c:\
COPY --from=busybox:1.36 /a /b
