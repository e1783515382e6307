FROM debian:12 AS one
ARG NEXT=alpine
FROM $NEXT
