ARG V=v8/x
FROM --platform=linux/amd64/$V alpine:3.20
