# syntax=docker/dockerfile:1
FROM debian:12
RUN <<EOF
FROM inside:1
EOF
RUN cat > /etc/x <<-'END' && cat <<TWO
	COPY --from=inside:2 a b
	END
RUN --mount=from=inside:3 x
TWO
COPY <<one <<"two" /etc/
FROM inside:4
one
FROM inside:5 \
two
COPY --from=busybox /bin/sh /bin/sh
