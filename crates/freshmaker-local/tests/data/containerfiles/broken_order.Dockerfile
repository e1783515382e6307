RUN true
FROM debian
