ARG A=3.20.1
ARG B=v3.20
ARG C=3_20
ARG D=x-3.20-1-2
FROM alpine:${A%.*} AS a
FROM alpine:${B#v} AS b
FROM alpine:${C/_/.} AS c
ARG E=a.b.c
FROM alpine:${D#x-} AS d
COPY --from=a / /
COPY --from=b / /
COPY --from=c / /
FROM alpine:${D##*-}-${D%%-*}-${C//[_0]/.}
COPY --from=d / /
