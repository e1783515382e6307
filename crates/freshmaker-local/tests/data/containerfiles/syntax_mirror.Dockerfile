# syntax=registry.example.com/mirror/docker/dockerfile:1.7-labs
FROM alpine:3.20
