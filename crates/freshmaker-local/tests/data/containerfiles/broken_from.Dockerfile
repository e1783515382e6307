FROM debian:12 build
