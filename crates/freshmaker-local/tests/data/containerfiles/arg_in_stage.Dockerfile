ARG TOOLS=registry.example.com/tools:1
FROM debian:12
ARG TOOLS
ARG EXTRA=busybox
COPY --from=${TOOLS} /a /a
COPY --from=$EXTRA /b /b
