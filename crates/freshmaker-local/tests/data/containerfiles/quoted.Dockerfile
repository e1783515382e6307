ARG A="debian"
FROM "$A:12"
ARG X='a b' Y
LABEL a="FROM x" \
  b=c
