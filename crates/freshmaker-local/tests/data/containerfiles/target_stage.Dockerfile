FROM alpine:3.20 AS variant-prod
FROM debian:12 AS variant-default
FROM variant-${TARGETSTAGE} AS Prod
RUN true
