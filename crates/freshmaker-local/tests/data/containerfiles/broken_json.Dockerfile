FROM alpine:3.20
CMD [ "echo", [ "nested json" ] ]
