ARG TOOLS=registry.example.com/tools:1
FROM alpine:3.20 AS a
ARG V=1
COPY --from=$TOOLS /a /a
FROM a
ARG W=$V-x
COPY --from=busybox:$V /b /b
COPY --from=busybox:$W /c /c
