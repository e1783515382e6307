FROM alpine:3.20
RUN ["cat", "<<EOF"]
COPY --from=busybox:1 <<EOF /b
FROM no
EOF
