ARG BASE
FROM alpine AS tools
FROM $BASE
COPY --from=tools /bin/sh /bin/sh
COPY --from=${OTHER} /x /x
