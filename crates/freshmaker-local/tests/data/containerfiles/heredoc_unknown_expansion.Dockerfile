FROM alpine:3.20
RUN echo ${x:0:1} <<EOF
COPY --from=busybox:1 /a /b
