FROM alpine:3.20
RUN cat <<- DONE
USER nobody
