FROM alpine:3.20
RUN --mount="from=busybox:1,type=bind,target=/x" --mount='type=bind,"from=busybox:2",target=/y' true
