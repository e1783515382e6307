FROM \
  # a comment in between

  debian:12 \
  AS \
  Base
RUN echo a\\
COPY --from=alpine /x /x
RUN true && \   
    # FROM comment:1
    true

FROM base
